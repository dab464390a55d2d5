"""Histories: what was recorded of a run and all below it, in the order of a plain look at every event."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunNotFound, RunRegistry, histories
from tests.journal_programs.journals import T0, crafted, event
from tests.journal_programs.model import Model, _in_order
from tests.journal_programs.worlds import OTHERS, World, worlds
from tests.test_index_model import write

if TYPE_CHECKING:
    from collections.abc import Iterable

    from agent_run_id.schema import EventRecord


def told(events: Iterable[EventRecord]) -> list[Any]:
    return [(event.run_id, event.process_id, event.seq, event.type, event.data) for event in events]


@settings(max_examples=40)
@given(worlds(), st.lists(st.sampled_from(sorted(OTHERS)), max_size=3), st.integers(1, 5))
def test_a_history_is_every_event_of_the_subtree_once_in_order(world: World, types: list[str], piece: int) -> None:
    """In whatever pieces it is read, and wherever the events are kept."""
    model = Model(world.parts)
    with (
        tempfile.TemporaryDirectory() as temporary,
        contextlib.ExitStack() as locks,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(histories, "_PIECE", piece)
        for place, part in enumerate(world.parts):
            write(Path(temporary), part, f"{place:02}", locks)
        with RunRegistry(temporary) as registry:
            registry.find()
            for run in model.runs:
                every = _in_order(event for other in model.below(run) for event in model.said[other])
                expected = [(e.run.value, e.process, e.seq, e.type, e.data) for e in every]
                assert told(registry.events_below(RunId(run))) == expected
                assert told(registry.events_below(RunId(run), types=types)) == [
                    row for row in expected if not types or row[3] in types
                ]


def many(directory: Path, count: int) -> RunId:
    """A run with so many below it."""
    root = RunId("ffffffff-0000-4000-8000-000000000000")
    lines = [event(0, "run.started", root, name="batch")]
    for place in range(count):
        run = RunId.from_token(f"{place:08x}-0000-4000-8001-000000000000.{root}.{root}.1")
        lines.append(event(0, "run.started", run, time=T0 + place, name="pay"))
        lines.append(event(0, "run.step", run, time=T0 + place, name="booked"))
        lines.append(event(0, "run.ended", run, time=T0 + place, status="succeeded"))
    crafted(directory, lines)
    return root


def test_a_tree_of_ten_thousand_runs_takes_some_queries_and_begins_before_all_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, queries = many(tmp_path, 10_000), 0
    with RunRegistry(tmp_path) as registry:
        read = registry._index.read

        def counting(*arguments: Any) -> Any:
            nonlocal queries
            queries += 1
            return read(*arguments)

        monkeypatch.setattr(registry._index, "read", counting)
        events = iter(registry.events_below(root))
        assert next(events).type == "run.started"
        assert queries < 10
        assert sum(1 for _ in events) == 30_000
        assert queries < 100


def test_what_is_forgotten_meanwhile_is_left_out(tmp_path: Path) -> None:
    root = many(tmp_path, 2_000)
    with RunRegistry(tmp_path) as registry:
        events = iter(registry.events_below(root))
        first = next(events)
        next((tmp_path / "journal").iterdir()).unlink()
        registry.find()
        assert first.run_id == root.value
        assert 0 < sum(1 for _ in events) < 6_000


def test_of_a_run_that_is_not_there_it_says_so_at_once(tmp_path: Path) -> None:
    with RunRegistry(tmp_path) as registry, pytest.raises(RunNotFound):
        registry.events_below("ffffffff")
