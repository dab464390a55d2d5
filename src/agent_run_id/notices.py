"""Notices: what the library has to tell the developer, who must not be hurt by being told."""

from __future__ import annotations

import sys
import warnings
from contextlib import suppress

__all__ = ["tell"]


def tell(message: str, category: type[Warning], *, place: tuple[str, int] | None = None) -> None:
    """Give a warning; where warnings are errors, print it instead. Never raises.

    Args:
        message: What to say, and what to do about it.
        category: The class of the warning, for filters.
        place: The file and the line it is about; the library's own by default.
    """
    filename, line = place or (__file__, 1)
    try:
        warnings.warn_explicit(message, category, filename, line)
    except Exception:
        with suppress(Exception):  # a daemon may have closed it
            print(f"{filename}:{line}: {category.__name__}: {message}", file=sys.stderr)  # noqa: T201
