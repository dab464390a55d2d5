"""Writing runs: what a batch of events changes in the index.

A run has a row from the first time its id is read, be it only because another run names it above itself.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.folding import FOLDED, StoredEvent, fold, fold_in_order
from agent_run_id.index.ids import Ids
from agent_run_id.index.layout import in_groups, insert, look_up
from agent_run_id.index.rows import COLUMNS, Named, compact, folded_row, kept_in_row, plain_row
from agent_run_id.index.states import State, load_states

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Collection, Iterable, Mapping

    from agent_run_id.folding import FoldedRun
    from agent_run_id.ids import RunId
    from agent_run_id.index.applied import Ranges
    from agent_run_id.index.lines import Tokens
    from agent_run_id.index.processes import Processes
    from agent_run_id.index.rows import Entry, Place, Row

__all__ = ["Runs"]

_NOWHERE: Final[Place] = (None, None, 0)
_PK, _KEY, _ROOT, _STATUS = 0, 1, 3, 5  # columns of a row
_NOTHING_SAID: Final = (None,) * 15


class Runs:
    """The runs of the index.

    Args:
        connection: To the database, in a transaction.
        processes: The processes whose events come.

    Attributes:
        changed_texts: Whether runs whose texts were indexed said more since, or lost a part of what they said.
    """

    def __init__(self, connection: sqlite3.Connection, processes: Processes) -> None:
        self._db = connection
        self._processes = processes
        self._ids = Ids(connection)
        self._counts: defaultdict[tuple[int, int], int] = defaultdict(int)
        self._named = Named()
        self._rows: list[Row] = []
        self._replaced: list[Row] = []
        self._events: list[tuple[Any, ...]] = []
        self._late: list[tuple[int, int, int]] = []
        self._redone: list[tuple[int]] = []
        self._nested: list[tuple[int]] = []
        self.changed_texts: bool = False

    @property
    def last(self) -> int:
        """The last row so far."""
        return self._ids.last

    def apply(self, groups: Mapping[str, list[Entry]], tokens: Tokens) -> dict[int, Iterable[list[Entry]]]:
        """Apply events that were not applied before.

        Args:
            groups: The events by the token of their run.
            tokens: The run ids, by token.

        Returns:
            What runs that are new said, by row, and then by token.
        """
        said, mentioned, places, roots = _read(groups, tokens)
        fresh = self._ids.resolve(mentioned)
        rows = self._ids.rows
        inferred = {value: (None, rows[root], depth) for value, (root, depth) in places.items()}
        added: dict[int, Iterable[list[Entry]]] = {}
        for value, (pk, key) in fresh.items():
            place = inferred.get(value, _NOWHERE)
            if value in said:
                entries = {token: groups[token] for token in said[value]}
                added[pk] = entries.values()
                self._add(pk, key, entries, tokens, place)
            else:
                self._rows.append((pk, key, *place, *_NOTHING_SAID))
        known = {rows[value]: value for value in said if value not in fresh}
        for state in load_states(self._db, sorted(known), self._processes):
            value = known[state.pk]
            entries = {token: groups[token] for token in said[value]}
            self._extend(state, entries, tokens, inferred.get(value, _NOWHERE), self._replaced)
            self._late += ((process, line.seq, state.pk) for some in entries.values() for process, line in some)
        self._infer(
            {rows[value]: place for value, place in inferred.items() if value not in fresh and value not in said}
        )
        self.write()
        # A root that is new, and of which nobody says more, is below no other.
        self._nest(
            [rows[root] for root in roots if root not in fresh or root in places or said.get(root, [root]) != [root]]
        )
        return added

    def refold(self, runs: Collection[int], gone: Mapping[str, Ranges]) -> None:
        """Fold runs anew without the events that are gone.

        Args:
            runs: Their rows.
            gone: The numbers of the events, by the id of their process.
        """
        for group in in_groups(sorted(runs)):
            latest = "FROM (SELECT run, max(time) AS heard FROM events WHERE run IN (%s) GROUP BY run)"
            found = look_up(self._db, "run, heard", latest % ",".join("?" * len(group)), group)
            heard: dict[int, int] = {run: time for run, time in found}  # noqa: C416 - lists are no pairs
            for state in load_states(self._db, group, self._processes):
                left = {key: event for key, event in state.events.items() if key[1] not in gone.get(key[0], ())}
                state.events = left
                state.rows &= left.keys()
                state.others = [other for other in state.others if other.seq not in gone.get(other.process, ())]
                times = [event.time for event in (*left.values(), *state.others)]
                state.heard = max([*times, *([heard[state.pk]] if state.pk in heard else [])], default=None)
                self._note(state, fold(left.values()), state.place, self._replaced)
                self._redone.append((state.pk,))
        self.write()

    def recount(self, moved: Iterable[tuple[int, int, int]]) -> None:
        """Note what changes of trees: the row of a root, a status, and how many runs more have it."""
        for root, status, more in moved:
            self._counts[root, status] += more

    def forget(self) -> None:
        """Look all rows up again: some were removed."""
        self._ids.forget()

    # One run ----------------------------------------------------------------------------------------------------------

    def _add(self, pk: int, key: bytes, said: Mapping[str, list[Entry]], tokens: Tokens, inferred: Place) -> None:
        """Add a run that was never heard of."""
        if len(said) == 1:
            [(token, entries)] = said.items()
            place = self._placed(tokens[token]) or inferred
            row = plain_row(pk, key, place, entries, self._processes.dead, self._named)
            if row is not None:
                self._rows.append(row)
                self._counts[row[_ROOT] or pk, row[_STATUS]] += 1
                return
            if len({process for process, _ in entries}) == 1:
                self._add_folded(pk, key, place, sorted(entries, key=_number))
                return
        self._extend(State(pk, key), said, tokens, inferred, self._rows)

    def _add_folded(self, pk: int, key: bytes, place: Place, entries: list[Entry]) -> None:
        """Add a run that was never heard of, by the events of one process in their order."""
        process = entries[0][0]
        name = self._processes.ids[process]
        lines = [line for _, line in entries if line.type in FOLDED]
        run = fold_in_order([StoredEvent(name, line.seq, line.time, line.type, line.data) for line in lines])
        row = folded_row(
            pk, key, place, run, owner=None if run.owner is None else process, dead=process in self._processes.dead,
            heard=max(line.time for _, line in entries), raws={(name, line.seq): line.raw for line in lines},
        )  # fmt: skip
        self._rows.append(row)
        self._named.add(pk, run.details)
        if row[_STATUS] is not None:
            self._counts[row[_ROOT] or pk, row[_STATUS]] += 1
        inside = [event.seq for event in kept_in_row(run) if event is not None]
        self._keep(pk, (entry for entry in entries if entry[1].seq not in inside))

    def _extend(
        self, state: State, said: Mapping[str, list[Entry]], tokens: Tokens, inferred: Place, rows: list[Row]
    ) -> None:
        """Add what is new of a run to what is known of it."""
        names = self._processes.ids
        tokens_of: dict[tuple[str, int], str] = {}
        for token, entries in said.items():
            self._keep(state.pk, (entry for entry in entries if entry[1].type not in FOLDED))
            for process, line in entries:
                state.heard = line.time if state.heard is None else max(state.heard, line.time)
                if line.type in FOLDED:
                    event = StoredEvent(names[process], line.seq, line.time, line.type, line.data)
                    tokens_of[state.add(event, line.raw)] = token
        run = fold(state.events.values())
        start = None if run.start is None else tokens_of.get((run.start.process, run.start.seq))
        place = (None if start is None else self._placed(tokens[start])) or state.place
        if place[0] is None:
            # What others say of where it is, once its start says nothing; of several, always the same.
            others = [found for token in sorted(said) if (found := self._placed(tokens[token])) is not None]
            place = others[0] if others else place if place[1] is not None else inferred
        self._note(state, run, place, rows)

    def _note(self, state: State, run: FoldedRun, place: Place, rows: list[Row]) -> None:
        """Note the row of a run that was folded, where it counts, and which of its events are rows of their own."""
        numbers = self._processes.rows
        owner = None if run.owner is None else numbers[run.owner]
        dead = owner in self._processes.dead
        row = folded_row(
            state.pk, state.key, place, run, owner=owner, dead=dead, heard=state.heard, raws=state.raws
        )  # fmt: skip
        rows.append(row)
        if rows is self._replaced and state.place[1] is None and place[1] is not None:
            self._nested.append((state.pk,))
        self._named.add(state.pk, run.details)
        if state.status is not None:
            self._counts[state.place[1] or state.pk, state.status] -= 1
        if row[_STATUS] is not None:
            self._counts[row[_ROOT] or state.pk, row[_STATUS]] += 1
        inside = {(event.process, event.seq) for event in kept_in_row(run) if event is not None}
        self._db.executemany(
            "DELETE FROM events WHERE process = ? AND seq = ?",
            [(numbers[process], seq) for process, seq in state.rows & inside],
        )
        self._events += (
            (numbers[event.process], event.seq, state.pk, event.type, event.time, state.raws[key])
            for key, event in state.events.items()
            if key not in inside and key not in state.rows
        )
        self._events += (
            (numbers[other.process], other.seq, state.pk, other.type, other.time, compact(other.data))
            for other in state.others
        )

    def _keep(self, pk: int, entries: Iterable[Entry]) -> None:
        """Note events that are rows of their own."""
        self._events += ((process, line.seq, pk, line.type, line.time, line.raw) for process, line in entries)

    # Places in the tree -----------------------------------------------------------------------------------------------

    def _placed(self, run_id: RunId) -> Place | None:
        """Where a run is by its token; None where that does not say."""
        if run_id.parent_id is None:
            return None
        rows = self._ids.rows
        return rows[run_id.parent_id], rows[run_id.root_id], run_id.depth

    def _infer(self, places: Mapping[int, Place]) -> None:
        """Place runs that said nothing of it themselves by what those below them say."""
        for group in in_groups(sorted(places)):
            where = f"FROM runs WHERE pk IN ({','.join('?' * len(group))}) AND parent IS NULL AND root IS NULL"
            for pk, status in look_up(self._db, "pk, status", where, group):
                _, root, depth = places[pk]
                self._nested.append((pk,))
                self._db.execute("UPDATE runs SET root = ?, depth = ? WHERE pk = ?", [root, depth, pk])
                if status is not None and root is not None:
                    self.recount([(pk, status, -1), (root, status, 1)])

    def _nest(self, roots: list[int]) -> None:
        """Note which of these roots are below others, as the starts of bare ids say that were made elsewhere.

        There are few or none of them, and to find them among all runs of a tree would take long.
        """
        for group in in_groups(roots):
            where = f"FROM runs WHERE pk IN ({','.join('?' * len(group))}) AND root IS NOT NULL"
            insert(self._db, "INSERT OR IGNORE INTO nested", look_up(self._db, "pk", where, group))

    # The database -----------------------------------------------------------------------------------------------------

    def write(self) -> None:
        """Write what was noted."""
        insert(self._db, f"INSERT INTO runs ({COLUMNS})", self._rows)
        insert(self._db, f"INSERT OR REPLACE INTO runs ({COLUMNS})", self._replaced)
        insert(self._db, "INSERT INTO events", self._events)
        named = self._named
        for table, pairs in (("tags", named.tags), ("aliases", named.aliases), ("links", named.links)):
            insert(self._db, f"INSERT OR IGNORE INTO {table}", pairs)
        insert(self._db, "INSERT OR IGNORE INTO nested", self._nested)
        self._write_texted()
        counts = [(*key, more) for key, more in self._counts.items() if more]
        insert(self._db, "INSERT INTO trees", counts, "ON CONFLICT DO UPDATE SET runs = runs + excluded.runs")
        if self._rows:
            self._ids.write([(row[_KEY], row[_PK]) for row in self._rows])
        self._named = Named()
        self._nested.clear()
        for noted in (self._rows, self._replaced, self._events, self._late, self._redone, self._counts):
            noted.clear()

    def _write_texted(self) -> None:
        """Note what is new of runs whose texts were indexed already: those that are new themselves come anyway."""
        if self._late or self._redone:
            texted = self._db.execute("SELECT texted FROM numbers").fetchone()[0]
            late = [event for event in self._late if event[2] <= texted]
            insert(self._db, "INSERT OR IGNORE INTO untexted", late)
            redone = [run for run in self._redone if run[0] <= texted]
            insert(self._db, "INSERT OR IGNORE INTO retexted", redone)
            self.changed_texts = self.changed_texts or bool(late or redone)


def _number(entry: Entry) -> int:
    return entry[1].seq


def _read(
    tokens_read: Iterable[str], tokens: Tokens
) -> tuple[dict[str, list[str]], dict[str, None], dict[str, tuple[str, int]], set[str]]:
    """What tokens say: which are of which run, which runs they name, where the parents are, and what the roots.

    Parents are named first, so that their rows come first. They are below the same root.
    """
    said: dict[str, list[str]] = {}
    mentioned: dict[str, None] = {}
    places: dict[str, tuple[str, int]] = {}
    roots: set[str] = set()
    for token in tokens_read:
        run_id = tokens[token]
        value, parent, root = run_id.value, run_id.parent_id, run_id.root_id
        if parent is not None:
            mentioned[root] = mentioned[parent] = None
            roots.add(root)
            if parent != root:
                place = (root, run_id.depth - 1)
                # Of two that say otherwise, always the same is believed.
                places[parent] = min(place, places[parent]) if parent in places else place
        mentioned[value] = None
        if value in said:
            said[value].append(token)
        else:
            said[value] = [token]
    return said, mentioned, places, roots
