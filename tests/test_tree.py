"""The tree: the same from records in any order, at any depth, with every call to a model counted once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunId, RunRecord, RunRegistry, Tree, start_run
from agent_run_id.schema import ProcessRecord, UsageRecord
from agent_run_id.tree import grow

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def record(number: int, parent: int | None = None, *, root: int = 0, depth: int = 0, **fields: Any) -> RunRecord:
    return RunRecord(
        id=_id(number), parent_id=None if parent is None else _id(parent), root_id=_id(root), depth=depth,
        **{"name": str(number), "status": "succeeded", "started_at": T0 + timedelta(seconds=number), **fields},
    )  # fmt: skip


def _id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


@st.composite
def families(draw: st.DrawFn, /, **fields: Any) -> list[RunRecord]:
    """The runs of one tree, the root first, each with a parent before it; their clocks agree in nothing."""
    size = draw(st.integers(1, 10))
    records = [record(0, **{name: draw(values) for name, values in fields.items()})]
    for number in range(1, size):
        parent = draw(st.integers(0, number - 1))
        started = draw(st.none() | st.integers(-3, 3).map(lambda seconds: T0 + timedelta(seconds=seconds)))
        process = draw(st.none() | st.sampled_from("ab").map(lambda name: ProcessRecord(id=name)))
        more = {name: draw(values) for name, values in fields.items()}
        depth = records[parent].depth + 1
        records.append(record(number, parent, depth=depth, started_at=started, process=process, **more))
    return records


def shape(tree: Tree) -> list[tuple[dict[str, Any], bool, int]]:
    return [(node.record.model_dump(), node.detached, len(node.children)) for node in tree]


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


def test_a_tree_of_fifty_thousand_runs_and_a_chain_of_five_thousand_are_usable() -> None:
    """Nothing recurses, and nothing costs more than in proportion to the number of runs."""
    report = UsageRecord(model="m", input_tokens=1)
    chain = [record(0), *(record(n, n - 1, depth=n, usage=(report,)) for n in range(1, 5_001))]
    tree = grow(chain[0], chain[:0:-1])
    assert len(tree) == 5_001
    assert tree.usage().input_tokens == 5_000
    assert str(tree).count("\n") == 5_000
    assert repr(tree)
    wide = [record(0), *(record(n, (n - 1) // 10, depth=1, usage=(report,)) for n in range(1, 50_001))]
    tree = grow(wide[0], wide[1:])
    assert len(tree) == 50_001
    assert tree.usage().calls == 50_000
    assert str(tree).count("\n") == 50_000


# Usage ----------------------------------------------------------------------------------------------------------------

reports = st.builds(
    UsageRecord,
    model=st.just("m"),
    input_tokens=st.none() | st.integers(0, 9),
    output_tokens=st.none() | st.integers(0, 9),
    cost=st.none() | st.integers(0, 9).map(lambda quarters: quarters / 4),
    currency=st.sampled_from(["USD", "EUR"]),
)


def summed(counted: list[UsageRecord], field: str) -> int | None:
    known = [value for one in counted if (value := getattr(one, field)) is not None]
    return sum(known) if known else None


@given(families(usage=st.lists(reports, max_size=3).map(tuple)))
def test_the_usage_of_a_tree_is_the_sum_of_all_reports_and_what_nobody_knows_is_none(records: list[RunRecord]) -> None:
    top, *below = records
    counted = [report for one in records for report in one.usage]
    usage = grow(top, below).usage()
    assert usage.calls == len(counted)
    assert usage.input_tokens == summed(counted, "input_tokens")
    assert usage.output_tokens == summed(counted, "output_tokens")
    for currency in ("USD", "EUR"):
        assert usage.cost.get(currency) == summed([one for one in counted if one.currency == currency], "cost")


@given(families(usage=st.lists(reports, max_size=2).map(tuple)), st.data())
def test_a_call_that_several_runs_report_counts_once(records: list[RunRecord], data: st.DataObject) -> None:
    top, *below = records
    before = grow(top, below).usage()
    same = UsageRecord(model="m", input_tokens=100, output_tokens=100, call_id="call")
    again = data.draw(st.sets(st.sampled_from(range(len(records))), min_size=1))
    changed = [
        one.model_copy(update={"usage": (*one.usage, same)}) if place in again else one
        for place, one in enumerate(records)
    ]
    usage = grow(changed[0], changed[1:]).usage()
    assert usage.calls == before.calls + 1
    assert usage.input_tokens == (before.input_tokens or 0) + 100


@given(families(usage=st.lists(reports, min_size=1, max_size=2).map(tuple)), st.data())
def test_a_total_that_includes_what_is_below_adds_nothing_where_that_is_reported(
    records: list[RunRecord], data: st.DataObject
) -> None:
    top, *below = records
    before = grow(top, below).usage()
    included = UsageRecord(model="m", input_tokens=1000, cost=1.0, currency="USD", inclusive=True)
    place = data.draw(st.integers(0, len(records) - 1))
    records[place] = records[place].model_copy(update={"usage": (*records[place].usage, included)})
    assert grow(records[0], records[1:]).usage() == before


@given(families(), st.data())
def test_a_total_counts_where_nothing_below_is_reported(records: list[RunRecord], data: st.DataObject) -> None:
    """Wherever in the tree it is, and once for every such run that is not below another."""
    total = UsageRecord(model="m", input_tokens=10, inclusive=True)
    places = data.draw(st.sets(st.sampled_from(range(len(records))), min_size=1))
    for place in places:
        records[place] = records[place].model_copy(update={"usage": (total,)})
    by_id = {one.id: one for one in records}
    parents = {one.parent_id: by_id[one.parent_id] for one in records if one.parent_id is not None}

    def reports_below(one: RunRecord) -> bool:
        below = [child for child in records if child.parent_id == one.id]
        return any(child.usage or reports_below(child) for child in below)

    assert parents is not None
    counted = [one for one in records if one.usage and not reports_below(one)]
    assert grow(records[0], records[1:]).usage().input_tokens == 10 * len(counted)


def test_a_run_without_reports_used_nothing_known() -> None:
    usage = grow(record(0), []).usage()
    assert (usage.calls, usage.input_tokens, usage.output_tokens, usage.cost) == (0, None, None, {})


def test_usage_is_rolled_up_from_what_was_recorded(registry: RunRegistry) -> None:
    with start_run("agent") as agent:
        agent.usage(model="m", input_tokens=1000, inclusive=True)
        for number in range(2):
            with start_run("call") as call:
                call.usage(model="m", input_tokens=10, output_tokens=None, cost=0.5, call_id="same")
                call.usage(model="m", input_tokens=number)
    usage = registry.tree(agent.id).usage()
    assert (usage.calls, usage.input_tokens, usage.output_tokens, usage.cost) == (3, 11, None, {"USD": 0.5})


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
