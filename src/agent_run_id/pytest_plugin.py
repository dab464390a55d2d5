"""The plugin of pytest, as far as it does anything: what a test recorded, and what it left open.

pytest loads `_agent_run_id_pytest`, which has the fixture `runs` and comes here when a test asks for that.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from agent_run_id.rendering import Line
from agent_run_id.testing.asserting import trees_in
from agent_run_id.testing.capturing import capture_runs
from agent_run_id.testing.fixing import fixed_runs

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import RunRecord
    from agent_run_id.tree import Tree

__all__ = ["Watched", "watched"]

_SECTION: Final = "Recorded runs"
_MOST_LINES: Final = 100
_MOST_CHILDREN: Final = 20
_LONGEST: Final = 200
_MOST_NAMED: Final = 10


class Watched:
    """What a test records.

    Args:
        registry: Where to look at it.

    Attributes:
        registry: Likewise.
        failed: Whether the test has failed, or what it needed to begin.
    """

    registry: RunRegistry
    failed: bool

    def __init__(self, registry: RunRegistry) -> None:
        self.registry = registry
        self.failed = False
        self._over = False

    def report(self, report: pytest.TestReport) -> None:
        """Add to the report of a failure what was recorded until then; it never raises."""
        if not report.failed or self._over:
            return
        self.failed = True
        try:
            shown = "\n".join(_drawn(trees_in(self.registry)))
        except Exception as error:
            shown = f"They cannot be shown: {error!r}"
        if shown:
            report.sections.append((_SECTION, shown))

    def close(self) -> list[str]:
        """Look at it for the last time, while it is there: what it left open, a line for each run."""
        self._over = True
        if self.failed or not os.path.isdir(os.path.join(self.registry.directory, "journal")):  # noqa: PTH112, PTH118
            return []  # most tests record nothing, and need no index to be built
        return [_left(self.registry, record) for record in self.registry.find(status="running", order="oldest")]


@contextmanager
def watched(item: pytest.Item) -> Generator[Watched]:
    """Record what a test does in a directory of its own, and make an error of runs that it leaves open.

    Args:
        item: The test; its markers say whether it may, and whether ids and times are fixed.
    """
    fixed = item.get_closest_marker("fixed_runs")
    with capture_runs() if fixed is None else fixed_runs(*fixed.args, **fixed.kwargs) as registry:
        found = Watched(registry)
        yield found
        left = found.close()
    if left and item.get_closest_marker("open_runs") is None:
        pytest.fail(_complaint(left), pytrace=False)


def _complaint(left: list[str]) -> str:
    more = [f"  and {len(left) - _MOST_NAMED} more"] if len(left) > _MOST_NAMED else []
    what = "a run" if len(left) == 1 else f"{len(left)} runs"
    return "\n".join(
        [
            f"the test left {what} open:",
            *left[:_MOST_NAMED],
            *more,
            "End what start_run began, best with a with block; a test that means it is marked with "
            "@pytest.mark.open_runs.",
        ]
    )


def _left(registry: RunRegistry, record: RunRecord) -> str:
    """A run that was left open: what it is, what it is below, and who has it, where that is another process."""
    names = [above.name or above.id[:8] for above in reversed(registry.ancestors(record.run_id))]
    below = f", below {' › '.join(names)}" if names else ""
    process = record.process
    elsewhere = process is not None and process.pid not in (None, os.getpid())
    owner = f", in process {process.pid} ({process.program})" if process is not None and elsewhere else ""
    return f"  {_cut(str(Line(f'{record.name} [{record.id[:8]}]{below}{owner}')))}"


def _drawn(trees: list[Tree]) -> Iterator[str]:
    """Trees as text that stays short, however many runs there are."""
    lines = [line for tree in trees[-_MOST_LINES:] for line in tree.render(max_children=_MOST_CHILDREN).split("\n")]
    yield from map(_cut, lines[:_MOST_LINES])
    if len(lines) > _MOST_LINES:
        yield f"… {len(lines) - _MOST_LINES:,} more lines"


def _cut(line: str) -> str:
    return line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…"
