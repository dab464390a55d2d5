"""Records of runs, made by hand or by hypothesis, for the tests of trees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from agent_run_id import RunRecord
from agent_run_id.schema import ProcessRecord, UsageRecord
from agent_run_id.testing.strategies import run_records

if TYPE_CHECKING:
    from agent_run_id import Tree

__all__ = ["T0", "families", "named", "record", "reports", "run_id", "seconds"]

T0 = datetime(2026, 1, 1, tzinfo=UTC)


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def record(number: int, parent: int | None = None, *, root: int = 0, depth: int = 0, **fields: Any) -> RunRecord:
    return RunRecord(
        id=run_id(number), parent_id=None if parent is None else run_id(parent), root_id=run_id(root), depth=depth,
        **{"name": str(number), "status": "succeeded", "started_at": T0 + seconds(number), **fields},
    )  # fmt: skip


def run_id(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def named(nodes: list[Tree]) -> list[str | None]:
    return [node.record.name for node in nodes]


def families(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[list[RunRecord]]:
    """The runs of one tree, the root first, each with a parent before it; their clocks agree in nothing."""
    of_no_matter = ("decisions", "input", "output", "summary", "usage", "session_id", "user_id")
    clocks: dict[str, Any] = {
        "started_at": st.none() | st.integers(-3, 3).map(lambda late: T0 + seconds(late)),
        "process": st.none() | st.sampled_from("ab").map(lambda name: ProcessRecord(id=name)),
    }
    usual: dict[str, Any] = {name: st.just(RunRecord.model_fields[name].default) for name in of_no_matter}
    usual |= {"name": st.sampled_from("ab"), "status": st.just("succeeded")}
    return run_records(**{**usual, **clocks, **fields})


def reports(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[UsageRecord]:
    """Reports of calls. Costs are quarters, so that a model that adds floats adds them exactly."""
    counts = st.none() | st.integers(0, 9)
    figures: dict[str, Any] = {
        "model": st.sampled_from("mn"),
        "input_tokens": counts,
        "output_tokens": counts,
        "cache_read_tokens": counts,
        "reasoning_tokens": counts,
        "cost": st.none() | st.integers(0, 9).map(lambda quarters: quarters / 4),
        "currency": st.sampled_from(["USD", "EUR"]),
    }
    return st.builds(UsageRecord, **{**figures, **fields})
