"""Starting: how a run begins, and under which other one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.events import RUN_STARTED, listed
from agent_run_id.ids import RunId
from agent_run_id.inbound import NOTHING, Inbound
from agent_run_id.outcomes import expected_exceptions
from agent_run_id.runs import Run
from agent_run_id.scope import CURRENT, CurrentRun, current_parent, drop_outermost

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from agent_run_id.journal import Journal
    from agent_run_id.outcomes import Expected

__all__ = ["ROOT", "Root", "begin_run", "run_id_under", "start_known_run", "start_run"]


class Root:
    """The type of `ROOT`, which stands for "under no other run"."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "ROOT"

    def __reduce__(self) -> str:
        return "ROOT"


ROOT: Final = Root()
"""The parent of a run that begins a tree of its own, whatever run is current."""


def start_run(
    name: str,
    *,
    kind: str = "task",
    parent: RunId | CurrentRun | Inbound | Root = CURRENT,
    input: Any = None,  # noqa: A002 - the field's word
    key: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    summary: str | None = None,
    tags: Iterable[str] = (),
    attributes: Mapping[str, Any] | None = None,
    links: Iterable[RunId | str] = (),
    aliases: Iterable[str] = (),
    expected: Expected | type[BaseException] = (),
) -> Run:
    """Start a run, now. `with` makes it current and ends it; otherwise call its `end`.

    Args:
        name: What it is, for a person: the agent's or the tool's name.
        kind: `agent`, `tool`, `llm`, `task`, `workflow`, `batch`, `request`, `job`, `process`, or a word of your own.
        parent: The run above it: the current one (`CURRENT`), a `RunId`, what a carrier's `extract` found, or `ROOT`
            for none.
        input: What it was given.
        key: Names it within its parent, the same from one day's run to the next ("invoice-4711").
        user_id: Whose it is; runs below have the same unless they say otherwise.
        session_id: The conversation or session it is part of; inherited likewise.
        summary: One line for a person.
        tags: Words to find it by.
        attributes: Anything else, by name.
        links: Other runs it has to do with, beside its parent.
        aliases: Names it has elsewhere, such as a job's id in its queue; the registry finds it by each.
        expected: Exceptions that are not failures when they leave it.

    Raises:
        RunDepthError: the parent is as deep as `configure(max_depth=…)` allows.
        TypeError: `parent` is none of those things, or `expected` is no exception class.
    """
    return begin_run(
        RUN_STARTED,
        name,
        parent,
        expected=expected_exceptions(expected),
        kind=kind,
        key=key,
        user_id=user_id,
        session_id=session_id,
        summary=summary,
        tags=tags,
        links=links,
        aliases=aliases,
        attributes=attributes,
        input=input,
    )


def begin_run(
    event: str,
    name: str,
    parent: RunId | CurrentRun | Inbound | Root,
    *,
    expected: Expected = (),
    tags: Iterable[str],
    links: Iterable[RunId | str],
    aliases: Iterable[str],
    attributes: Mapping[str, Any] | None,
    input: Any,  # noqa: A002 - the field's word
    **fields: Any,
) -> Run:
    """Begin a run under another one with a first event of this type; see `start_run`."""
    above = _parent_of(parent)
    found = above if isinstance(above, Inbound) else NOTHING
    linked = listed(links)
    if found.link is not None:
        linked.append(found.link)
    return start_known_run(
        run_id_under(above),
        name,
        event=event,
        expected=expected,
        **fields,
        tags=listed(tags) or None,
        links=linked or None,
        aliases=listed(aliases) or None,
        refused_parent=found.refused,
        attributes=attributes,
        input=input,
    )


def start_known_run(
    run_id: RunId,
    name: str,
    *,
    event: str = RUN_STARTED,
    make: type[Run] = Run,
    journal: Journal | None = None,
    expected: Expected = (),
    **fields: Any,
) -> Run:
    """Start a run whose id exists already, with the fields of its first event."""
    run = make(run_id, name=name, journal=journal, expected=expected, began=time.perf_counter_ns())
    run._record(event, {"name": name, **fields})  # noqa: SLF001 - one room
    return run


def run_id_under(parent: RunId | Inbound | None) -> RunId:
    """A new id under a run, or under what came in from outside; of a tree of its own where that is nothing.

    Raises:
        RunDepthError: the parent is as deep as `configure(max_depth=…)` allows.
    """
    if not isinstance(parent, Inbound):
        return RunId.generate(parent)
    run_id = RunId.generate(parent.run_id)
    return run_id if parent.run_id is not None or parent.trace is None else run_id.in_trace(parent.trace)


def _parent_of(parent: RunId | CurrentRun | Inbound | Root) -> RunId | Inbound | None:
    if isinstance(parent, CurrentRun):
        return current_parent()
    if isinstance(parent, RunId):
        return parent
    if isinstance(parent, Inbound):
        drop_outermost()
        return parent
    if isinstance(parent, Root):
        return None
    hint = "parent=run.id" if isinstance(parent, Run) else "parent=ROOT for none, or leave it out for the current run"
    raise TypeError(
        "the parent of a run is a RunId, what a carrier's extract found, CURRENT or ROOT, "
        f"not {type(parent).__name__}; write {hint}"
    )
