"""Ids: which row of the index is whose, for a batch of runs at once.

Ids are random, so among a million each of a thousand new ones would change a page of its own. They are kept in a small
table first, and sorted into the large one a hundred thousand at a time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from agent_run_id.index.layout import in_groups, insert, look_up

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["Ids", "id_bytes", "id_text"]

_REMEMBERED: Final = 200_000
_UNSORTED: Final = 100_000


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
        # In an index that is made anew nearly every id is new, and that none begins like it is enough to know.
        self._beginnings = bytearray(2**24) if self._next == 1 else None

    @property
    def last(self) -> int:
        """The last row that was given."""
        return self._next - 1

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
        for group in in_groups(sorted(self._maybe_known(keys.values()))):
            where = f"FROM every_id WHERE id IN ({','.join('?' * len(group))})"
            found = look_up(self._db, "hex(id), run", where, group)
            rows.update((id_text(bytes.fromhex(key)), run) for key, run in found)
        number = self._next
        fresh: dict[str, tuple[int, bytes]] = {}
        for value, key in keys.items():
            if value not in rows:
                rows[value] = number
                fresh[value] = (number, key)
                number += 1
        self._next = number
        return fresh

    def _maybe_known(self, keys: Iterable[bytes]) -> Iterable[bytes]:
        """The keys that may be in the database, where not all may."""
        seen = self._beginnings
        if seen is None:
            return keys
        known: list[bytes] = []
        for key in keys:
            beginning = int.from_bytes(key[:3], "big")
            if seen[beginning]:
                known.append(key)
            seen[beginning] = 1
        return known

    def forget(self) -> None:
        """Look everything up again: rows were removed."""
        self.rows.clear()

    def write(self, fresh: Sequence[tuple[bytes, int]]) -> None:
        """Keep the rows of ids that are new, and which number is next: the text index does not forget one."""
        insert(self._db, "INSERT INTO new_ids", sorted(fresh))
        [[sorted_until]] = self._db.execute("UPDATE numbers SET next = ? RETURNING sorted", [self._next]).fetchall()
        if self._next - sorted_until > _UNSORTED:
            self._db.execute("INSERT INTO ids SELECT id, run FROM new_ids ORDER BY id")
            self._db.execute("DELETE FROM new_ids")
            self._db.execute("UPDATE numbers SET sorted = next")


def id_bytes(value: str) -> bytes:
    """The key of a run by the canonical text of its id."""
    return bytes.fromhex(value.replace("-", ""))


def id_text(key: bytes) -> str:
    """The canonical text of the id with this key."""
    h = key.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"
