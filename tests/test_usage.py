"""Usage: every call to a model counts once, and what nobody knows is unknown."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import RunRecord, RunRegistry, start_run
from agent_run_id.schema import UsageRecord, UsageTotal
from agent_run_id.tree import grow
from agent_run_id.usage import by_model, roll_up, total
from tests.families import families, record, reports

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

COUNTS = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
Node = tuple[int, int | None, list[UsageRecord]]

any_reports = st.lists(reports(call_id=st.none() | st.sampled_from("abc"), inclusive=st.booleans()), max_size=3)


@st.composite
def forests(draw: st.DrawFn, /) -> list[Node]:
    """Runs by number, with the number of a parent before them, or none."""
    size = draw(st.integers(1, 8))
    parents = [draw(st.none() | st.integers(0, number - 1)) if number else None for number in range(size)]
    return [(number, parent, draw(any_reports)) for number, parent in enumerate(parents)]


# The model: as naive as the words it is told in -----------------------------------------------------------------------


def below(nodes: list[Node], run: int) -> list[int]:
    """A run and all below it."""
    return [run, *(one for key, parent, _ in nodes if parent == run for one in below(nodes, key))]


def counting(nodes: list[Node], run: int) -> list[UsageRecord]:
    """The reports of a run that count: its own; else, where none below count, the totals that include those."""
    own = [report for report in nodes[run][2] if not report.inclusive]
    further = any(counting(nodes, one) for one in below(nodes, run)[1:])
    return own or ([] if further else nodes[run][2])


def once(counted: list[UsageRecord]) -> list[UsageRecord]:
    """Each call once, with the largest that was reported of each of its figures."""
    calls: dict[Any, list[UsageRecord]] = {}
    for place, report in enumerate(counted):
        calls.setdefault(place if report.call_id is None else report.call_id, []).append(report)
    return [largest(same) for same in calls.values()]


def largest(same: list[UsageRecord]) -> UsageRecord:
    known = {name: [value for one in same if (value := getattr(one, name)) is not None] for name in COUNTS}
    currency, cost = max(((one.currency, one.cost) for one in same if one.cost is not None), default=(None, None))
    figures: dict[str, Any] = {name: max(values, default=None) for name, values in known.items()}
    return UsageRecord(model=max(one.model for one in same), cost=cost, currency=currency, **figures)


def summed(calls: list[UsageRecord]) -> UsageTotal:
    known = {name: [value for one in calls if (value := getattr(one, name)) is not None] for name in (*COUNTS, "cost")}
    figures: dict[str, Any] = {name: sum(known[name]) if known[name] else None for name in COUNTS}
    cost: dict[str, float] = {}
    for one in calls:
        if one.cost is not None and one.currency is not None:
            cost[one.currency] = cost.get(one.currency, 0) + one.cost
    unknown = {name: len(calls) - len(values) for name, values in known.items() if len(values) < len(calls)}
    return UsageTotal(calls=len(calls), cost=cost, unknown=unknown, **figures)


# The law --------------------------------------------------------------------------------------------------------------


@given(forests(), st.data())
def test_what_a_subtree_used_is_what_its_runs_used_each_call_once_in_whatever_order_they_come(
    nodes: list[Node], data: st.DataObject
) -> None:
    rolled = roll_up(data.draw(st.permutations(nodes)))
    assert rolled.keys() == {run for run, _, _ in nodes}
    for run, _, _ in nodes:
        counted = [report for one in below(nodes, run) for report in counting(nodes, one)]
        assert rolled[run].own == summed(once(counting(nodes, run)))
        assert rolled[run].subtree == summed(once(counted))


@given(families(usage=any_reports.map(tuple)), st.data())
def test_the_usage_of_the_root_is_the_sum_of_what_each_run_used_where_no_two_report_the_same_call(
    records: list[RunRecord], data: st.DataObject
) -> None:
    """Of figures alone, without a look at the reports: this is what a reader may check by adding up."""
    own_calls = [
        one.model_copy(update={"usage": tuple(_renamed(report, f"{one.id} {report.call_id}") for report in one.usage)})
        for one in records
    ]
    tree = grow(own_calls[0], data.draw(st.permutations(own_calls[1:])))
    assert tree.usage() == added(node.own.usage for node in tree)
    for node in tree:
        assert node.usage() == node.subtree.usage == tree.usages()[node.record.id]
        assert node.usage() == added([node.own.usage, *(child.usage() for child in node.children)])


def _renamed(report: UsageRecord, call_id: str) -> UsageRecord:
    return report if report.call_id is None else report.model_copy(update={"call_id": call_id})


def added(totals: Iterable[UsageTotal]) -> UsageTotal:
    every = list(totals)
    known = {name: [value for one in every if (value := getattr(one, name)) is not None] for name in COUNTS}
    currencies = {currency for one in every for currency in one.cost}
    unknown = sum((Counter(one.unknown) for one in every), Counter[str]())
    figures: dict[str, Any] = {name: sum(values) if values else None for name, values in known.items()}
    return UsageTotal(
        calls=sum(one.calls for one in every),
        cost={currency: sum(one.cost.get(currency, 0) for one in every) for currency in currencies},
        unknown=dict(unknown),
        **figures,
    )


@given(forests(), st.data())
def test_usage_by_model_is_what_each_model_used_and_no_call_is_in_two(nodes: list[Node], data: st.DataObject) -> None:
    calls = once([report for run, _, _ in nodes for report in counting(nodes, run)])
    models = by_model(data.draw(st.permutations(nodes)))
    assert models == {
        model: summed([call for call in calls if call.model == model])
        for model in sorted({call.model for call in calls})
    }
    assert list(models) == sorted(models)


@given(families(usage=any_reports.map(tuple)))
def test_the_models_of_a_node_are_those_it_used_itself_or_with_all_below(records: list[RunRecord]) -> None:
    tree = grow(records[0], records[1:])
    for node in tree:
        assert sum(one.calls for one in node.usage_by_model().values()) == node.usage().calls
        assert sum(one.calls for one in node.usage_by_model(own=True).values()) == node.own.usage.calls
        assert not node.children or node.usage_by_model() == by_model(
            (one.record.id, one.record.parent_id, one.record.usage) for one in node
        )


@given(any_reports)
def test_the_total_of_some_reports_is_that_of_a_run_that_made_them(made: list[UsageRecord]) -> None:
    assert total(made) == roll_up([("run", None, made)])["run"].own


# Cases ----------------------------------------------------------------------------------------------------------------


def figures(usage: UsageTotal) -> tuple[Any, ...]:
    return usage.calls, usage.input_tokens, usage.output_tokens, usage.cost


def test_a_run_without_reports_used_nothing_known() -> None:
    tree = grow(record(0), [record(1, 0)])
    assert tree.usage() == tree.own.usage == UsageTotal()
    assert tree.usage_by_model() == tree.usage_by_model(own=True) == by_model([]) == {}
    assert not roll_up([])


def test_a_sum_says_of_how_many_calls_a_figure_is_not_known() -> None:
    """A stream that broke off has used something: the sum is the least it can be, and says so."""
    usage = total([UsageRecord(model="m", input_tokens=10, output_tokens=5), UsageRecord(model="m", input_tokens=10)])
    assert (usage.input_tokens, usage.output_tokens) == (20, 5)
    assert (usage.unknown["output_tokens"], usage.unknown["cost"]) == (1, 2)
    assert "input_tokens" not in usage.unknown


def test_of_a_call_that_was_reported_in_parts_every_part_counts() -> None:
    """A stream tells what it was given when it begins, and what it gave when it ends."""
    begun = UsageRecord(model="m", input_tokens=10, output_tokens=1, call_id="c")
    ended = UsageRecord(model="m", output_tokens=90, cost=0.5, currency="USD", call_id="c")
    for first, second in ((begun, ended), (ended, begun)):
        usage = roll_up([("top", None, [first]), ("below", "top", [second])])["top"].subtree
        assert figures(usage) == (1, 10, 90, {"USD": 0.5})


def test_costs_are_added_exactly_so_that_no_order_changes_a_digit() -> None:
    costs = [0.1] * 10 + [1e16, 1.0, -1e16]
    made = [UsageRecord(model="m", cost=cost, currency="USD") for cost in costs]
    assert total(made).cost == total(made[::-1]).cost == {"USD": math.fsum(costs)}


@pytest.mark.parametrize("cost", [math.nan, math.inf, -math.inf])
def test_a_cost_that_is_no_number_is_not_known(cost: float) -> None:
    usage = total([UsageRecord(model="m", cost=cost, currency="USD"), UsageRecord(model="m", cost=1.0)])
    assert (usage.cost, usage.unknown["cost"]) == ({}, 2)


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=5))
def test_any_costs_can_be_added(costs: list[float]) -> None:
    usage = total([UsageRecord(model="m", cost=cost, currency="USD") for cost in costs])
    try:
        assert usage.cost.get("USD", 0.0) == math.fsum(costs)
    except OverflowError:
        assert abs(usage.cost["USD"]) > 1e300


def test_runs_that_claim_to_be_above_each_other_are_each_counted() -> None:
    report = [UsageRecord(model="m", input_tokens=1)]
    ring: Sequence[tuple[str, str | None, list[UsageRecord]]] = [
        ("a", "b", report), ("b", "a", report), ("c", "c", report), ("d", "a", report), ("e", "not there", report),
    ]  # fmt: skip
    for nodes in (ring, ring[::-1]):
        rolled = roll_up(nodes)
        assert {key: one.subtree.input_tokens for key, one in rolled.items()} == {
            "a": 2,
            "b": 1,
            "c": 1,
            "d": 1,
            "e": 1,
        }
        assert by_model(nodes)["m"].calls == 5


def test_usage_is_rolled_up_from_what_was_recorded(registry: RunRegistry) -> None:
    with start_run("agent") as agent:
        agent.usage(model="large", input_tokens=1000, inclusive=True)
        for number in range(2):
            with start_run("call") as call:
                call.usage(model="large", input_tokens=10, cache_read_tokens=4, cost=0.5, call_id="same")
                call.usage(model="small", input_tokens=number)
    tree = registry.tree(agent.id)
    assert figures(tree.usage()) == (3, 11, None, {"USD": 0.5})
    assert tree.usage().cache_read_tokens == 4
    assert figures(tree.own.usage) == (0, None, None, {})
    assert {model: figures(usage) for model, usage in tree.usage_by_model().items()} == {
        "large": (1, 10, None, {"USD": 0.5}),
        "small": (2, 1, None, {}),
    }
    assert list(tree.children[0].usage_by_model(own=True)) == ["large", "small"]
