"""Spending: whatever usage is told apart by, the groups are what a naive look at every run adds up to."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunNotFound, RunRegistry, UsageBreakdown, start_run
from agent_run_id.answers import By
from agent_run_id.spending import _ALL
from tests.families import reports
from tests.journal_programs.journals import T0, crafted, event
from tests.test_usage import Node, below, counting, once, summed

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.schema import UsageRecord

DAY_US = 86_400_000_000
DIMENSIONS: tuple[By, ...] = get_args(By)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

any_reports = st.lists(reports(call_id=st.none() | st.sampled_from("abc"), inclusive=st.booleans()), max_size=3)
own_fields = st.fixed_dictionaries(
    {"name": st.sampled_from(["one", "two"])},
    optional={
        "kind": st.sampled_from(["agent", "tool"]),
        "user_id": st.sampled_from(["ann", "bob"]),
        "session_id": st.sampled_from(["s1", "s2"]),
    },
)


class Forest:
    """Runs by number, each with a parent before it or none, and what they say of themselves and report."""

    def __init__(self, draw: st.DrawFn) -> None:
        size = draw(st.integers(1, 8))
        self.fields: list[dict[str, Any]] = [draw(own_fields) for _ in range(size)]
        self.times = [T0 + draw(st.integers(0, 4)) * DAY_US // 2 for _ in range(size)]
        self.ids: list[RunId] = []
        self.nodes: list[Node] = []
        for number in range(size):
            parent = draw(st.none() | st.integers(0, number - 1)) if number else None
            value = f"{number:08x}-0000-4000-8000-000000000000"
            self.ids.append(RunId(value) if parent is None else _child(value, self.ids[parent]))
            # A call that one run reports twice is put together when it is recorded, by rules of its own.
            made = {place if one.call_id is None else one.call_id: one for place, one in enumerate(draw(any_reports))}
            self.nodes.append((number, parent, list(made.values())))
        self.by_others = draw(st.booleans())

    def write(self, directory: Path) -> None:
        """By the process of the runs, or the reports by another one, which comes too late to be kept with them."""
        starts, uses = [], []
        for (_, _, made), run_id, fields, at in zip(self.nodes, self.ids, self.fields, self.times, strict=True):
            starts.append(event(0, "run.started", run_id, time=at, **fields))
            uses += [event(0, "run.usage", run_id, time=at, **_said(report)) for report in made]
        if self.by_others:
            crafted(directory, starts, name="one", process="a" * 32)
            crafted(directory, uses, name="two", process="b" * 32)
        else:
            crafted(directory, sorted([*starts, *uses], key=lambda line: str(line["run"])))

    def group(self, by: By, number: int, model: str) -> str | None:
        lineage = [number]
        while (parent := self.nodes[lineage[-1]][1]) is not None:
            lineage.append(parent)
        said = self.fields[number]
        nearest = {
            name: next((self.fields[run][name] for run in lineage if name in self.fields[run]), None)
            for name in ("user_id", "session_id")
        }
        day = f"{(EPOCH + timedelta(microseconds=self.times[number])).astimezone():%Y-%m-%d}"
        groups = {"model": model, "user": nearest["user_id"], "session": nearest["session_id"], "day": day}
        return groups[by] if by in groups else said.get(by)

    def naive(self, by: By, chosen: Iterable[int]) -> dict[str | None, tuple[int, Any]]:
        """How many runs each group has, and what it comes to."""
        calls: dict[Any, list[tuple[int, UsageRecord]]] = {}
        for run in chosen:
            for place, report in enumerate(counting(self.nodes, run)):
                calls.setdefault(report.call_id or (run, place), []).append((run, report))
        found: dict[str | None, list[tuple[int, UsageRecord]]] = {}
        for same in calls.values():
            owner = min((-self.ids[run].depth, self.times[run], self.ids[run].value, run) for run, _ in same)[-1]
            [call] = once([report.model_copy(update={"call_id": "it"}) for _, report in same])
            found.setdefault(self.group(by, owner, call.model), []).append((owner, call))
        return {
            value: (len({run for run, _ in members}), summed([call for _, call in members]))
            for value, members in found.items()
        }


@st.composite
def forests(draw: st.DrawFn) -> Forest:
    return Forest(draw)


def _child(value: str, parent: RunId) -> RunId:
    return RunId.from_token(f"{value}.{parent.value}.{parent.root_id}.{parent.depth + 1}")


def _said(report: UsageRecord) -> dict[str, Any]:
    return {name: value for name, value in report.model_dump().items() if value is not None and value is not False}


def groups_of(found: UsageBreakdown) -> dict[str | None, tuple[int, Any]]:
    return {group.value: (group.runs, group.total) for group in found.groups}


# The laws -------------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(forests(), st.data())
def test_groups_are_what_every_call_comes_to_once_for_everything_and_for_any_run_and_time(
    forest: Forest, data: st.DataObject
) -> None:
    by = data.draw(st.sampled_from(DIMENSIONS))
    every = range(len(forest.nodes))
    bounds = st.none() | st.integers(-1, 5).map(lambda half_days: T0 + half_days * DAY_US // 2)
    since, until = data.draw(bounds), data.draw(bounds)
    top = data.draw(st.none() | st.sampled_from(every))
    chosen = [
        run
        for run in (every if top is None else below(forest.nodes, top))
        if (since is None or forest.times[run] >= since) and (until is None or forest.times[run] < until)
    ]
    with tempfile.TemporaryDirectory() as temporary:
        forest.write(Path(temporary))
        with RunRegistry(temporary) as registry:
            found = registry.usage_by(
                by,
                since=None if since is None else EPOCH + timedelta(microseconds=since),
                until=None if until is None else EPOCH + timedelta(microseconds=until),
                under=None if top is None else forest.ids[top],
            )
            whole = None if top is None else registry.usage(forest.ids[top])
    assert groups_of(found) == forest.naive(by, chosen)
    assert sum(group.total.calls for group in found.groups) == found.total.calls
    counted = [report for run in chosen for report in counting(forest.nodes, run)]
    assert found.total == summed(once(counted))
    if whole is not None and since is None and until is None:
        assert found.total == whole.subtree


@settings(max_examples=20)
@given(forests())
def test_the_total_of_everything_is_what_the_roots_come_to_where_no_two_report_the_same_call(forest: Forest) -> None:
    forest.nodes = [
        (run, parent, [one.model_copy(update={"call_id": one.call_id and f"{run} {one.call_id}"}) for one in made])
        for run, parent, made in forest.nodes
    ]
    with tempfile.TemporaryDirectory() as temporary:
        forest.write(Path(temporary))
        with RunRegistry(temporary) as registry:
            roots = [registry.usage(root.record.id).subtree for root in registry.roots(limit=None)]
            for by in DIMENSIONS:
                total = registry.usage_by(by).total
                assert total.calls == sum(root.calls for root in roots)
                assert (total.input_tokens or 0) == sum(root.input_tokens or 0 for root in roots)
                assert total.cost.get("USD", 0) == sum(root.cost.get("USD", 0) for root in roots)
                assert total.unknown.get("cost", 0) == sum(root.unknown.get("cost", 0) for root in roots)


# Cases ----------------------------------------------------------------------------------------------------------------


def test_what_cost_most_comes_first_then_what_took_most_tokens_and_days_in_their_order(registry: RunRegistry) -> None:
    with start_run("run") as run:
        run.usage(model="free", input_tokens=9)
        run.usage(model="freer", input_tokens=5, output_tokens=5)
        run.usage(model="dear", input_tokens=1, cost=2.0)
        run.usage(model="dearer", input_tokens=1, cost=3.0)
        run.usage(model="elsewhere", input_tokens=1, cost=2.5, currency="EUR")
    assert [group.value for group in registry.usage_by().groups] == ["dearer", "dear", "elsewhere", "freer", "free"]


def test_a_call_that_several_runs_report_is_that_of_the_one_furthest_down_and_of_these_of_the_first(
    registry: RunRegistry,
) -> None:
    """The agent and what it calls may both be told what the provider answered."""
    with start_run("agent", kind="agent") as agent:
        agent.usage(model="m", input_tokens=7, call_id="c")
        for name in ("first", "again"):
            with start_run(name, kind="llm") as call:
                call.usage(model="m", input_tokens=7, call_id="c")
    assert [(group.value, group.runs) for group in registry.usage_by("kind").groups] == [("llm", 1)]
    assert [(group.value, group.runs) for group in registry.usage_by("name").groups] == [("first", 1)]


def test_days_are_in_their_order_the_latest_first(tmp_path: Path) -> None:
    runs = [(RunId(f"{day:08x}-0000-4000-8000-000000000000"), T0 + day * DAY_US) for day in (2, 0, 1)]
    lines = [event(0, "run.started", run, time=at, name="run") for run, at in runs]
    lines += [event(0, "run.usage", run, time=at, model="m", cost=float(at % 7)) for run, at in runs]
    crafted(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        days = [group.value for group in registry.usage_by("day").groups]
    assert len(days) == 3
    assert days == sorted(days, key=str, reverse=True)


def test_a_run_that_nobody_saw_start_counts_and_what_it_was_is_not_known(tmp_path: Path) -> None:
    crafted(tmp_path, [event(0, "run.usage", RunId.generate(), model="m", input_tokens=7)])
    with RunRegistry(tmp_path) as registry:
        for by in DIMENSIONS:
            [group] = registry.usage_by(by).groups
            assert (group.value, group.total.input_tokens) == ("m" if by == "model" else None, 7)
        assert registry.usage_by(since=timedelta(days=40_000)).groups == ()


def test_runs_that_claim_to_be_above_each_other_are_each_counted(tmp_path: Path) -> None:
    one, two = (RunId(f"{digit * 8}-0000-4000-8000-000000000000") for digit in "12")
    ring = [RunId.from_token(f"{one}.{two}.{two}.1"), RunId.from_token(f"{two}.{one}.{one}.1")]
    lines = [event(0, "run.started", run, name="run") for run in ring]
    lines += [event(0, "run.usage", run, model="m", input_tokens=1, inclusive=True) for run in ring]
    crafted(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        for by in DIMENSIONS:
            assert registry.usage_by(by).total.input_tokens == 2


def test_of_a_run_in_a_ring_the_subtree_is_that_of_its_tree(tmp_path: Path) -> None:
    one, two = (RunId(f"{digit * 8}-0000-4000-8000-000000000000") for digit in "12")
    ring = [RunId.from_token(f"{one}.{two}.{two}.1"), RunId.from_token(f"{two}.{one}.{one}.1")]
    lines = [event(0, "run.started", run, name="run") for run in ring]
    lines += [event(0, "run.usage", run, model="m", input_tokens=1) for run in ring]
    crafted(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        for run in ring:
            assert registry.usage(run).subtree == registry.tree(run).usage()


def test_a_user_is_found_above_a_chain_that_is_deeper_than_the_stack(tmp_path: Path) -> None:
    run, lines = RunId.generate(), []
    for level in range(3000):
        lines.append(event(0, "run.started", run, name="run", user_id="ann" if level == 0 else None))
        run = RunId.generate(run)
    deepest = RunId.from_token(str(lines[-1]["run"]))
    crafted(tmp_path, [*lines, event(0, "run.usage", deepest, model="m", input_tokens=1)])
    with RunRegistry(tmp_path) as registry:
        assert [group.value for group in registry.usage_by("user").groups] == ["ann"]


def test_only_runs_that_report_are_read(registry: RunRegistry) -> None:
    with start_run("run"):
        pass
    registry.find()
    for more in ("", " AND r.started_at >= 5"):
        plan = " ".join(row["detail"] for row in registry._index.read(f"EXPLAIN QUERY PLAN {_ALL}{more}"))
        assert "reporting_runs" in plan


def test_what_cannot_be_told_apart_is_refused(registry: RunRegistry) -> None:
    with pytest.raises(ValueError, match="told apart by model, user, session, kind, name, day, not by 'colour'"):
        registry.usage_by("colour")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="time zone"):
        registry.usage_by(since=datetime(2026, 1, 1))
    with pytest.raises(RunNotFound):
        registry.usage_by(under="ffffffff")
