"""Pages: a tree as one page of HTML, which asks nobody for anything and in which nothing recorded can do anything.

It has no script, no link to elsewhere and no address of anything to load. Should something recorded become markup all
the same, the policy at its top lets nothing run or load: only the one style, by its digest.
"""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from typing import TYPE_CHECKING, Final, NamedTuple

from agent_run_id.cli.entries import Entries, cut, moment, verbatim, within
from agent_run_id.cli.excerpts import More, Shown, excerpt
from agent_run_id.cli.markup import Html, element, joined, painted
from agent_run_id.cli.sections import error_lines
from agent_run_id.cli.waterfalls import Waterfall
from agent_run_id.rendering import Line, duration, label, state, tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from datetime import datetime

    from agent_run_id.schema import EventRecord, RunRecord
    from agent_run_id.tree import Tree

__all__ = ["Source", "page"]

_NAME: Final = 200  # characters
_FIRST, _LAST = 4, 16  # of a long path


class Source(NamedTuple):
    """What a page is made of.

    Attributes:
        tree: The runs.
        ancestors: Those above it, its parent first.
        events: Gives what was recorded of each of some runs, by their ids.
        now: The moment at which all of it is told.
    """

    tree: Tree
    ancestors: Sequence[RunRecord]
    events: Callable[[Iterable[str]], Iterator[Sequence[EventRecord]]]
    now: datetime


def page(source: Source) -> Iterator[str]:
    """The pieces of the page."""
    told = excerpt(source.tree)
    ids = [one.node.record.id for one in told if isinstance(one, Shown)]
    waterfall = Waterfall(source.tree, source.now)
    entries = Entries(set(ids), waterfall, source.now)
    yield _head(source.tree.record)
    yield f"<body>\n<main>\n{_header(source)}\n"
    failed = source.tree.nearest_failure()
    if failed is not None:
        yield f"{_failure(source.tree.path(failed), entries)}\n"
    yield f'{_above_the_runs(source.tree, told, waterfall)}\n<ol class="runs">\n'
    events = source.events(ids)
    for one in told:
        yield f"{entries.more(one) if isinstance(one, More) else entries.entry(one, next(events))}\n"
    yield f"</ol>\n</main>\n{_footer(source, entries)}\n</body>\n</html>\n"


def _head(record: RunRecord) -> str:
    style = files("agent_run_id.cli").joinpath("pages.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    head = [
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=policy),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("meta", name="referrer", content="no-referrer"),
        element("title", f"{_named(record)} [{record.id[:8]}]"),
        element("style", Html(style)),
    ]
    return f'<!DOCTYPE html>\n<html lang="en">\n<head>\n{joined(head, chr(10))}\n</head>\n'


def _named(record: RunRecord) -> str:
    return "(not recorded)" if record.name is None else str(cut(Line(record.name), _NAME))


# Above the runs -------------------------------------------------------------------------------------------------------


def _header(source: Source) -> Html:
    record = source.tree.record
    symbol, role = label(record.status)
    pairs = [
        piece
        for name, value in _totals(source)
        if value
        for piece in (element("dt", name), element("dd", value if isinstance(value, Html) else value[:_NAME]))
    ]
    heading = element("h1", element("span", symbol[0], class_=role), f" {_named(record)}")
    return element("header", heading, element("dl", *pairs))


def _totals(source: Source) -> Iterator[tuple[str, Html | str | None]]:
    record, figures = source.tree.record, source.tree.subtree
    yield "id", element("code", record.id)
    yield "under", " › ".join(_named(above) for above in reversed(source.ancestors))
    yield "status", painted(Line((state(record, source.now, source.now.tzinfo), label(record.status)[1])))
    yield "kind", record.kind
    yield "user", record.user_id
    yield "session", record.session_id
    yield "started", None if record.started_at is None else moment(record.started_at)
    yield "ended", None if record.ended_at is None else moment(record.ended_at)
    counts = [f"{count:,} {status or 'never started here'}" for status, count in figures.runs.items()]
    yield "runs", f"{sum(figures.runs.values()):,}: {', '.join(counts)}"
    calls = figures.usage.calls
    yield "usage", f"{tokens(figures.usage)} in {calls:,} call{'' if calls == 1 else 's'}" if calls else None
    yield (
        "time",
        None if figures.elapsed is None else f"{duration(figures.elapsed)} from the first start to the last end",
    )


def _failure(path: Sequence[Tree], entries: Entries) -> Html:
    """The way to the run that explains why the first one failed, and what went wrong there."""
    steps = [
        element("li", element("a", painted(entries.line(node)), href=f"#r-{node.record.id}"))
        for node in (path if len(path) <= _FIRST + _LAST else [*path[:_FIRST], *path[-_LAST:]])
    ]
    if len(path) > len(steps):
        steps.insert(_FIRST, element("li", f"… {len(path) - len(steps):,} runs between them"))
    error = path[-1].record.error
    went_wrong = [] if error is None else [verbatim(within(error_lines(error)))]
    heading = element("h2", "Nearest failure", id="failure")
    return element("section", heading, element("ol", *steps), *went_wrong, class_="failure", aria_labelledby="failure")


def _above_the_runs(tree: Tree, told: Sequence[Shown | More], waterfall: Waterfall) -> Html:
    pieces = [element("h2", "Runs")]
    if waterfall.starts_at is not None and waterfall.span:
        bars = f"The bars span {duration(waterfall.span)}, from "
        pieces.append(element("p", bars, moment(waterfall.starts_at), ".", class_="quiet"))
    counted = sum(one.runs for one in told if isinstance(one, More))
    if counted:
        note = f"{counted:,} runs that succeeded like those beside them are only counted. All of them: "
        command = element("code", f"runid export {tree.record.id} --format jsonl")
        pieces.append(element("p", note, command, class_="quiet"))
    return joined(pieces, "\n")


def _footer(source: Source, entries: Entries) -> Html:
    pieces = ["Told at ", moment(source.now), ". All times are UTC. Characters that are not printable are written out."]
    if entries.without_details:
        pieces.append(
            f" The details of {entries.without_details:,} runs are left out for the size of this page; everything: "
        )
        pieces.append(element("code", f"runid export {source.tree.record.id} --format jsonl"))
    return element("footer", element("p", *pieces, class_="quiet"))
