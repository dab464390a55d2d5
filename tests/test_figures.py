"""Figures: what a run comes to by itself and with all below it, in one pass, and nothing made up."""

from __future__ import annotations

import gc
from collections import Counter
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import given
from hypothesis import strategies as st

from agent_run_id.rendering import SYMBOLS
from agent_run_id.tree import grow
from tests.families import T0, families, record, seconds

if TYPE_CHECKING:
    from agent_run_id import RunRecord, Tree

statuses = st.sampled_from(list(SYMBOLS))
ends = st.none() | st.integers(-3, 9).map(lambda late: T0 + seconds(late))


def span(number: int, start: float, end: float | None, parent: int | None = 0, **fields: Any) -> RunRecord:
    elapsed = None if end is None else seconds(end - start)
    ended = None if end is None else T0 + seconds(end)
    return record(number, parent, started_at=T0 + seconds(start), ended_at=ended, elapsed=elapsed, **fields)


@given(families(status=statuses, ended_at=ends))
def test_a_subtree_is_counted_and_lasts_from_the_first_start_to_the_last_end(records: list[RunRecord]) -> None:
    tree = grow(records[0], records[1:])
    for node in tree:
        below = [one.record for one in node]
        figures = node.subtree
        assert figures.runs == Counter(one.status for one in below)
        assert figures.started_at == min((one.started_at for one in below if one.started_at), default=None)
        known = [one.ended_at for one in below if one.ended_at is not None]
        assert figures.ended_at == (max(known) if len(known) == len(below) else None)
        assert figures.elapsed == wall(figures.started_at, figures.ended_at)
        own = node.own
        assert (own.runs, own.started_at, own.ended_at) == (
            {node.record.status: 1},
            node.record.started_at,
            node.record.ended_at,
        )
        assert own.elapsed == node.record.elapsed


def wall(start: datetime | None, end: datetime | None) -> timedelta | None:
    return None if start is None or end is None else max(end - start, timedelta(0))


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 8)), max_size=5), st.integers(0, 10))
def test_the_time_a_run_had_for_itself_is_that_in_which_no_run_below_was_under_way(
    children: list[tuple[int, int]], end: int
) -> None:
    """Counted second by second; also where children overlap, contain each other, or outlive their parent."""
    below = [span(number, start, start + length) for number, (start, length) in enumerate(children, 1)]
    busy = {second for start, length in children for second in range(start, start + length)}
    assert grow(span(0, 0, end, None), below).self_time == seconds(len(set(range(end)) - busy))


def test_the_time_a_run_had_for_itself_is_not_known_where_a_time_is_missing_or_a_clock_is_wrong() -> None:
    whole = span(0, 0, 10, None)
    assert grow(whole, [span(1, 2, 5)]).self_time == seconds(7)
    assert grow(whole, [span(1, 2, None)]).self_time is None
    assert grow(whole, [span(1, -2, 5)]).self_time is None
    assert grow(whole, [record(1, 0, started_at=None)]).self_time is None
    assert grow(whole, [span(1, 2, 5, parent=7)]).self_time is None
    assert grow(span(0, 0, None, None), [span(1, 2, 5)]).self_time is None
    assert grow(whole, [span(1, 2, 5), span(2, 3, None, parent=1)]).self_time == seconds(7)


def test_the_figures_of_all_nodes_are_made_at_once_whichever_is_asked_first() -> None:
    """Else whoever asks from the leaves up would make them anew for each level."""
    tree = grow(record(0), [record(1, 0), record(2, 1)])
    leaf: Tree = tree.children[0].children[0]
    assert leaf.subtree.runs == {"succeeded": 1}
    assert tree._sums is not None


def test_a_part_of_a_tree_outlives_the_rest() -> None:
    tree = grow(record(0), [record(1, 0), record(2, 1)])
    part = tree.children[0]
    del tree
    gc.collect()
    assert part.subtree.runs == {"succeeded": 2}
    assert part.usage().calls == 0


def test_growing_leaves_the_collector_as_it_was() -> None:
    assert gc.isenabled()
    grow(record(0), [record(1, 0)])
    assert gc.isenabled()
    gc.disable()
    try:
        assert grow(record(0), [record(1, 0)]).subtree.runs == {"succeeded": 2}
        assert not gc.isenabled()
    finally:
        gc.enable()
