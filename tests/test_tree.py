"""The tree: the same from records in any order, at any depth, whatever is missing and whatever the clocks say."""

from __future__ import annotations

import copy
import pickle
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunId, RunNotFound, RunRecord, RunRegistry, Tree, start_run
from agent_run_id.schema import ErrorRecord, ProcessRecord, UsageRecord
from agent_run_id.tree import grow
from tests.families import T0, families, named, record, run_id, seconds


def shape(tree: Tree) -> list[tuple[Any, ...]]:
    return [(node.record.model_dump(), node.detached, node.skew, len(node.children)) for node in tree]


@given(families(), st.data())
def test_records_in_any_order_grow_the_same_tree(records: list[RunRecord], data: st.DataObject) -> None:
    top, *below = records
    assert shape(grow(top, data.draw(st.permutations(below)))) == shape(grow(top, below))


@given(families())
def test_every_run_is_there_once_below_its_parent(records: list[RunRecord]) -> None:
    top, *below = records
    tree = grow(top, below)
    seen: list[str] = []
    for node in tree:
        assert node.record.parent_id is None or node.record.parent_id in seen
        assert {child.record.parent_id for child in node.children} <= {node.record.id}
        assert {child.record.depth for child in node.children} <= {node.record.depth + 1}
        seen.append(node.record.id)
    assert sorted(seen) == [one.id for one in records]
    assert len(tree) == len(records)
    assert not any(node.detached for node in tree)


@given(families())
def test_siblings_are_in_the_order_they_started(records: list[RunRecord]) -> None:
    """Those whose start was never seen are last."""
    top, *below = records
    for node in grow(top, below):
        starts = [child.record.started_at for child in node.children]
        known = [start for start in starts if start is not None]
        assert starts == [*sorted(known), *([None] * (len(starts) - len(known)))]


@given(families(), st.data())
def test_what_hangs_from_a_run_that_is_missing_hangs_from_the_top_and_is_marked(
    records: list[RunRecord], data: st.DataObject
) -> None:
    top, *below = records
    missing = data.draw(st.sets(st.sampled_from([one.id for one in below]))) if below else set()
    kept = [one for one in below if one.id not in missing]
    tree = grow(top, kept)
    assert sorted(node.record.id for node in tree) == sorted([top.id, *(one.id for one in kept)])
    assert {node.record.id for node in tree if node.detached} == {one.id for one in kept if one.parent_id in missing}
    assert all(not node.detached or node in tree.children for node in tree)
    assert {node.record.depth for node in tree if node.detached} == {o.depth for o in kept if o.parent_id in missing}
    assert ("╌" in str(tree)) == any(node.detached for node in tree)


@given(families(user_id=st.none() | st.sampled_from("uv"), session_id=st.none() | st.sampled_from("st")))
def test_user_and_session_are_those_of_the_nearest_run_above(records: list[RunRecord]) -> None:
    top, *below = records
    own = {one.id: one for one in records}

    def nearest(one: RunRecord, field: str) -> Any:
        value = getattr(one, field)
        return value if value is not None or one.parent_id is None else nearest(own[one.parent_id], field)

    for node in grow(top, below):
        assert node.record.user_id == nearest(own[node.record.id], "user_id")
        assert node.record.session_id == nearest(own[node.record.id], "session_id")


def test_siblings_that_began_at_the_same_time_are_in_the_order_of_their_process_and_their_number() -> None:
    a, b = ProcessRecord(id="a"), ProcessRecord(id="b")
    places = [(b, 1), (a, 2), (a, 1), (None, 7), (b, 2)]
    below = [record(n, 0, started_at=T0, process=process, seq=seq) for n, (process, seq) in enumerate(places, 1)]
    assert named([*grow(record(0), below).children]) == ["4", "3", "2", "1", "5"]


def test_a_run_that_is_given_twice_is_there_once() -> None:
    """The one that started first, in whatever order they come; and never a second time as its own child."""
    twice = [record(1, 0), record(1, 0, started_at=T0), record(0, name="again")]
    for below in (twice, twice[::-1]):
        tree = grow(record(0), below)
        assert [(node.record.name, node.record.started_at) for node in tree] == [("0", T0), ("1", T0)]


# Clocks and rings ----------------------------------------------------------------------------------------------------


@given(families())
def test_a_run_that_claims_to_have_started_before_its_parent_is_marked_and_has_its_place(
    records: list[RunRecord],
) -> None:
    started = {one.id: one.started_at for one in records}
    tree = grow(records[0], records[1:])
    assert len(tree) == len(records)
    for node in tree:
        own, above = node.record.started_at, started.get(node.record.parent_id or "")
        if own is None or above is None or own >= above:
            assert node.skew is None
        else:
            assert node.skew == above - own > timedelta(0)


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(-3, 3)), max_size=9), st.data())
def test_whatever_runs_claim_to_be_above_them_each_is_there_once(
    claims: list[tuple[int, int, int]], data: st.DataObject
) -> None:
    """Rings of parents, of roots, and of both; runs that are their own parent, or the top's."""
    below = [
        record(number, parent, root=root, started_at=T0 + seconds(late))
        for number, (parent, root, late) in enumerate(claims, 1)
    ]
    top = record(0, data.draw(st.none() | st.integers(0, 9)), root=data.draw(st.integers(0, 9)))
    tree = grow(top, below)
    assert sorted(node.record.id for node in tree) == sorted(one.id for one in [top, *below])
    assert shape(tree) == shape(grow(top, data.draw(st.permutations(below))))
    assert str(tree).count("\n") == len(below)
    parents = {child.record.id: node.record.id for node in tree for child in node.children}
    for node in tree:
        assert node is tree or node.detached or parents[node.record.id] == node.record.parent_id
    assert tree.usage().calls == 0


def test_a_ring_hangs_from_the_top_by_the_run_that_started_first() -> None:
    ring = [record(n, 1 + n % 3, root=n, started_at=T0 + seconds(abs(n - 2))) for n in (1, 2, 3)]
    tree = grow(record(0), [*ring, record(4, 2)])
    assert [(node.record.name, node.detached) for node in tree] == [
        ("0", False), ("2", True), ("1", False), ("3", False), ("4", False),
    ]  # fmt: skip


# Size ----------------------------------------------------------------------------------------------------------------


def many(size: int, fan_out: int, **fields: Any) -> list[RunRecord]:
    """The runs of a tree in which each has so many below it."""
    plain = record(0, depth=1, **fields)
    ids = [run_id(number) for number in range(size)]
    return [
        plain.model_copy(update={"id": own, "parent_id": ids[(number - 1) // fan_out] if number else None})
        for number, own in enumerate(ids)
    ]


def test_a_chain_of_forty_thousand_runs_can_be_asked_anything() -> None:
    """Nothing recurses: not even what takes it apart, copies it or pickles it."""
    size = 40_000
    top, *below = many(size, 1, usage=(UsageRecord(model="m", input_tokens=1, call_id="same"),))
    tree = grow(top, reversed(below))
    assert (len(tree), tree.usage().calls, tree.subtree.runs) == (size, 1, {"succeeded": size})
    text = str(tree)
    assert text.count("\n") == size - 1
    assert max(map(len, text.split("\n"))) < 300
    assert len(tree.path(run_id(size - 1))) == size
    last = tree.filter(lambda node: node.record.id == run_id(size - 1))
    assert (len(last), tree.nearest_failure()) == (size, None)
    assert copy.copy(tree) is tree
    del tree, last


def test_a_chain_of_ten_thousand_runs_pickles() -> None:
    top, *below = many(10_000, 1)
    assert len(pickle.loads(pickle.dumps(grow(top, below)))) == 10_000  # noqa: S301


@pytest.mark.parametrize(("fan_out", "levels"), [(10, 5), (50_000, 3)])
def test_a_row_and_a_tree_of_fifty_thousand_runs_are_usable(fan_out: int, levels: int) -> None:
    top, *below = many(50_001, fan_out, usage=(UsageRecord(model="m", input_tokens=1),))
    tree = grow(top, below)
    assert (len(tree), tree.usage().calls) == (50_001, 50_001)
    assert str(tree).count("\n") == 50_000
    assert tree.render(max_children=2, max_depth=1).count("\n") == levels


# Looking -------------------------------------------------------------------------------------------------------------


def a_tree() -> Tree:
    """0 ─┬ 1 (tool, failed) ─ 2 (llm, failed)
    └ 3 (tool) ─┬ 4 (llm, lost)
                └ 5 (tool, key k)
    """
    return grow(
        record(0, kind="agent"),
        [
            record(1, 0, kind="tool", status="failed"),
            record(2, 1, kind="llm", status="failed"),
            record(3, 0, kind="tool"),
            record(4, 3, kind="llm", status="lost"),
            record(5, 3, kind="tool", key="k"),
        ],
    )


def test_nodes_are_found_by_id_and_by_what_they_say_and_by_any_condition() -> None:
    tree = a_tree()
    assert named(tree.find(kind="tool")) == ["1", "3", "5"]
    assert named(tree.find(kind="tool", status="failed")) == ["1"]
    assert named(tree.find(name="4")) == named(tree.find(status="lost")) == ["4"]
    assert named(tree.find(key="k")) == ["5"]
    assert named(tree.find(lambda node: len(node.children) == 2)) == ["0", "3"]
    assert named(tree.find(lambda node: node.children, kind="tool")) == ["1", "3"]
    assert named(tree.find()) == named(list(tree))
    for reference in (run_id(5), run_id(5).upper(), RunId(run_id(5)), "00000005", "00000005-00", "0000000500"):
        assert named(tree.find(reference)) == ["5"]
    assert len(tree.find("0000")) == 6
    assert tree.find("") == tree.find("ff") == tree.find("not an id") == []


def test_a_path_leads_from_the_top_down_to_a_run() -> None:
    tree = a_tree()
    assert named(tree.path("00000005")) == ["0", "3", "5"]
    assert named(tree.path(tree)) == ["0"]
    assert tree.path(tree.children[1].children[0])[1:] == [tree.children[1], tree.children[1].children[0]]
    with pytest.raises(RunNotFound, match="'ffff'"):
        tree.path("ffff")
    with pytest.raises(RunNotFound) as raised:
        tree.children[1].path("0000")
    assert raised.value.candidates == (run_id(3), run_id(4), run_id(5))


def test_the_nearest_failure_is_where_a_failure_came_from() -> None:
    tree = a_tree()
    assert (failure := tree.nearest_failure()) is not None
    assert failure.record.name == "2"
    assert [node.record.name for node in tree.children[1].find(lambda node: node is node.nearest_failure())] == ["4"]
    assert tree.children[1].children[1].nearest_failure() is None


def test_of_several_failures_the_one_with_the_same_error_or_the_last_explains_it() -> None:
    def error(message: str) -> ErrorRecord:
        return ErrorRecord(type="ValueError", message=message)

    ends = [T0 + seconds(n) for n in range(5)]
    below = [
        record(n, 0, status="failed", error=error(text), ended_at=ends[n]) for n, text in ((1, "a"), (2, "b"), (3, "a"))
    ]
    for message, cause in (("a", "3"), ("b", "2"), ("another", "3")):
        tree = grow(record(0, status="failed", error=error(message)), [*below, record(4, 0, ended_at=ends[4])])
        assert (failure := tree.nearest_failure()) is not None
        assert failure.record.name == cause
    assert (failure := grow(record(0, status="failed"), below).nearest_failure()) is not None
    assert failure.record.name == "3"


@given(families(usage=st.just((UsageRecord(model="m", input_tokens=1),))), st.data())
def test_a_filtered_tree_has_what_is_meant_and_what_leads_there_and_knows_of_the_rest(
    records: list[RunRecord], data: st.DataObject
) -> None:
    tree = grow(records[0], records[1:])
    meant = data.draw(st.sets(st.sampled_from([one.id for one in records])))
    filtered = tree.filter(lambda node: node.record.id in meant)
    kept = {node.record.id for run in meant for node in tree.path(run)} | {records[0].id}
    assert [node.record.id for node in filtered] == [node.record.id for node in tree if node.record.id in kept]
    assert len(filtered) + sum(node.hidden for node in filtered) == len(tree)
    for node in filtered:
        whole = tree.find(node.record.id)[0]
        assert node.record == whole.record
        assert (node.own, node.subtree, node.self_time) == (whole.own, whole.subtree, whole.self_time)
        assert node.usage_by_model() == whole.usage_by_model()
        assert {child.record.id for child in node.children} == {c.record.id for c in whole.children} & kept
    assert shape(filtered.filter(lambda node: node.record.id in meant)) == shape(filtered)
    assert sum(node.hidden for node in filtered.filter(lambda _: False)) == len(tree) - 1
    again = pickle.loads(pickle.dumps(filtered))  # noqa: S301
    assert (shape(again), again.hidden, again.subtree) == (shape(filtered), filtered.hidden, filtered.subtree)


@given(families(user_id=st.none() | st.just("u")))
def test_a_tree_pickles_and_is_a_value(records: list[RunRecord]) -> None:
    tree = grow(records[0], records[1:])
    again = pickle.loads(pickle.dumps(tree))  # noqa: S301
    assert shape(again) == shape(tree) == shape(copy.deepcopy(tree))
    assert again.subtree == tree.subtree
    with pytest.raises(AttributeError, match="frozen"):
        tree.detached = True


def test_the_tree_is_iterated_from_the_top_and_has_a_length(registry: RunRegistry) -> None:
    with start_run("a") as top:
        with start_run("b"), start_run("c"):
            pass
        start_run("d", parent=RunId.generate(top.id)).end()
    tree = registry.tree(top.id)
    assert [node.record.name for node in tree][:3] == ["a", "b", "c"]
    assert {node.record.name for node in tree} == {"a", "b", "c", "d", None}
    assert len(tree) == 5
    assert tree
    assert "'a'" in repr(tree)
