"""Answers: what a registry says beside records of runs, as pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from agent_run_id.schema import RunRecord, Status, UsageTotal

__all__ = ["By", "Counts", "Links", "RootRecord", "Stats", "UsageBreakdown", "UsageGroup", "UsageReport"]

By = Literal["model", "user", "session", "kind", "name", "day"]
"""What usage is told apart by."""


class _Answer(BaseModel):
    """Frozen."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True)


class Counts(_Answer):
    """How many runs there are in a tree.

    Attributes:
        runs: All of which a start or an end was seen, the top among them.
        by_status: Of each status that any has.
    """

    runs: int = 0
    by_status: dict[Status, int] = {}


class RootRecord(_Answer):
    """A run whose parent was not recorded, with how many there are in its tree.

    Attributes:
        record: The run.
        counts: The runs of its tree.
    """

    record: RunRecord
    counts: Counts


class UsageReport(_Answer):
    """What a run used, and what it and all runs below it used; the same call counts once.

    Attributes:
        own: What it reported itself, but for totals that include what is reported below it.
        subtree: With all that is below it.
        by_model: The subtree, by model.
    """

    own: UsageTotal
    subtree: UsageTotal
    by_model: dict[str, UsageTotal]


class UsageGroup(_Answer):
    """What some of the calls used that have something in common.

    Attributes:
        value: What it is: the model, the user and so on; a day as ``2026-11-28``. None where it is not known.
        runs: How many runs these are the calls of.
        total: What they come to.
    """

    value: str | None
    runs: int
    total: UsageTotal


class UsageBreakdown(_Answer):
    """What runs used, in groups. Every call is in one group.

    Attributes:
        by: What the groups have in common.
        groups: What cost most first, then what took most tokens; days are in their order, the latest first.
        runs: How many runs all these are the calls of. A run with calls to two models is in the groups of both.
        total: What all groups come to, added up without rounding.
    """

    by: By
    groups: tuple[UsageGroup, ...]
    runs: int
    total: UsageTotal


class Links(_Answer):
    """The runs that one has to do with, beside those above and below it.

    Attributes:
        outgoing: Those it links to, as far as they were recorded; `RunRecord.links` has all as they were given.
        incoming: Those that link to it, the earliest first.
    """

    outgoing: tuple[RunRecord, ...]
    incoming: tuple[RunRecord, ...]


class Stats(_Answer):
    """What a directory holds.

    Attributes:
        runs: All of which a start or an end was seen.
        roots: Those whose parent was not recorded.
        by_status: Of each status that any has.
        by_kind: Of each kind that any has.
        events: All that was recorded of runs.
        processes: Those whose journals are here: how many live, have died, or cannot be told of.
        journals: The files.
        journal_bytes: Their size, as far as they were read.
        unreadable: The pieces of them that could not be read.
        index_bytes: The size of the index.
        first_start: When the earliest run started.
        last_start: When the latest did.
    """

    runs: int
    roots: int
    by_status: dict[Status, int]
    by_kind: dict[str, int]
    events: int
    processes: dict[Literal["alive", "dead", "unknown"], int]
    journals: int
    journal_bytes: int
    unreadable: int
    index_bytes: int
    first_start: datetime | None
    last_start: datetime | None
