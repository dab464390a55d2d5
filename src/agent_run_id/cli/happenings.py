"""``runid events``: everything recorded of a run, a line for each event."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from cyclopts import Parameter

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import Directory, Ref, flag, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.tables import shortened
from agent_run_id.events import (
    OUTCOME,
    RUN_ACCEPTED,
    RUN_DECISION,
    RUN_ENDED,
    RUN_PAUSED,
    RUN_QUEUED,
    RUN_RESUMED,
    RUN_STARTED,
    RUN_STEP,
    RUN_USAGE,
)
from agent_run_id.folding import FoldedRun, elapsed_of, happened, text_of
from agent_run_id.outcomes import ENDINGS
from agent_run_id.rendering import Line, brief, duration, label, tokens
from agent_run_id.schema import UsageRecord
from agent_run_id.usage import total

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from agent_run_id.schema import EventRecord, Status

    Data = dict[str, Any]

__all__ = ["Teller", "Types", "document", "events", "said", "types_of"]

_PREFIX: Final = "run."
_WIDTH: Final = len(OUTCOME) - len(_PREFIX)

Types = Annotated[
    list[str] | None,
    Parameter(
        name="--type", negative="", help="Only events of this type: run.step, or step for short. May be given again."
    ),
]
_AsJson = Annotated[bool, flag("--json", "Print each event as a JSON object on a line of its own.")]
_Below = Annotated[bool, flag("--below", "Tell of all runs below it too, with the short id of each.")]


def events(
    ref: Ref,
    /,
    *,
    types: Types = None,
    below: _Below = False,
    json: _AsJson = False,
    directory: Directory = None,
) -> None:
    """Tell everything recorded of a run, in order.

    A line for each event: when (local time), its type, and what it says in brief. Those of several processes come by
    time, those of one always as it recorded them. On a terminal a line that is too long is cut, in a pipe none is.

    With --json: the events, an object on each line as in `agent_run_id.schema.EventRecord`, written as they are read.
    """
    wanted = types_of(types)
    output = Output()
    teller, anything = Teller(output, of_whom=below), False
    with opened(directory) as registry:
        run_id = registry.get(ref).run_id  # once: the next moment `@last` may be another
        if below:
            found: Iterable[EventRecord] = registry.events_below(run_id, types=wanted)
        else:
            found = (event for event in registry.events(run_id) if not wanted or event.type in wanted)
        for event in found:
            anything = True
            if json:
                output.write(document(event))
            else:
                teller.tell(event)
    if not anything and types:
        complain(f"no event is of type {' or '.join(map(repr, types))}; without --type all are told")
    elif not anything:
        complain("nothing was recorded of it, only that others name it")


class Teller:
    """Tells a person of events, a line for each. On a terminal the day stands above those of another day than today.

    Args:
        output: Where it is told.
        of_whom: Whether to tell of which run each is.
    """

    def __init__(self, output: Output, *, of_whom: bool) -> None:
        self._output = output
        self._of_whom = of_whom
        self._day = datetime.now(UTC).astimezone().date()

    def tell(self, event: EventRecord) -> None:
        """Tell of one event."""
        output, local = self._output, event.time.astimezone()
        when = f"{local:%H:%M:%S.%f}"[:-3]
        if output.width is None:
            when = f"{local:%Y-%m-%d} {when}"
        elif local.date() != self._day:
            self._day = local.date()
            output.line(Line((f"{self._day:%Y-%m-%d}", "heading")))
        run: Line = Line((event.run_id[:8], "id"), "  ") if self._of_whom else Line()
        kind = event.type.removeprefix(_PREFIX)
        line = Line((f"{when}  ", "quiet")) + run + Line((f"{kind:<{_WIDTH}}  ", "heading")) + said(event)
        output.line(shortened(line, output.width))


def document(event: EventRecord, cursor: str | None = None) -> str:
    """An event as JSON on a line, as in `EventRecord`, with the cursor behind it where there is one."""
    return encoded(event if cursor is None else {**event.model_dump(), "cursor": cursor}) + "\n"


def types_of(typed: list[str] | None) -> frozenset[str]:
    """The types of events that are meant: ``step`` is short for ``run.step``."""
    return frozenset(name for each in typed or () for name in (each, f"{_PREFIX}{each}"))


# What they say --------------------------------------------------------------------------------------------------------


def said(event: EventRecord) -> Line:
    """What an event says, in brief. Whoever wrote it may have put anything in any place."""
    say = _SAID.get(event.type)
    return Line(brief(event.data) if event.data else "") if say is None else say(event.data)


def _begun(data: Data) -> Line:
    facts = {name: text for name in ("key", "user_id", "session_id") if (text := text_of(data.get(name)))}
    more = [f"{name.removesuffix('_id')}={text}" for name, text in facts.items()]
    return Line((_text(data, "name"), "name"), *(f" {text}" for text in (_text(data, "kind"), *more) if text))


def _changed_hands(data: Data) -> Line:
    facts = (_text(data, "name"), f"attempt {brief(data['attempt'])}" if "attempt" in data else "")
    after = _text(data, "after")
    return Line(" ".join(fact for fact in (*facts, f"after it was {after}" if after else "") if fact))


def _ended(data: Data) -> Line:
    status, elapsed, error = data.get("status"), elapsed_of(data), data.get("error")
    is_known = isinstance(status, str) and status in ENDINGS
    parts = [label(cast("Status", status)) if is_known else _text(data, "status")]
    if elapsed is not None:
        parts.append(f" in {duration(timedelta(microseconds=elapsed))}")
    if isinstance(error, dict):
        texts = (_text(cast("Data", error), name) for name in ("type", "message"))
        parts.append((f" · {': '.join(text for text in texts if text)}", "failed"))
    return Line(*parts)


def _step(data: Data) -> Line:
    more = data.get("data")
    return Line(_text(data, "name"), (f"  {brief(more)}" if more else "", "quiet"))


def _decision(data: Data) -> Line:
    why = _text(data, "why")
    return Line(f"{_text(data, 'question')} → ", (brief(data.get("chosen")), "name"), f": {why}" if why else "")


def _usage(data: Data) -> Line:
    run = FoldedRun()
    happened(run, [(RUN_USAGE, data)])
    reports = [UsageRecord.model_validate(report) for report in run.details["usage"]]
    included = " (runs below included)" if reports[0].inclusive else ""
    return Line(f"{reports[0].model}: {tokens(total(reports))}", (included, "quiet"))


def _text(data: Data, name: str) -> str:
    return text_of(data.get(name)) or ""


_SAID: Final[dict[str, Callable[[Data], Line]]] = {
    RUN_STARTED: _begun,
    RUN_QUEUED: _begun,
    RUN_ACCEPTED: _changed_hands,
    RUN_RESUMED: _changed_hands,
    RUN_PAUSED: lambda data: Line(_text(data, "reason")),
    RUN_ENDED: _ended,
    RUN_STEP: _step,
    RUN_DECISION: _decision,
    OUTCOME: lambda data: Line(f"⇒ {_text(data, 'outcome')}"),
    RUN_USAGE: _usage,
}
