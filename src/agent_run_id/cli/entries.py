"""Entries: one run of a page, its line with everything told of it behind that."""

from __future__ import annotations

from datetime import UTC
from itertools import islice
from typing import TYPE_CHECKING, Final

from agent_run_id.cli.markup import Html, element, joined, painted
from agent_run_id.cli.sections import facts, sections
from agent_run_id.errors import InvalidRunIdError
from agent_run_id.ids import RunId
from agent_run_id.rendering import Line, duration, title

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence
    from datetime import datetime

    from agent_run_id.cli.excerpts import More, Shown
    from agent_run_id.cli.sections import Section
    from agent_run_id.cli.waterfalls import Waterfall
    from agent_run_id.rendering import Role
    from agent_run_id.schema import EventRecord, RunRecord
    from agent_run_id.tree import Tree

__all__ = ["INDENTED", "Entries", "cut", "moment", "within"]

INDENTED: Final = 24
"""So many levels are indented; a number tells those of what is deeper."""
_PART: Final = 200  # characters of each text in the line of a run
_FACT: Final = 2_000
_SECTION: Final = 20_000
_DETAILS: Final = 20_000_000  # characters of all that is behind the lines of a page
_LINKS: Final = 100
_REST: Final = Line(("… the rest is left out here", "quiet"))


class Entries:
    """Makes the entries of one page.

    Args:
        ids: The runs that have one, to which links can lead.
        waterfall: When they were under way.
        now: The moment at which all of it is told.

    Attributes:
        without_details: How many had to do without, for the size of the page.
    """

    def __init__(self, ids: Collection[str], waterfall: Waterfall, now: datetime) -> None:
        self._ids = ids
        self._waterfall = waterfall
        self._now = now
        self._room = _DETAILS
        self.without_details: int = 0

    def entry(self, shown: Shown, events: Sequence[EventRecord]) -> Html:
        """The entry of a run.

        Args:
            shown: The run.
            events: Everything recorded of it, in order.
        """
        node, depth = shown
        what = element("span", *self._level(depth), painted(self.line(node)), class_="what")
        details = self._details(node, events)
        return element(
            "li",
            element("details", element("summary", what, self._bar(node.record)), element("div", *details)),
            id=f"r-{node.record.id}",
            class_=_indented(depth),
        )

    def more(self, more: More) -> Html:
        """The entry of runs that are only counted."""
        name: tuple[str, Role] = ("", "plain") if more.name is None else (f" {more.name}", "name")
        parts: list[str | tuple[str, Role]] = [f"… {more.children:,} more", name, (" succeeded", "succeeded")]
        if more.runs > more.children:
            parts.append((f", {more.runs:,} runs with those below", "quiet"))
        what = element("span", *self._level(more.depth), painted(cut(Line(*parts), _PART)), class_="what")
        return element("li", element("p", what), class_=f"more {_indented(more.depth)}")

    def line(self, node: Tree) -> Line:
        """What is told of a run in one line."""
        line = cut(title(node.record, node.usage(), now=self._now, zone=UTC), _PART)
        if node.detached:
            line += Line((" · detached", "quiet"))
        return line if node.skew is None else line + Line((f" · ⇤ {duration(node.skew)}", "quiet"))

    def linked(self, text: str) -> Html | str:
        """A text; where it is the id or the token of a run of this page, a link to its entry."""
        try:
            run_id = (RunId.from_token(text) if "." in text else RunId(text)).value
        except InvalidRunIdError:
            return str(cut(Line(text), _FACT))
        return element("a", text, href=f"#r-{run_id}") if run_id in self._ids else text

    def _level(self, depth: int) -> Iterator[Html]:
        if depth > INDENTED:
            yield element("span", f"⋯{depth} ", class_="quiet")

    def _bar(self, record: RunRecord) -> Html:
        # Numbers of SVG, because a style for each bar would need a policy that lets any style in.
        bar = self._waterfall.bar(record)
        if bar is None:
            return element("span", class_="bar")
        left, width = min(bar.left, 99.5), max(bar.width, 0.5)  # to be seen, however short
        drawn = element("rect", x=f"{left:.2f}%", y="20%", width=f"{min(width, 100 - left):.2f}%", height="60%")
        return element("svg", drawn, class_=f"bar {record.status or 'quiet'}", aria_hidden="true")

    def _details(self, node: Tree, events: Sequence[EventRecord]) -> list[Html]:
        """What is behind the line of a run. Half of the room is for those that did not succeed."""
        told = [
            self._facts(node),
            *map(_told, _filled(sections(node.record, node.usage() if node.children else None, events, UTC))),
        ]
        size = sum(map(len, told))
        if size > self._room - (_DETAILS // 2 if node.record.status == "succeeded" else 0):
            self.without_details += 1
            command = element("code", f"runid show {node.record.id}")
            return [element("p", "Left out for the size of this page: ", command)]
        self._room -= size
        return told

    def _facts(self, node: Tree) -> Html:
        pairs: list[Html] = []
        for name, value in self._told_facts(node):
            pairs += [element("dt", name), element("dd", value)]
        return element("dl", *pairs)

    def _told_facts(self, node: Tree) -> Iterator[tuple[str, Html | str]]:
        record = node.record
        times = {"started": record.started_at, "ended": record.ended_at, "last event": record.last_event_at}
        runs = {
            "id": [record.id],
            "root": [record.root_id],
            "links": record.links,
            "duplicate of": [record.duplicate_of or ""],
            "retry of": [record.retry_of or ""],
        }
        for name, line in facts(record, UTC):
            when = times.get(name)
            if when is not None:
                yield name, moment(when)
            elif name in runs:
                yield name, joined(map(self.linked, islice(runs[name], _LINKS)), ", ")
            else:
                yield name, painted(cut(line, _FACT))
            if name == "id" and record.parent_id is not None:
                yield "parent", self.linked(record.parent_id)
        if node.detached:
            yield "detached", "the run between this one and its parent was never recorded"
        if node.skew is not None:
            yield "clocks", f"it claims to have started {duration(node.skew)} before the run it hangs from"


def moment(when: datetime) -> Html:
    """A moment, in UTC, to the millisecond: machines are told no finer ones in a page."""
    text = when.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    return element("time", f"{text} UTC", datetime=f"{text.replace(' ', 'T')}Z")


def cut(line: Line, most: int) -> Line:
    """A line of which no part is longer than so many characters."""
    if all(len(text) <= most for text, _ in line.parts):
        return line
    parts: list[tuple[str, Role]] = [
        (text if len(text) <= most else f"{text[:most]}…", role) for text, role in line.parts
    ]
    return Line(*parts)


def within(lines: Iterable[Line], room: int = _SECTION) -> Iterator[Line]:
    """Lines, as far as there is room for their characters; then one that says that there are more."""
    for line in lines:
        length = sum(len(text) for text, _ in line.parts)
        if length > room:
            yield Line(str(line)[:room])
            yield _REST
            return
        room -= length + 1
        yield line


def _filled(told: Iterable[Section]) -> Iterator[tuple[Section, list[Line]]]:
    for section in told:
        lines = list(within(section.lines))
        if lines:
            yield section, lines


def _told(filled: tuple[Section, list[Line]]) -> Html:
    section, lines = filled
    content = verbatim(lines) if section.verbatim else element("ul", *(element("li", painted(one)) for one in lines))
    return joined([element("h3", section.name), content])


def verbatim(lines: Iterable[Line]) -> Html:
    """Lines as they are, below each other."""
    # The first line end is the markup's: readers of HTML leave it out, and with it one that is the text's.
    return element("pre", Html("\n"), joined(map(painted, lines), "\n"))


def _indented(depth: int) -> str:
    return f"d{min(depth, INDENTED)}"
