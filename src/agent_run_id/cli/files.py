"""Files: what a command writes into a file is there whole or not at all, and is nobody else's to read."""

from __future__ import annotations

import contextlib
import os
import secrets
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable
    from pathlib import Path

__all__ = ["why_not", "write_whole"]


def why_not(path: Path, *, force: bool) -> str | None:
    """Why a file is not to be written there; None where it may be.

    Args:
        path: Where.
        force: Whether one that is there may be replaced.

    Raises:
        OSError: as in `write_whole`.
    """
    with _named(path):
        there, is_file = path.exists(), path.is_file()
    if there and not is_file:
        return f"{path} is there and is no file"  # also a device would be replaced
    return f"{path} is there already; --force replaces it" if there and not force else None


def write_whole(path: Path, pieces: Iterable[str]) -> int:
    """Write a file beside and put it into its place when it is whole; where it is a link, the file that this means.

    Args:
        path: Where to; what is there is replaced.
        pieces: What to write, as UTF-8.

    Returns:
        How many bytes it has.

    Raises:
        OSError: it cannot be written; the message says what to do. What `pieces` raises stays as it is.
    """
    place = path.resolve()
    beside = place.with_name(f".runid-{secrets.token_hex(8)}.tmp")
    try:
        with _named(path):
            # Records are private: the file is nobody else's from its first byte on.
            number = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        size = 0
        with open(number, "wb") as file:  # noqa: PTH123 - it is open already
            for piece in pieces:
                data = piece.encode(errors="backslashreplace")
                size += len(data)
                with _named(path):
                    file.write(data)
            with _named(path):
                file.flush()
                os.fsync(number)
        with _named(path):
            beside.replace(place)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise
    return size


@contextlib.contextmanager
def _named(path: Path) -> Generator[None]:
    """Whatever goes wrong with the file is told of the one that was named, and with what to do."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise OSError(f"{path} cannot be written: {reason}; name a place for it with --output") from error
