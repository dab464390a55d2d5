"""The lines of a journal as pydantic models: the reference of the format, and what its JSON Schema is made of.

Whoever writes a journal in another language, or checks one, goes by these. The library itself does not: what it writes
is encoded by hand, and what it reads it takes as it finds it. That both agree with the models is held by tests.

The format is open. A type that is not here is an `OtherEvent`, a field that is not here is kept, and both survive a
round trip: `parse` and then `model_dump_json(exclude_unset=True)`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal, TypeVar, cast

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    TypeAdapter,
    WithJsonSchema,
)

from agent_run_id.events import (
    BUNDLE_STARTED,
    OUTCOME,
    PROCESS_STARTED,
    RUN_ACCEPTED,
    RUN_DECISION,
    RUN_ENDED,
    RUN_PAUSED,
    RUN_QUEUED,
    RUN_RESUMED,
    RUN_STARTED,
    RUN_STEP,
    RUN_UPDATED,
    RUN_USAGE,
)

__all__ = [
    "MODELS",
    "PROCESS_ID",
    "TOKEN",
    "BundleStarted",
    "DecisionOutcome",
    "ErrorLeaf",
    "Event",
    "JournalLine",
    "OtherEvent",
    "ProcessStarted",
    "RecordedError",
    "RunAccepted",
    "RunDecision",
    "RunEnded",
    "RunPaused",
    "RunQueued",
    "RunResumed",
    "RunStarted",
    "RunStep",
    "RunUpdated",
    "RunUsage",
    "parse",
]

# The kinds of values --------------------------------------------------------------------------------------------------


def _given(value: Any) -> Any:
    if value is None:
        raise ValueError("what is not known is left out; it is never null")
    return value


_T = TypeVar("_T")
Given = Annotated[_T | None, BeforeValidator(_given)]
"""A field that may be left out, which reads as None."""

_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
TOKEN: Final = rf"^{_UUID}(\.{_UUID}\.{_UUID}\.[1-9][0-9]{{0,4}})?$"
PROCESS_ID: Final = "^[0-9a-f]{32}$"
Token = Annotated[str, Field(pattern=TOKEN)]
"""A run: its id, or its id, parent, root and depth."""
ProcessId = Annotated[str, Field(pattern=PROCESS_ID)]
"""128 random bits."""
Moment = Annotated[int, Field(ge=0)]
"""Microseconds since 1970, UTC."""

Ordinal = Annotated[int, Field(ge=1, lt=2**31)]
Hand = Annotated[int, Field(ge=1, lt=2**63)]

Note = Annotated[str, Field(description="Stands for what could not be recorded, and says why.")]
"""What is NaN, too large, too much for one event, or raised when it was looked at, is a text in JSON."""
Texts = list[str] | Note
Count = Annotated[int, Field(ge=-(2**63), lt=2**63)] | Note
Number = Annotated[int | float, WithJsonSchema({"type": "number"})] | Note
Values = list[JsonValue] | Note
Mapped = dict[str, JsonValue] | Note


class JournalLine(BaseModel):
    """One line of a journal."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        frozen=True, extra="allow", strict=True, use_attribute_docstrings=True, protected_namespaces=()
    )

    v: Literal[1]
    """Version of the format."""


# The first lines of files ---------------------------------------------------------------------------------------------


class ProcessStarted(JournalLine):
    """The process that wrote what follows, up to the next line of this type."""

    type: Literal["process.started"]
    time: Moment
    """When the file was begun, in microseconds since 1970, UTC."""
    process: ProcessId
    """The id of the process. A forked child has another."""
    segment: Annotated[int, Field(ge=1, lt=2**31)]
    """The number of this file among those of the process."""
    locked: bool
    """Whether the first file of the process is locked while it lives."""
    inode: Given[Annotated[int, Field(ge=0)]] = None
    """The inode of the file. In a copy it is another."""
    network: Given[str] = None
    """The type of the file system, where it is that of another machine."""
    joined: Given[Token] = None
    """The run that the process joined through its environment, if any."""
    parent_pid: Given[Annotated[int, Field(ge=0)]] = None
    """The process number of its parent; 0 where that is outside of its namespace."""
    pid: Given[Annotated[int, Field(ge=1)]] = None
    """Its process number."""
    pid_started: Given[str] = None
    """When the process began, in a unit of the system's own: with `pid` it names one process of a boot."""
    pid_namespace: Given[str] = None
    """The namespace that `pid` is a number of."""
    host: Given[str] = None
    """The name of the machine."""
    boot: Given[str] = None
    """What is different after every boot of the machine."""
    program: Given[str] = None
    """The name of the program, without its arguments, which may hold keys."""
    python: Given[str] = None
    """The version of Python."""
    platform: Given[str] = None
    """The operating system, by Python's name for it."""


class BundleStarted(JournalLine):
    """A file that many small journals were put into."""

    type: Literal["bundle.started"]
    time: Moment
    """When it was made, in microseconds since 1970, UTC."""
    since: Moment
    """When the oldest journal in it was last written to, in microseconds since 1970, UTC."""
    sources: list[str]
    """The names of the files that are in it."""


# Events ---------------------------------------------------------------------------------------------------------------


class Event(JournalLine):
    """A fact about a run."""

    run: Token
    """The token of the run: `<id>`, or `<id>.<parent>.<root>.<depth>`."""
    time: Moment
    """When it was recorded, in microseconds since 1970, UTC, by the clock of the process."""
    seq: Annotated[int, Field(ge=1)]
    """Number of the event in its process, from 1, over all its files; what is missing was dropped."""
    cuts: Given[Annotated[int, Field(ge=1)]] = None
    """How often something in the event had to be cut."""


class OtherEvent(Event):
    """An event of a type that a later version added."""

    type: str
    """What happened."""


class Begun(Event):
    """What is said of a run when it begins."""

    name: str
    """What it is, for a person."""
    kind: Given[str] = None
    """What kind of run: `agent`, `tool`, `llm`, `task`, or any other word."""
    key: Given[str] = None
    """Names it within its parent, the same from one day's run to the next."""
    user_id: Given[str] = None
    """Whose it is; runs below have the same unless they say otherwise."""
    session_id: Given[str] = None
    """The session it is part of; inherited likewise."""
    summary: Given[str] = None
    """One line for a person."""
    tags: Given[Texts] = None
    """Words to find it by."""
    links: Given[Texts] = None
    """Tokens of, or names for, other runs; that of a sender who is only remembered among them."""
    aliases: Given[Texts] = None
    """Names it has elsewhere."""
    refused_parent: Given[str] = None
    """Why a run that came in with the request is not the parent."""
    attributes: Given[Mapped] = None
    """Anything else, by name."""
    input: JsonValue = None
    """What it was given."""


class RunStarted(Begun):
    """A run began. The process that says so owns it."""

    type: Literal["run.started"]
    duplicate_of: Given[Token] = None
    """The run that somebody else has, or is done with, while this one does it once more."""
    retry_of: Given[Token] = None
    """The run that failed and that this one tries again."""
    attempt: Given[Ordinal] = None
    """The how manieth attempt that is, from 1; left out for the first."""


class RunQueued(Begun):
    """A run was handed off to whoever picks it up. Until then it belongs to the process that says so."""

    type: Literal["run.queued"]


class RunAccepted(Event):
    """A process took over the run of a message. From now on it owns it."""

    type: Literal["run.accepted"]
    name: Given[str] = None
    """What it is, for a person, where whoever handed it off is not heard."""
    kind: Given[str] = None
    """What kind of run, likewise."""
    attempt: Given[Ordinal] = None
    """The how manieth attempt at the run this is, from 1."""
    hand: Given[Hand] = None
    """Rises with every change of hands of the run, where these could be counted: then this is the order."""
    after: Given[Literal["paused", "lost", "unknown"]] = None
    """What had become of the owner before, where there was one."""
    owner: Given[ProcessId] = None
    """The process that was the owner before. `after` counts for nothing where it was not."""
    retry_of: Given[Token] = None
    """The run of the message, where that has failed and this one tries it again."""


class RunPaused(Event):
    """A run waits, and whoever resumes it goes on with it."""

    type: Literal["run.paused"]
    reason: Given[str] = None
    """What it waits for, for a person."""
    elapsed: Given[Annotated[int, Field(ge=0)]] = None
    """How long it has run since it was started, accepted or resumed, in microseconds, by a clock that is never set."""
    hand: Given[Hand] = None
    """The change of hands that brought the run to whoever says so, or, of the first, with which it is given away."""


class RunResumed(Event):
    """A process goes on with a run that waited, or whose owner had died. From now on it owns it."""

    type: Literal["run.resumed"]
    attempt: Given[Ordinal] = None
    """The how manieth attempt at the run this is, from 1."""
    hand: Given[Hand] = None
    """As in `run.accepted`."""
    after: Given[Literal["paused", "lost", "unknown"]] = None
    """What had become of the owner before; left out where that was not to be seen: then only a run that waits goes."""
    owner: Given[ProcessId] = None
    """As in `run.accepted`."""


class RunUpdated(Event):
    """Something new is known of a run."""

    type: Literal["run.updated"]
    summary: Given[str] = None
    """One line for a person; replaces the one before."""
    tags: Given[Texts] = None
    """Added to those it has."""
    links: Given[Texts] = None
    """Added to those it has."""
    aliases: Given[Texts] = None
    """Added to those it has."""
    attributes: Given[Mapped] = None
    """Merged into those it has, name by name."""
    output: JsonValue = None
    """What it has produced so far; replaces what was recorded before, also by null."""


class RunStep(Event):
    """Something happened in a run."""

    type: Literal["run.step"]
    name: str
    """What happened, for a person."""
    data: Given[Mapped] = None
    """Whatever describes it, by name."""


class RunDecision(Event):
    """A choice was made."""

    type: Literal["run.decision"]
    decision: str
    """Its id, which the outcome refers to."""
    question: str
    """What was to be decided."""
    why: str
    """The reason."""
    confidence: Given[Number] = None
    """From 0 to 1."""
    chosen: JsonValue = None
    """What was chosen."""
    options: Values
    """What could have been chosen."""


class DecisionOutcome(Event):
    """A decision turned out like this."""

    type: Literal["run.decision.outcome"]
    decision: str
    """The id of the decision."""
    outcome: str
    """How it turned out."""


class RunUsage(Event):
    """What a call to a model used. What is not known is left out; it is not 0."""

    type: Literal["run.usage"]
    model: str
    """The model, by its provider's name for it."""
    input_tokens: Given[Count] = None
    """Tokens sent, those of the cache included. A number below 0 counts as not known, here and below."""
    output_tokens: Given[Count] = None
    """Tokens received, those of the reasoning included."""
    cache_read_tokens: Given[Count] = None
    """Of the input, those read from the cache."""
    cache_write_tokens: Given[Count] = None
    """Of the input, those written to the cache."""
    reasoning_tokens: Given[Count] = None
    """Of the output, those of the reasoning."""
    cost: Given[Number] = None
    """What it cost, in `currency`."""
    currency: Given[str] = None
    """An ISO 4217 code; there when `cost` is."""
    call_id: Given[str] = None
    """The provider's id of the call; the same call reported twice counts once."""
    inclusive: Given[bool] = None
    """True for a total that already contains what the runs below report."""


class ErrorLeaf(BaseModel):
    """An exception of a group."""

    model_config: ClassVar[ConfigDict] = JournalLine.model_config

    type: Given[str] = None
    """The qualified name of its class; left out where the program gave a text."""
    message: str
    """What it says."""


class RecordedError(ErrorLeaf):
    """An exception that ended a run, or a text in its place."""

    traceback: Given[str] = None
    """As Python prints it; left out for a cancellation."""
    leaves: Given[list[ErrorLeaf]] = None
    """Of a group, the exceptions that are not groups themselves: the first 100."""
    expected: Given[bool] = None
    """True where the run was told that this is no failure."""


class RunEnded(Event):
    """A run is over. An end by a process that does not own it, and every end but the first, counts for nothing."""

    type: Literal["run.ended"]
    status: Literal["succeeded", "failed", "cancelled"]
    """How it ended."""
    elapsed: Given[Annotated[int, Field(ge=0)]] = None
    """How long it took, in microseconds, by a clock that is never set."""
    hand: Given[Annotated[int, Field(ge=0, lt=2**63)]] = None
    """The change of hands that brought the run to whoever ends it; 0 for whoever handed it off."""
    error: Given[RecordedError] = None
    """What went wrong."""
    output: JsonValue = None
    """What it produced."""


MODELS: Final[dict[str, type[JournalLine]]] = {
    PROCESS_STARTED: ProcessStarted,
    BUNDLE_STARTED: BundleStarted,
    RUN_STARTED: RunStarted,
    RUN_QUEUED: RunQueued,
    RUN_ACCEPTED: RunAccepted,
    RUN_PAUSED: RunPaused,
    RUN_RESUMED: RunResumed,
    RUN_UPDATED: RunUpdated,
    RUN_STEP: RunStep,
    RUN_DECISION: RunDecision,
    OUTCOME: DecisionOutcome,
    RUN_USAGE: RunUsage,
    RUN_ENDED: RunEnded,
}
"""The types of the format, and the model of each."""

_OTHER: Final = "other"


def _type_of(line: Any) -> str:
    name: Any = cast("dict[str, Any]", line).get("type") if isinstance(line, dict) else getattr(line, "type", None)
    return name if isinstance(name, str) and name in MODELS else _OTHER


_lines: Final[TypeAdapter[JournalLine]] = TypeAdapter(
    Annotated[
        Annotated[ProcessStarted, Tag(PROCESS_STARTED)]
        | Annotated[BundleStarted, Tag(BUNDLE_STARTED)]
        | Annotated[RunStarted, Tag(RUN_STARTED)]
        | Annotated[RunQueued, Tag(RUN_QUEUED)]
        | Annotated[RunAccepted, Tag(RUN_ACCEPTED)]
        | Annotated[RunPaused, Tag(RUN_PAUSED)]
        | Annotated[RunResumed, Tag(RUN_RESUMED)]
        | Annotated[RunUpdated, Tag(RUN_UPDATED)]
        | Annotated[RunStep, Tag(RUN_STEP)]
        | Annotated[RunDecision, Tag(RUN_DECISION)]
        | Annotated[DecisionOutcome, Tag(OUTCOME)]
        | Annotated[RunUsage, Tag(RUN_USAGE)]
        | Annotated[RunEnded, Tag(RUN_ENDED)]
        | Annotated[OtherEvent, Tag(_OTHER)],
        Discriminator(_type_of),
    ]
)


def parse(line: str | bytes) -> JournalLine:
    """The line as the model of its type; an `OtherEvent` where the type is not known here.

    Raises:
        ValueError: it is no line of a journal, and why; pydantic's `ValidationError`.
    """
    return _lines.validate_json(line)
