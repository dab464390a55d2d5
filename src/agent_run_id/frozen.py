"""Frozen values: what passes between threads and tasks, and nobody has to ask who changed it.

`dataclasses` would do it, and takes longer to import than everything here together.
"""

from __future__ import annotations

from typing import Final, NoReturn

__all__ = ["Frozen", "put"]

put: Final = object.__setattr__
"""Set an attribute of a value that is being made."""


class Frozen:
    """The base of values: their attributes are set with `put` while they are made, and never again."""

    __slots__ = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a value of {type(self).__name__} is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a value of {type(self).__name__} is frozen: cannot delete {name!r}")
