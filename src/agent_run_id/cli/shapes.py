"""Shapes: what `runid` prints as JSON, command by command, as pydantic models. No command loads this.

The schema in docs/runid-json.schema.json is made of it by `make json-schema`, and the tests hold every command to that.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Final, Literal

from pydantic import BaseModel, ConfigDict

from agent_run_id.aligning import By as PairedBy
from agent_run_id.answers import Stats, UsageBreakdown
from agent_run_id.comparing import Field
from agent_run_id.diagnoses import Checkup
from agent_run_id.schema import EventRecord, RunRecord, Status, UsageTotal

__all__ = ["DOCUMENTS", "LINES"]


class _Shape(BaseModel):
    """Frozen."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class NestedRun(RunRecord):
    """A run with everything below it.

    Attributes:
        detached: Whether a run between it and its parent was never recorded.
        total_usage: What it and all below it used.
        children: The runs directly below it.
    """

    detached: bool
    total_usage: UsageTotal
    children: tuple[NestedRun, ...]


class ShownRun(_Shape):
    """One run with what is around it.

    Attributes:
        record: The run.
        ancestors: The runs above it, the parent first.
        children: The runs directly below it.
        events: Everything recorded of it, in order.
    """

    record: RunRecord
    ancestors: tuple[RunRecord, ...]
    children: tuple[RunRecord, ...]
    events: tuple[EventRecord, ...]


# Lines ----------------------------------------------------------------------------------------------------------------


class FollowedEvent(EventRecord):
    """An event, with where to go on behind it.

    Attributes:
        cursor: What --after takes.
    """

    cursor: str


class WatchedRun(_Shape):
    """The last line of a run that was watched.

    Attributes:
        record: What became of it.
    """

    record: RunRecord


class ExportedRun(_Shape):
    """A run with its marks in the tree.

    Attributes:
        record: The run.
        detached: Whether a run between it and its parent was never recorded.
        skew: How long before the run it hangs from it claims to have started, in seconds; null where it does not.
    """

    record: RunRecord
    detached: bool
    skew: timedelta | None


class ExportedEvent(_Shape):
    """An event of the run of the last line that has a record.

    Attributes:
        event: The event.
    """

    event: EventRecord


# Usage ----------------------------------------------------------------------------------------------------------------


class UsedByRun(UsageBreakdown):
    """What runs used, in groups.

    Attributes:
        run: The id of the run that was asked about; null where all were.
        own: What it used by itself; null likewise.
        subtree: What it used with all below it; null likewise.
    """

    run: str | None
    own: UsageTotal | None
    subtree: UsageTotal | None


# Differences ----------------------------------------------------------------------------------------------------------


class DifferentUsage(_Shape):
    """How much more `b` used than `a`.

    Attributes:
        calls: Calls that were reported.
        input_tokens: Tokens sent; null where those of any call of either are unknown.
        output_tokens: Tokens received, likewise.
        cost: By currency; null where it is unknown, likewise.
    """

    calls: int
    input_tokens: int | None
    output_tokens: int | None
    cost: dict[str, float | None]


class PairedRuns(_Shape):
    """A run of `a` and the run of `b` that does its work.

    Attributes:
        a: The id of the one.
        b: The id of the other.
        above: The ids of the pair they are below; null for the roots.
        kind: The kind of `a`.
        name: Its name.
        key: Its key.
        by: What they were paired by.
        changed: In what they differ: the value in `a` and the value in `b`.
        elapsed: How many seconds longer `b` took; null unless both have ended.
        own: How much more it used on its own.
        subtree: How much more it and all below it used.
    """

    a: str
    b: str
    above: tuple[str, str] | None
    kind: str | None
    name: str | None
    key: str | None
    by: PairedBy
    changed: dict[Field, tuple[Any, Any]]
    elapsed: float | None
    own: DifferentUsage
    subtree: DifferentUsage


class LoneRun(_Shape):
    """A run that only one of the two trees has.

    Attributes:
        id: Its id.
        above: The ids of the pair it is below, or that of a run that only this tree has.
        kind: Its kind.
        name: Its name.
        key: Its key.
        status: Its status.
    """

    id: str
    above: tuple[str, str] | str
    kind: str | None
    name: str | None
    key: str | None
    status: Status | None


class Step(_Shape):
    """A run on the way from the root.

    Attributes:
        id: Its id.
        kind: Its kind.
        name: Its name.
        key: Its key.
    """

    id: str
    kind: str | None
    name: str | None
    key: str | None


class PairedFirst(PairedRuns):
    """The first pair that differs.

    Attributes:
        what: In what it differs first.
        path: The runs from the root to it.
    """

    what: tuple[Field, ...]
    path: tuple[Step, ...]


class LoneFirst(LoneRun):
    """The first difference, where only one tree has the run.

    Attributes:
        what: Which tree has it.
        path: The runs from the root to it.
    """

    what: tuple[Literal["only_a", "only_b"], ...]
    path: tuple[Step, ...]


class Items(_Shape):
    """The keys of runs directly below the two.

    Attributes:
        newly_failed: Those that failed or were lost in `b` and not in `a`.
        fixed: Those that failed or were lost in `a` and succeeded in `b`.
        slower: Those that took longer.
        faster: Those that took less long.
        missing: Those that only `a` has.
        new: Those that only `b` has.
    """

    newly_failed: tuple[str, ...]
    fixed: tuple[str, ...]
    slower: tuple[str, ...]
    faster: tuple[str, ...]
    missing: tuple[str, ...]
    new: tuple[str, ...]


class Repeated(_Shape):
    """A key that several runs directly below one have.

    Attributes:
        key: The key.
        a: How many have it in `a`.
        b: How many have it in `b`.
    """

    key: str
    a: int
    b: int


class Differences(_Shape):
    """What differs between two runs with everything below them.

    Attributes:
        root: The two.
        first: Where they first differ; null where they did the same.
        items: What became of the runs with a key directly below them.
        changed: The pairs that did not do the same.
        only_a: The runs that only `a` has.
        only_b: The runs that only `b` has.
        alike: How many pairs did the same.
        repeated_keys: The keys that are not unique where they should be.
    """

    root: PairedRuns
    first: PairedFirst | LoneFirst | None
    items: Items
    changed: tuple[PairedRuns, ...]
    only_a: tuple[LoneRun, ...]
    only_b: tuple[LoneRun, ...]
    alike: int
    repeated_keys: tuple[Repeated, ...]


# The store ------------------------------------------------------------------------------------------------------------


class Named(_Shape):
    """The names of a run.

    Attributes:
        id: Its id.
        aliases: All names that it has.
        added: Those that it had not.
    """

    id: str
    aliases: tuple[str, ...]
    added: tuple[str, ...]


class Contents(Stats):
    """What a directory holds.

    Attributes:
        directory: The directory.
        index: The path of the index; null when it is only in memory.
    """

    directory: str
    index: str | None


class Place(_Shape):
    """Where runs are recorded.

    Attributes:
        directory: The directory; null when recording is off.
        setting: What says so.
        exists: Whether it is there.
        journals: How many journals are in it.
        journal_bytes: Their size.
        runs: How many runs started in them.
        index: The path of the index; null when there is none.
    """

    directory: str | None
    setting: Literal["--dir", "configure", "AGENT_RUN_DIR", "default"]
    exists: bool
    journals: int
    journal_bytes: int
    runs: int
    index: str | None


class Removed(_Shape):
    """A journal that was removed.

    Attributes:
        journal: The name of the file.
        bytes: Its size.
        first: When it was begun.
        last: When it was last written to.
    """

    journal: str
    bytes: int
    first: datetime
    last: datetime


class Pruned(_Shape):
    """What was removed, and what is left.

    Attributes:
        directory: The directory.
        days: The age that was kept to, in days; null for no limit.
        bytes: The size that was kept to; null for no limit.
        dry_run: Whether nothing was removed, and it is only told what would be.
        removed: The journals.
        removed_bytes: Their size.
        kept: How many are left.
        kept_bytes: The size of those.
    """

    directory: str
    days: float | None
    bytes: int | None
    dry_run: bool
    removed: tuple[Removed, ...]
    removed_bytes: int
    kept: int
    kept_bytes: int


class Reindexed(_Shape):
    """An index that was made anew.

    Attributes:
        directory: The directory.
        index: The path of the index; null where nothing is recorded.
        runs: How many runs are in it.
        seconds: How long it took.
        bytes: Its size.
    """

    directory: str
    index: str | None
    runs: int
    seconds: float
    bytes: int


# All of them ----------------------------------------------------------------------------------------------------------

DOCUMENTS: Final[dict[str, Any]] = {
    "ls": list[RunRecord],
    "find": list[RunRecord],
    "show": ShownRun,
    "tree": NestedRun,
    "events": EventRecord,
    "tail": EventRecord | FollowedEvent,
    "watch": FollowedEvent | WatchedRun,
    "usage": UsedByRun,
    "diff": Differences,
    "alias": Named,
    "export": ExportedRun | ExportedEvent,
    "stats": Contents,
    "where": Place,
    "doctor": Checkup,
    "prune": Pruned,
    "reindex": Reindexed,
}
"""By command, what it prints: a document, or for those of `LINES` an object on each line."""

LINES: Final = frozenset({"events", "tail", "watch", "export"})
