"""Telling: what differs between two trees, as lines for a person."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.comparing import FIELDS, canonical, value_of
from agent_run_id.pairing import Unpaired
from agent_run_id.rendering import Line, brief, duration, label, title
from agent_run_id.schema import UsageTotal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from datetime import timedelta

    from agent_run_id.comparing import Field
    from agent_run_id.diffing import Diff
    from agent_run_id.pairing import Divergence, Pair, UsageDelta
    from agent_run_id.schema import RunRecord

__all__ = ["told"]

_WIDTH: Final = 48
_SHARED: Final = 12
_STEPS: Final = 3
_NOT_TOLD: Final = UsageTotal()


class _Section(NamedTuple):
    """Differences of one sort, and how one of them is told."""

    heading: str
    found: Sequence[Any]
    tell: Callable[[Any], Line]


class _Removed(NamedTuple):
    """A run that one tree has alone, and how many runs below it."""

    top: Unpaired
    below: int


def told(diff: Diff, *, limit: int) -> Iterator[Line]:
    """The lines of a comparison, `limit` at most of each sort of difference."""
    root = diff.root
    yield Line(("a  ", "heading")) + title(root.a, _NOT_TOLD)
    yield Line(("b  ", "heading")) + title(root.b, _NOT_TOLD)
    more = ", ".join(_used(root.subtree))  # how long the two took, their titles say
    if more:
        yield Line((f"   {more}", "quiet"))
    if diff.first is not None:
        yield Line(("first: ", "heading")) + _divergence(diff.first)
    for one in islice(diff.repeated, limit):
        yield Line(("repeated key: ", "heading"), f"{_cut(one.key)}, {one.a:,} in a and {one.b:,} in b")
    for section in _sections(diff):
        yield from _section(section, limit)
    moved = sum(pair.by == "moved" for pair in diff.pairs)
    yield Line((f"{diff.alike:,} alike" + (f", {moved:,} in another place" if moved else ""), "quiet"))


def _section(section: _Section, limit: int) -> Iterator[Line]:
    heading, found, tell = section
    if found:
        yield Line((f"{heading}: {len(found):,}", "heading"))
        for each in islice(found, limit):
            yield Line("  ") + tell(each)
        if len(found) > limit:
            yield Line((f"  … and {len(found) - limit:,} more", "quiet"))


def _sections(diff: Diff) -> Iterator[_Section]:
    """Every difference in one of them; only what took longer may be elsewhere too."""
    items = {id(run) for run in (*diff.newly_failed, *diff.fixed, *diff.missing, *diff.new)}
    yield _Section("newly failed", diff.newly_failed, _changed)
    yield _Section("fixed", diff.fixed, _changed)
    yield _Section("slower", diff.slower, _timed)
    yield _Section("faster", diff.faster, _timed)
    removed, added = _tops(diff.only_a), _tops(diff.only_b)
    yield _Section("missing", [one for one in removed if id(one.top) in items], _lone)
    yield _Section("new", [one for one in added if id(one.top) in items], _lone)
    yield _Section("changed", [pair for pair in diff.changed if id(pair) not in items], _changed)
    yield _Section("only in a", [one for one in removed if id(one.top) not in items], _lone)
    yield _Section("only in b", [one for one in added if id(one.top) not in items], _lone)


def _tops(found: Sequence[Unpaired]) -> list[_Removed]:
    starts = [place for place, run in enumerate(found) if run.top]
    ends = [*starts[1:], len(found)]
    return [_Removed(found[start], end - start - 1) for start, end in zip(starts, ends, strict=False)]


# Lines ----------------------------------------------------------------------------------------------------------------


def _divergence(first: Divergence) -> Line:
    at = first.at
    if isinstance(at, Unpaired):
        return _place(first.path) + Line(f": only in {at.side}")
    return _place(first.path) + Line(": ") + _changes(at, [field for field in FIELDS if field in first.what])


def _changed(pair: Pair) -> Line:
    return _place(pair.path) + Line(": ") + _changes(pair, pair.changed)


def _timed(pair: Pair) -> Line:
    a, b = pair.a.elapsed, pair.b.elapsed
    return _place(pair.path) + Line(f": {_length(a)} → {_length(b)}")


def _lone(removed: _Removed) -> Line:
    return _place(removed.top.path) + Line((f" and {removed.below:,} below it" if removed.below else "", "quiet"))


def _place(path: Sequence[RunRecord]) -> Line:
    """Where in the tree a run is: the runs from the root to it, the root left out; of many the nearest."""
    steps = path[1:] or path
    line = Line(("… / ", "quiet")) if len(steps) > _STEPS else Line()
    for number, run in enumerate(steps[-_STEPS:]):
        line += Line((" / " if number else "", "quiet"), (_cut(run.name or "(not recorded)"), "name"))
        line += Line(f" key={_cut(run.key)}" if run.key is not None else "")
    return line + Line((f" [{path[-1].id[:8]}]", "id"))


def _changes(pair: Pair, fields: Sequence[Field]) -> Line:
    line = Line()
    for number, field in enumerate(fields):
        line += Line(", " if number else "") + _change(pair, field)
    return line


def _change(pair: Pair, field: Field) -> Line:
    if field == "status":
        return Line("status ", label(pair.a.status), " → ", label(pair.b.status))
    a, b = (_text(record, field) for record in (pair.a, pair.b))
    if a == b:  # "1" and 1
        a, b = (canonical(value_of(record, field)) for record in (pair.a, pair.b))
    ends = min(len(a), len(b))
    shared = next((place for place in range(ends) if a[place] != b[place]), ends)
    start = max(shared - _SHARED, 0) if shared > _WIDTH // 2 else 0
    before = "…" if start else ""
    return Line(f"{field} {before}{_cut(a[start:])} → {before}{_cut(b[start:])}")


def _text(record: RunRecord, field: Field) -> str:
    if field == "error":
        error = record.error
        return "none" if error is None else ": ".join(part for part in (error.type, error.message) if part)
    if field == "decisions":
        return "; ".join(f"{made.question} → {brief(made.chosen)}" for made in record.decisions) or "none"
    value = value_of(record, field)
    return "none" if value is None else brief(value)


def _cut(text: str) -> str:
    return text if len(text) <= _WIDTH else f"{text[:_WIDTH]}…"


# Figures --------------------------------------------------------------------------------------------------------------


def _length(elapsed: timedelta | None) -> str:
    return "?" if elapsed is None else duration(elapsed)


def _used(delta: UsageDelta) -> Iterator[str]:
    if delta.input_tokens is not None or delta.output_tokens is not None:
        sent, received = ("?" if n is None else f"{n:+,}" for n in (delta.input_tokens, delta.output_tokens))
        yield f"{sent} → {received} tokens"
    for currency, amount in delta.cost.items():
        yield f"? {currency}" if amount is None else f"{amount:+.4f} {currency}"
