"""Ids: which row of the index is whose, for a batch of runs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_run_id.index.layout import in_groups, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection

__all__ = ["Ids", "id_bytes", "id_text"]

_REMEMBERED: Final = 200_000


class Ids:
    """The numbers of the rows of runs.

    Args:
        connection: To the database, in a transaction.

    Attributes:
        rows: The rows of the ids that were resolved, and not long ago.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection
        self.rows: dict[str, int] = {}
        self._next = int(connection.execute("SELECT next FROM numbers").fetchone()[0])

    def resolve(self, values: Collection[str]) -> dict[str, tuple[int, bytes]]:
        """Give every id a row.

        Returns:
            Those that have had none so far, with their keys: they have to be written.
        """
        rows = self.rows
        if len(rows) > _REMEMBERED:
            rows.clear()
        keys = {value: bytes.fromhex(value.replace("-", "")) for value in values if value not in rows}
        # In their order in the index, neighbours are on one page.
        for group in in_groups(sorted(keys.values())):
            found = look_up(self._db, "hex(id), pk", f"FROM runs WHERE id IN ({','.join('?' * len(group))})", group)
            rows.update((id_text(bytes.fromhex(key)), pk) for key, pk in found)
        number = self._next
        fresh: dict[str, tuple[int, bytes]] = {}
        for value, key in keys.items():
            if value not in rows:
                rows[value] = number
                fresh[value] = (number, key)
                number += 1
        self._next = number
        return fresh

    def forget(self) -> None:
        """Look everything up again: rows were removed."""
        self.rows.clear()

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
