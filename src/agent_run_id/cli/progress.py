"""Progress: what a person sees while a large directory is read for the first time."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from agent_run_id.index import Progress

__all__ = ["Meter"]

_PATIENCE_S: Final = 0.5
_CLEAR: Final = "\r\x1b[K"


class Meter:
    """Tells on a terminal how far the reading of journals is, once that has taken a while; elsewhere nothing.

    Args:
        patience: How many seconds that is.
    """

    def __init__(self, patience: float = _PATIENCE_S) -> None:
        self._patience = patience
        self._since = time.monotonic()
        self._shown = False

    def __call__(self, progress: Progress) -> None:
        """Show how far it is; when all is read, show nothing any more."""
        if sys.stderr is None or not sys.stderr.isatty():
            return
        if progress.done >= progress.total:
            self.clear()
        elif time.monotonic() - self._since >= self._patience:
            share = 100 * progress.done // progress.total
            sys.stderr.write(f"{_CLEAR}reading journals: {share} % of {progress.total / 1e6:,.0f} MB")
            sys.stderr.flush()
            self._shown = True

    def clear(self) -> None:
        """Take what is shown off the terminal."""
        if self._shown:
            sys.stderr.write(_CLEAR)
            sys.stderr.flush()
        self._shown = False
