"""Ids: which row of the index is whose, for a batch of runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_run_id.index.layout import in_groups, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable

__all__ = ["Ids", "id_bytes", "id_text"]

_REMEMBERED: Final = 200_000
_AT_ONCE: Final = 1000


class Ids:
    """The numbers of the rows of runs.

    Args:
        connection: To the database, in a transaction.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self._rows: dict[str, int] = {}
        self._next = int(connection.execute("SELECT next FROM numbers").fetchone()[0])

    def __getitem__(self, value: str) -> int:
        return self._rows[value]

    def resolve(self, values: Iterable[str]) -> dict[str, int]:
        """Give every id a row.

        Returns:
            Those that have had none so far: they have to be written.
        """
        if len(self._rows) > _REMEMBERED:
            self._rows.clear()
        missing = [value for value in values if value not in self._rows]
        # In their order in the index, neighbours are on one page.
        keys = sorted(map(id_bytes, missing))
        for group in in_groups(keys, _AT_ONCE):
            found = look_up(self._db, "hex(id), pk", f"FROM runs WHERE id IN ({','.join('?' * len(group))})", group)
            self._rows.update((id_text(bytes.fromhex(key)), pk) for key, pk in found)
        fresh: dict[str, int] = {}
        for value in missing:
            if value not in self._rows:
                fresh[value] = self._rows[value] = self._next
                self._next += 1
        return fresh

    def forget(self) -> None:
        """Look everything up again: rows were removed."""
        self._rows.clear()

    def write(self) -> None:
        """Keep which number is next: none is used again, for the text index does not forget them."""
        self._db.execute("UPDATE numbers SET next = ?", [self._next])


def id_bytes(value: str) -> bytes:
    """The key of a run by the canonical text of its id."""
    return bytes.fromhex(value.replace("-", ""))


def id_text(key: bytes) -> str:
    """The canonical text of the id with this key."""
    h = key.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
