"""The records a reader gets, as pydantic models. Everything is typed; what is not known is None."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent_run_id.ids import RunId

__all__ = [
    "AttemptRecord",
    "DecisionRecord",
    "ErrorRecord",
    "EventRecord",
    "ProcessRecord",
    "RunRecord",
    "SegmentRecord",
    "Status",
    "UsageRecord",
    "UsageTotal",
]

Status = Literal["running", "paused", "queued", "succeeded", "failed", "cancelled", "lost"]
"""What can be said of a run. ``lost``: its process died and nobody ended it."""


class _Record(BaseModel):
    """Frozen, and open to fields that a later version of the format adds."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, extra="ignore")


class ErrorRecord(_Record):
    """What went wrong.

    Attributes:
        type: The qualified name of the exception's class; None when the program gave a text.
        message: What it says.
        traceback: As Python prints it.
        leaves: For a group, its exceptions that are not groups themselves.
        expected: Whether the run was told that this is not a failure.
    """

    type: str | None = None
    message: str = ""
    traceback: str | None = None
    leaves: tuple[ErrorRecord, ...] = ()
    expected: bool = False


class DecisionRecord(_Record):
    """A choice that was made, and why.

    Attributes:
        id: What its outcome refers to.
        question: What was to be decided.
        options: What could have been chosen.
        chosen: What was.
        why: The reason.
        confidence: From 0 to 1, when known.
        outcome: How it turned out, when known.
    """

    id: str
    question: str
    options: tuple[JsonValue, ...] = ()
    chosen: JsonValue = None
    why: str = ""
    confidence: float | None = None
    outcome: str | None = None


class UsageRecord(_Record):
    """One report of what a call to a model used; see `Run.usage` for the fields."""

    model: str
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: float | None = None
    currency: str | None = None
    call_id: str | None = None
    inclusive: bool = False


class UsageTotal(_Record):
    """The sum of several reports. A figure that no report knew is None, never 0.

    Where only some knew it, the sum is that of those, and so the least it can be; `unknown` says of how many calls it
    was not known.

    Attributes:
        calls: How many calls were reported.
        input_tokens: Tokens sent, those of the cache included.
        output_tokens: Tokens received, those of the reasoning included.
        cache_read_tokens: Of the input, those read from the cache.
        cache_write_tokens: Of the input, those written to the cache.
        reasoning_tokens: Of the output, those of the reasoning.
        cost: By currency.
        unknown: By the name of a figure, how many of the calls did not report it; those that all reported are left out.
    """

    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    cost: dict[str, float] = {}
    unknown: dict[str, int] = {}


class ProcessRecord(_Record):
    """The process that owns a run.

    Attributes:
        id: 32 hexadecimal digits; a process that forks has another in the child.
        pid: Its process id on its host.
        host: The name of the machine.
        program: The name of the program, without its arguments.
        state: ``alive``, ``dead``, or ``unknown`` when it cannot be told from here.
    """

    id: str
    pid: int | None = None
    host: str | None = None
    program: str | None = None
    state: Literal["alive", "dead", "unknown"] = "unknown"


class SegmentRecord(_Record):
    """A part of the life of a run that changed hands, or waited.

    Attributes:
        status: What it was: ``queued``, ``running`` or ``paused``.
        attempt: At the how manieth attempt, from 1.
        started_at: In UTC.
        ended_at: In UTC; None while it lasts, and for ever when its process died and nobody went on.
        process_id: Whose it was; who sent it, while it was queued; who paused it, while it was paused.
        reason: What it waited for.
        outcome: How it ended: ``accepted``, ``paused``, ``resumed``, as a run ends, ``lost``, or ``unknown`` where
            somebody went on who could not see what had become of it; None while it lasts.
    """

    status: Literal["queued", "running", "paused"]
    attempt: int = 1
    started_at: datetime
    ended_at: datetime | None = None
    process_id: str | None = None
    reason: str | None = None
    outcome: Literal["accepted", "paused", "resumed", "succeeded", "failed", "cancelled", "lost", "unknown"] | None = (
        None
    )


class AttemptRecord(_Record):
    """An attempt at a run.

    Attributes:
        number: From 1.
        status: What became of it; None where that is not known.
        started_at: In UTC.
        ended_at: In UTC; for one that was lost, when the next began.
        process_id: Who made it, at the last.
    """

    number: int
    status: Status | None = None
    started_at: datetime
    ended_at: datetime | None = None
    process_id: str | None = None


class RunRecord(_Record):
    """Everything known of one run.

    Attributes:
        id: The canonical text of its UUID.
        parent_id: Its parent's; None for a root, and where only a bare id was ever seen.
        root_id: That of the top of its tree.
        depth: How many runs are above it.
        name: What it is; None when its start was never seen, only that others name it.
        kind: Its kind.
        status: None when neither its start nor its end was ever seen.
        started_at: In UTC.
        ended_at: In UTC; None while it lasts, and for ever when it is lost.
        last_event_at: When anything was last recorded of it, in UTC.
        elapsed: How long it took by the monotonic clock of its process; None until it ends.
        user_id: Whose it is: its own, or that of the nearest run above that says so.
        session_id: Likewise.
        summary: One line for a person.
        key: Its name within its parent, stable from day to day.
        input: What it was given.
        output: What it produced.
        tags: Words to find it by.
        attributes: Anything else.
        links: Tokens of, or names for, other runs it has to do with.
        aliases: Names it has elsewhere.
        refused_parent: Why the run that came in with its request is not its parent, if one came and is not.
        error: What went wrong, if anything.
        decisions: In the order they were made.
        usage: Its own reports, without those of runs below; the same call only once.
        process: Its owner.
        seq: The number of its start among the events of that process: of two that began at the same time, which first.
        refused_ends: How many times somebody who does not own it tried to end it.
        attempt: The how manieth attempt at it the last one is, from 1.
        segments: The parts of its life, in their order; none of a run that stayed with one process and never waited.
        duplicate_of: The token of the run that somebody else had, or was done with, while this did it once more.
        retry_of: The token of the run that failed and that this one tried again.
    """

    id: str
    parent_id: str | None = None
    root_id: str
    depth: int = 0
    name: str | None = None
    kind: str | None = None
    status: Status | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    last_event_at: datetime | None = None
    elapsed: timedelta | None = None
    user_id: str | None = None
    session_id: str | None = None
    summary: str | None = None
    key: str | None = None
    input: JsonValue = None
    output: JsonValue = None
    tags: tuple[str, ...] = ()
    attributes: dict[str, JsonValue] = Field(default_factory=dict[str, JsonValue])
    links: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    refused_parent: str | None = None
    error: ErrorRecord | None = None
    decisions: tuple[DecisionRecord, ...] = ()
    usage: tuple[UsageRecord, ...] = ()
    process: ProcessRecord | None = None
    seq: int | None = None
    refused_ends: int = 0
    attempt: int = 1
    segments: tuple[SegmentRecord, ...] = ()
    duplicate_of: str | None = None
    retry_of: str | None = None

    @property
    def attempts(self) -> tuple[AttemptRecord, ...]:
        """The attempts at it, the last one last; none where it has not changed hands."""
        found: dict[int, list[SegmentRecord]] = {}
        for segment in self.segments:
            if segment.status != "queued":
                found.setdefault(segment.attempt, []).append(segment)
        return tuple(
            AttemptRecord(
                number=number,
                status=self.status if number == self.attempt else _became(segments[-1]),
                started_at=segments[0].started_at,
                ended_at=segments[-1].ended_at,
                process_id=segments[-1].process_id,
            )
            for number, segments in found.items()
        )

    @property
    def run_id(self) -> RunId:
        """The id with its lineage."""
        if self.parent_id is None:
            return RunId(self.id)
        return RunId.from_token(f"{self.id}.{self.parent_id}.{self.root_id}.{self.depth}")


def _became(last: SegmentRecord) -> Status | None:
    outcome = last.outcome
    return outcome if outcome in ("succeeded", "failed", "cancelled", "lost") else None


class EventRecord(_Record):
    """One recorded fact.

    Attributes:
        type: One of the names in the event format, or one that a later version added.
        run_id: The run it is about.
        time: When it was recorded, by the clock of its process, in UTC.
        process_id: The process that recorded it.
        seq: Its number among the events of that process, from 1.
        data: The fields of its type.
    """

    type: str
    run_id: str
    time: datetime
    process_id: str
    seq: int
    data: dict[str, Any] = {}
