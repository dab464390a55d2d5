"""Diffing: every run is told of once, what was put in is told alone, and the other way round is the opposite."""

from __future__ import annotations

import gc
import json
import random
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import Diff, RunRegistry, diff, start_run
from agent_run_id.pairing import Pair, Unpaired, UsageDelta
from agent_run_id.schema import DecisionRecord, ErrorRecord, UsageRecord
from agent_run_id.tree import grow
from tests.strategies import Plan, plans

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from agent_run_id import Tree

any_plan = plans(keys=st.none() | st.sampled_from("jk"))


def ids(found: Sequence[Unpaired]) -> Counter[str]:
    return Counter(run.record.id for run in found)


# Laws -----------------------------------------------------------------------------------------------------------------


@given(any_plan)
def test_a_tree_compared_with_itself_or_run_again_differs_in_nothing(plan: Plan) -> None:
    tree = plan.carried_out()
    for other in (tree, plan.carried_out(first=100)):
        found = diff(tree, other)
        assert not found
        assert (found.first, found.changed, found.only_a, found.only_b) == (None, (), (), ())
        assert found.alike == len(found.pairs) == len(tree)
        assert all(not pair.own.input_tokens and not pair.subtree.output_tokens for pair in found.pairs)


@given(any_plan, any_plan)
def test_every_run_of_either_is_told_of_once_and_pairs_are_below_pairs(one: Plan, other: Plan) -> None:
    a, b = one.carried_out(), other.carried_out(first=100)
    found = diff(a, b)
    assert Counter(pair.a.id for pair in found.pairs) + ids(found.only_a) == Counter(node.record.id for node in a)
    assert Counter(pair.b.id for pair in found.pairs) + ids(found.only_b) == Counter(node.record.id for node in b)
    for pair in found.pairs[1:]:
        assert pair.above is not None
        assert (pair.a.parent_id, pair.b.parent_id) == (pair.above.a.id, pair.above.b.id)
        assert pair.a.key == pair.b.key
    for run in (*found.only_a, *found.only_b):
        assert [each.id for each in run.path][-1] == run.record.id
        assert len(run.path) == run.record.depth + 1
    order = {node.record.id: place for place, node in enumerate(a)}
    assert [pair.a.id for pair in found.pairs] == sorted((pair.a.id for pair in found.pairs), key=order.__getitem__)


@given(any_plan, any_plan)
def test_the_other_way_round_is_the_opposite(one: Plan, other: Plan) -> None:
    a, b = one.carried_out(), other.carried_out(first=100)
    there, back = diff(a, b), diff(b, a)

    def turned(pair: Pair) -> Pair:
        elapsed = None if pair.elapsed is None else -pair.elapsed
        own, subtree = negative(pair.own), negative(pair.subtree)
        return replace(pair, a=pair.b, b=pair.a, elapsed=elapsed, own=own, subtree=subtree)

    def in_order(pairs: Sequence[Pair]) -> list[Pair]:
        return sorted(pairs, key=lambda pair: pair.a.id)

    assert in_order(list(map(turned, there.pairs))) == in_order(back.pairs)
    assert (ids(there.only_a), ids(there.only_b)) == (ids(back.only_b), ids(back.only_a))
    assert in_order(list(map(turned, there.slower))) == in_order(back.faster)
    assert ids(there.missing) == ids(back.new)
    assert bool(there) == bool(back)


def negative(delta: UsageDelta) -> UsageDelta:
    def minus(value: int | None) -> int | None:
        return None if value is None else -value

    cost = {currency: None if amount is None else -amount for currency, amount in delta.cost.items()}
    return UsageDelta(-delta.calls, minus(delta.input_tokens), minus(delta.output_tokens), cost)


@given(any_plan, any_plan, st.data())
def test_what_was_put_in_is_told_alone(plan: Plan, step: Plan, data: st.DataObject) -> None:
    """Anywhere; of several that are equal in everything, any may be the new one."""

    def put_in(plan: Plan) -> Plan:
        deeper = bool(plan.below) and data.draw(st.integers(0, 1)) == 1
        place = data.draw(st.integers(0, len(plan.below) - deeper))
        if deeper:
            return replace(plan, below=(*plan.below[:place], put_in(plan.below[place]), *plan.below[place + 1 :]))
        return replace(plan, below=(*plan.below[:place], step, *plan.below[place:]))

    without, found = plan.carried_out(), put_in(plan).carried_out(first=100)
    there = diff(without, found)
    assert (there.changed, there.only_a) == ((), ())
    (top,) = [run for run in there.only_b if run.top]
    assert len(there.only_b) == sum(1 for _ in step.walk())
    assert {name: getattr(top.record, name) for name in ("key", "name", "input")} == {
        name: step.fields[name] for name in ("key", "name", "input")
    }
    assert there.first is not None
    assert (there.first.at, there.first.what) == (top, ("only_b",))
    back = diff(found, without)
    assert (back.changed, back.only_b, len(back.only_a)) == ((), (), len(there.only_b))


@given(st.lists(plans(keys=st.none(), max_leaves=4), max_size=6), st.data())
def test_the_order_of_keyed_siblings_makes_no_difference(below: list[Plan], data: st.DataObject) -> None:
    keyed = [Plan({**plan.fields, "key": str(number)}, plan.below) for number, plan in enumerate(below)]
    batches = [Plan({"name": "batch"}, tuple(order)) for order in (keyed, data.draw(st.permutations(keyed)))]
    # Within a run without a key, among equals, as well: it is the digest that must not tell.
    top = [Plan({}, (batch, Plan({"name": "end"}))) for batch in batches]
    found = diff(top[0].carried_out(), Plan({}, (Plan({"name": "begin"}), *top[1].below)).carried_out(first=100))
    assert (found.changed, found.only_a) == ((), ())
    assert [run.record.name for run in found.only_b] == ["begin"]


# What is told ---------------------------------------------------------------------------------------------------------


def planned(*below: Plan, **fields: Any) -> Plan:
    return Plan(fields, below)


def compared(a: Plan, b: Plan, **options: Any) -> Diff:
    return diff(a.carried_out(), b.carried_out(first=100), **options)


def test_a_run_that_failed_because_of_a_step_differs_first_in_the_step() -> None:
    def plan(status: str) -> Plan:
        charge = planned(name="charge", status=status, output=status)
        return planned(planned(planned(name="look up"), charge, name="pay", status=status), status=status)

    found = compared(plan("succeeded"), plan("failed"))
    assert found.first is not None
    assert [run.name for run in found.first.path] == ["step", "pay", "charge"]
    assert found.first.what == ("output", "status")
    assert len(found.changed) == 3


@pytest.mark.parametrize("fields", [{"input": 1}, {"decisions": (DecisionRecord(id="1", question="?", chosen=1),)}])
def test_what_a_run_was_given_and_decided_comes_before_the_runs_below_it(fields: dict[str, Any]) -> None:
    found = compared(planned(planned(output=1)), planned(planned(output=2), **fields))
    assert found.first is not None
    assert (found.first.at, found.first.what) == (found.root, tuple(fields))


def test_it_shows_in_short_what_it_is() -> None:
    found = compared(planned(planned(output=1), planned(name="out")), planned(planned(output=2)))
    assert repr(found) == "<Diff of 00000001 and 00000064: 1 changed, 1 only in a, 0 only in b>"


def test_the_roots_may_have_other_names() -> None:
    assert not compared(planned(name="monday", kind="batch"), planned(name="tuesday", kind="job"))


def test_volatile_parts_of_values_can_be_ignored() -> None:
    a, b = (planned(output=f"/tmp/{name}/report.pdf") for name in "pq")
    assert compared(a, b).changed
    assert not compared(a, b, ignore_volatile=True)


def report(sent: int | None, cost: float | None = None, **more: Any) -> tuple[UsageRecord]:
    return (UsageRecord(model="m", input_tokens=sent, cost=cost, currency="USD", **more),)


def test_the_difference_to_what_is_unknown_is_unknown() -> None:
    a = planned(planned(usage=report(100, 0.5)), planned(), usage=report(10))
    b = planned(planned(usage=report(150)), planned(usage=report(7)), usage=report(None))
    root, first, second = compared(a, b).pairs
    assert (root.own.calls, root.own.input_tokens, root.own.output_tokens) == (0, None, None)
    assert (root.subtree.calls, root.subtree.input_tokens) == (1, None)  # a part of it is not known
    assert (first.own.input_tokens, first.own.output_tokens, first.own.cost) == (50, None, {"USD": None})
    assert (second.own.calls, second.own.input_tokens) == (1, None)
    assert first.elapsed is None
    left_out = compared(a, planned(*b.below))
    assert (left_out.root.subtree.input_tokens, left_out.root.own.calls) == (47, -1)


def test_a_total_that_includes_the_runs_below_is_not_what_a_run_used_on_its_own() -> None:
    below = planned(usage=report(5))
    root, _ = compared(planned(below, usage=report(9, inclusive=True)), planned(below, usage=report(4))).pairs
    assert root.own.input_tokens is None
    assert root.subtree.input_tokens == 4


# Batches --------------------------------------------------------------------------------------------------------------


def item(key: str, **fields: Any) -> Plan:
    return planned(key=key, elapsed=timedelta(seconds=fields.pop("seconds", 1)), **fields)


def keys(found: Sequence[Pair | Unpaired]) -> list[str | None]:
    return [run.record.key for run in found]


def test_two_batches_of_ten_thousand_that_differ_in_seven_items() -> None:
    names = [f"invoice-{number}" for number in range(10_000)]
    bad = {"status": "failed", "error": ErrorRecord(message="no such account")}
    told: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {
        "invoice-11": ({}, bad), "invoice-5000": ({}, {"status": "lost"}), "invoice-12": (bad, {}),
        "invoice-13": ({}, {"seconds": 9}), "invoice-14": ({"seconds": 9}, {}),
        "invoice-9999": ({}, None), "invoice-0": (None, {}),
    }  # fmt: skip
    random.Random(7).shuffle(order := list(names))  # noqa: S311 - an order, no secret

    def batch(side: int, names: list[str]) -> Tree:
        fields = {name: told.get(name, ({}, {}))[side] for name in names}
        items = (item(name, input=name, **given) for name, given in fields.items() if given is not None)
        return planned(*items, kind="batch").carried_out(first=1 + side * 20_000)

    found = diff(batch(0, names), batch(1, order))
    assert keys(found.newly_failed) == ["invoice-11", "invoice-5000"]
    assert (keys(found.fixed), keys(found.slower), keys(found.faster)) == (
        ["invoice-12"], ["invoice-13"], ["invoice-14"],
    )  # fmt: skip
    assert (keys(found.missing), keys(found.new)) == (["invoice-9999"], ["invoice-0"])
    assert (len(found.changed), len(found.only_a), len(found.only_b)) == (3, 1, 1)
    assert str(found).endswith("\n9,996 alike")


@pytest.mark.parametrize(
    ("before", "after", "slower"), [(1, 2, True), (1, 1.9, False), (0.1, 0.5, False), (0.1, 0.6, True), (9, 9.6, False)]
)
def test_slower_is_by_a_factor_and_by_a_length_of_time(before: float, after: float, *, slower: bool) -> None:
    found = compared(planned(item("k", seconds=before)), planned(item("k", seconds=after)))
    assert bool(found.slower) == slower
    assert not found.faster


def test_what_is_slower_can_be_said() -> None:
    a, b = planned(item("k", seconds=1)), planned(item("k", seconds=1.2))
    assert compared(a, b, factor=1.1, floor=timedelta(0)).slower
    assert not compared(a, b, factor=float("inf"), floor=timedelta(0)).slower
    assert not compared(a, a, factor=1, floor=timedelta(0)).slower
    for wrong in ({"factor": 0.9}, {"factor": float("nan")}, {"floor": timedelta(-1)}):
        with pytest.raises(ValueError, match="give"):
            compared(a, b, **wrong)


def test_an_item_that_failed_sooner_is_not_faster() -> None:
    found = compared(planned(item("k", seconds=9)), planned(item("k", status="failed")))
    assert (keys(found.newly_failed), found.faster) == (["k"], ())


def test_an_item_is_a_run_with_a_key_directly_below_the_root() -> None:
    a = planned(item("k", status="failed"), planned(item("deep", status="failed")), planned(status="failed"))
    b = planned(item("k"), planned(item("deep")), planned())
    assert keys(compared(a, b).fixed) == ["k"]
    assert keys(compared(planned(planned(item("deep")), item("k")), planned()).missing) == ["k"]


def test_a_key_that_several_have_is_said() -> None:
    (one,) = compared(planned(item("k"), item("k")), planned(item("k"))).repeated
    assert (one.key, one.a, one.b, one.above.by) == ("k", 2, 1, "root")


# Size, and where it comes from ----------------------------------------------------------------------------------------


def chain(size: int, **last: Any) -> Tree:
    node = planned().carried_out().record
    records = [
        node.model_copy(update={"id": f"{n:036}", "parent_id": f"{n - 1:036}" if n else None, "root_id": f"{0:036}"})
        for n in range(size)
    ]
    records[-1] = records[-1].model_copy(update=last)
    return grow(records[0], records[1:])


def test_a_chain_of_ten_thousand_runs_is_compared_without_recursion() -> None:
    a, b = chain(10_000), chain(10_000, output="deep")
    found = diff(a, b)
    assert found.first is not None
    assert len(found.first.path) == 10_000
    assert len(str(found)) < 1_000
    assert len(repr(found.changed[0])) < 10_000
    assert found == diff(a, b)
    assert len(diff(a, chain(1)).to_dict()["only_a"]) == 9_999


@pytest.mark.parametrize("on", [True, False])
def test_the_collector_is_left_as_it_was(*, on: bool) -> None:
    (gc.enable if on else gc.disable)()
    try:
        compared(planned(), planned())
        assert gc.isenabled() == on
    finally:
        gc.enable()


@given(any_plan, any_plan)
def test_it_is_plain_json(one: Plan, other: Plan) -> None:
    found = compared(one, other)
    document = json.loads(json.dumps(found.to_dict()))
    assert document == found.to_dict()
    assert document["alike"] + len(document["changed"]) == len(found.pairs)


def test_the_document_says_what_changed_from_what_to_what() -> None:
    error = ErrorRecord(message="no")
    a = planned(item("k", output=1), planned(planned(name="below"), name="alone"))
    b = planned(item("k", output=2, seconds=3, status="failed", error=error))
    document = compared(a, b).to_dict()
    assert document["items"] == {
        "newly_failed": ["k"], "fixed": [], "slower": [], "faster": [], "missing": [], "new": [],
    }  # fmt: skip
    (pair,) = document["changed"]
    assert (pair["by"], pair["elapsed"], pair["key"]) == ("key", 2.0, "k")
    assert pair["changed"] == {
        "output": [1, 2],
        "status": ["succeeded", "failed"],
        "error": [None, error.model_dump(mode="json")],
    }
    assert document["first"]["what"] == ["output", "status", "error"]
    assert [run["key"] for run in document["first"]["path"]] == [None, "k"]
    assert [run["name"] for run in document["only_a"]] == ["alone", "below"]
    assert [run["above"] for run in document["only_a"]] == [
        [document["root"]["a"], document["root"]["b"]],
        document["only_a"][0]["id"],
    ]


def test_the_registry_compares_what_was_recorded(tmp_path: Path) -> None:
    for city in ("Oslo", "Rome"):
        with start_run(city) as root, start_run("search", input={"city": city}) as search:
            search.end(output=city)
        if city == "Oslo":
            first = root.id
    with RunRegistry() as registry:
        found = registry.diff(first, "@last")
        assert [pair.changed for pair in found.pairs] == [(), ("input", "output")]
        assert found.pairs[1].by == "name"
        with pytest.raises(LookupError):
            registry.diff(first, "ffffffff")
