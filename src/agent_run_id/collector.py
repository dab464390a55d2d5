"""The collector: off while very many objects are made that cannot be garbage."""

from __future__ import annotations

import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["collector_off"]


@contextmanager
def collector_off() -> Generator[None]:
    """Looking for cycles among a million new objects takes longer than making them; and there are none.

    Of two threads at once the first to be done turns it on again, which costs the other time and nothing else.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
