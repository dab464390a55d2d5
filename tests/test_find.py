"""Finding: any combination of conditions is what a plain look at every run gives."""

from __future__ import annotations

import contextlib
import re
import tempfile
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunNotFound, RunRegistry, start_run, surveys
from tests.journal_programs.indexes import SEARCHES, search_as
from tests.journal_programs.journals import T0, crafted, started
from tests.journal_programs.model import EPOCH, Model
from tests.journal_programs.worlds import World, worlds
from tests.test_index_model import write
from tests.test_search import LEFT_OUT, texts_in

if TYPE_CHECKING:
    from collections.abc import Callable

STATUSES = ["running", "lost", "succeeded", "failed", "cancelled", "paused", "queued"]
MOMENTS = st.integers(-1, 6).map(lambda n: EPOCH + timedelta(microseconds=T0 + n))
CONDITIONS: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from(STATUSES) | st.lists(st.sampled_from(STATUSES), max_size=3),
    "kind": st.sampled_from(["agent", "tool", "none"]),
    "name": st.sampled_from(["run 0", "run 1", "again"]),
    "key": st.sampled_from(["k1", "k2"]),
    "user_id": st.sampled_from(["ann", "bob", "eve"]),
    "session_id": st.sampled_from(["s1", "s2"]),
    "tag": st.sampled_from(["t1", "t2", "t"]),
    "since": MOMENTS,
    "until": MOMENTS,
    "root_only": st.booleans(),
    "text": st.sampled_from(["ann", "s1 k1", "t2 again", "valueerror"]),
}
MEETS: dict[str, Callable[[Model, dict[str, Any], Any], bool]] = {
    "status": lambda _, run, value: run["status"] in ([value] if isinstance(value, str) else value),
    "tag": lambda _, run, value: value in run["tags"],
    "since": lambda _, run, value: bool(run["started_at"] >= value),
    "until": lambda _, run, value: bool(run["started_at"] < value),
    "under": lambda model, run, value: run["id"] != value and run["id"] in model.below(value),
    "root_only": lambda model, run, value: not value or run["id"] in model.roots(),
    "text": lambda model, run, value: set(value.split()) <= words(model, run["id"]),
}


def words(model: Model, run: str) -> set[str]:
    told = [event.data for event in model.said[run] if event.type != "run.usage"]
    texts = [text for data in told for name, value in data.items() if name not in LEFT_OUT for text in texts_in(value)]
    return {word for text in texts for word in re.findall(r"\w+", text.lower())}


def expected(model: Model, given: dict[str, Any]) -> list[str]:
    def meets(run: dict[str, Any], name: str) -> bool:
        return MEETS[name](model, run, given[name]) if name in MEETS else bool(run[name] == given[name])

    return [run for run in model.started() if all(meets(model.record(run), name) for name in given)]


@contextlib.contextmanager
def registry_of(world: World) -> Any:
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        for place, part in enumerate(world.parts):
            write(Path(temporary), part, f"{place:02}", locks)
        with RunRegistry(temporary) as registry:
            yield registry


@settings(max_examples=40)
@given(worlds(), st.sampled_from([0, 20_000]), st.sampled_from(sorted(SEARCHES)), st.data())
def test_what_is_found_is_what_meets_all_conditions(world: World, many: int, how: str, data: st.DataObject) -> None:
    """However it is looked for: those of a frequent user, and those with frequent words, are found one by one."""
    model = Model(world.parts)
    with registry_of(world) as registry, pytest.MonkeyPatch.context() as patch:
        patch.setattr(surveys, "_MANY", many)
        search_as(how, patch)
        optional = CONDITIONS | {"under": st.sampled_from(model.runs or [""])} if model.runs else CONDITIONS
        for _ in range(10):
            given = data.draw(st.fixed_dictionaries({}, optional=optional))
            limit = data.draw(st.none() | st.integers(0, 4))
            found = expected(model, given)
            asked = given | ({"under": RunId(given["under"])} if "under" in given else {})
            assert [run.id for run in registry.find(**asked, limit=limit)] == found[:limit]
            oldest = registry.find(**asked, limit=limit, order="oldest")
            assert [run.id for run in oldest] == found[::-1][:limit]


@settings(max_examples=20)
@given(worlds(), st.data())
def test_roots_are_found_by_when_they_started(world: World, data: st.DataObject) -> None:
    model = Model(world.parts)
    with registry_of(world) as registry:
        for _ in range(5):
            given = data.draw(st.fixed_dictionaries({}, optional={"since": MOMENTS, "until": MOMENTS}))
            limit = data.draw(st.none() | st.integers(0, 4))
            found = registry.roots(**given, limit=limit)
            assert [root.record.id for root in found] == expected(model, given | {"root_only": True})[:limit]
            assert [root.counts.by_status for root in found] == [model.counts(root.record.id) for root in found]


def test_what_is_found_under_a_run_is_everything_below_it_and_not_the_run(registry: RunRegistry) -> None:
    with start_run("top") as top, start_run("middle") as middle, start_run("bottom"):
        pass
    start_run("elsewhere").end()
    assert {run.name for run in registry.find(under=top.id)} == {"middle", "bottom"}
    assert [run.name for run in registry.find(under=middle.id.short())] == ["bottom"]
    assert registry.find(under=middle.id, root_only=True) == []
    with pytest.raises(RunNotFound):
        registry.find(under="ffffffff")


def test_a_length_of_time_is_that_long_ago(registry: RunRegistry) -> None:
    start_run("now").end()
    assert [run.name for run in registry.find(since=timedelta(minutes=1))] == ["now"]
    assert registry.find(until=timedelta(minutes=1)) == []
    assert registry.roots(until=timedelta(minutes=1)) == []


def test_a_time_is_the_same_in_every_zone(tmp_path: Path) -> None:
    run = RunId.generate()
    crafted(tmp_path, [started(run)])
    moment = EPOCH + timedelta(microseconds=T0)
    with RunRegistry(tmp_path) as registry:
        for hours in (-11, 0, 5.5, 14):
            there = moment.astimezone(timezone(timedelta(hours=hours)))
            assert [found.id for found in registry.find(since=there)] == [run.value]
            assert registry.find(until=there) == []


@pytest.mark.parametrize(
    "moment", [datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC), timedelta.max, timedelta.min]
)
def test_a_time_as_far_away_as_there_are_times_is_a_time(moment: Any, registry: RunRegistry) -> None:
    start_run("now").end()
    later = moment in (datetime.max.replace(tzinfo=UTC), timedelta.min)
    assert len(registry.find(since=moment)) == (not later)
    assert len(registry.find(until=moment)) == later


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"status": "sucess"}, "there is no status 'sucess'; one of running, succeeded"),
        ({"status": ["failed", "lots"]}, "there is no status 'lots'"),
        ({"since": datetime(2026, 1, 1)}, "give it a time zone"),
        ({"until": datetime(2026, 1, 1)}, "give it a time zone"),
        ({"order": "latest"}, "there is no order 'latest'; one of newest, oldest"),
        ({"limit": -1}, "None finds all"),
    ],
    ids=str,
)
def test_a_condition_that_cannot_be_met_by_anything_says_what_to_type(
    asked: dict[str, Any], says: str, registry: RunRegistry
) -> None:
    with pytest.raises(ValueError, match=says):
        registry.find(**asked)


def test_a_limit_may_be_larger_than_anything_can_be_counted(registry: RunRegistry) -> None:
    start_run("now").end()
    assert len(registry.find(limit=2**70)) == len(registry.roots(limit=2**70)) == 1
    assert len(registry.find(limit=0)) == len(registry.roots(limit=0)) == 0
