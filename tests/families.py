"""Records of runs, made by hand or by hypothesis, for the tests of trees."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from agent_run_id import RunRecord
from agent_run_id.schema import ProcessRecord, UsageRecord

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


@st.composite
def families(draw: st.DrawFn, /, **fields: Any) -> list[RunRecord]:
    """The runs of one tree, the root first, each with a parent before it; their clocks agree in nothing."""
    size = draw(st.integers(1, 10))
    records = [record(0, **{name: draw(values) for name, values in fields.items()})]
    for number in range(1, size):
        parent = draw(st.integers(0, number - 1))
        started = draw(st.none() | st.integers(-3, 3).map(lambda late: T0 + seconds(late)))
        process = draw(st.none() | st.sampled_from("ab").map(lambda name: ProcessRecord(id=name)))
        more = {"started_at": started, "process": process, **{name: draw(values) for name, values in fields.items()}}
        records.append(record(number, parent, depth=records[parent].depth + 1, **more))
    return records


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
