"""Strategies of hypothesis: ids of runs and trees of runs, as a program meets them that handles either."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.errors import MissingExtraError
from agent_run_id.ids import MAX_DEPTH, RunId
from agent_run_id.schema import DecisionRecord, ErrorRecord, ProcessRecord, RunRecord, SegmentRecord, UsageRecord
from agent_run_id.tree import Tree, grow

try:
    from hypothesis import strategies as st
except ImportError:
    raise MissingExtraError(
        "run_ids() and trees() need hypothesis, which is not installed: pip install 'agent-run-id[testing]'"
    ) from None

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["json_values", "run_ids", "run_records", "trees"]

_T0: Final = datetime(2026, 1, 1, tzinfo=UTC)
_FEW: Final = 3
"""Most depths are small: what is special begins with them."""

_uuids: Final = st.integers(1, 2**32 - 1).map(lambda number: f"{number:08x}-0000-0000-0000-000000000000") | (
    st.uuids().map(str)  # which do not shrink
)
json_values: Final[st.SearchStrategy[Any]] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
"""Values that are recorded as they are."""


def run_ids(*, min_depth: int = 0, max_depth: int = MAX_DEPTH) -> st.SearchStrategy[RunId]:
    """Ids of runs at any depth: roots, their children, and runs far below. They shrink to a root.

    The ids are any UUIDs, as what comes from elsewhere may have them, and not only those that `RunId.generate` makes.

    Args:
        min_depth: How many runs are above them at least; 1 leaves out roots.
        max_depth: How many at the most; 0 leaves only roots.

    Raises:
        ValueError: there are no such depths.
    """
    if not 0 <= min_depth <= max_depth <= MAX_DEPTH:
        raise ValueError(f"depths lie between 0 and {MAX_DEPTH}, min_depth first, not {min_depth} and {max_depth}")
    near = st.integers(min_depth, min(min_depth + _FEW, max_depth))
    return (near | st.integers(min_depth, max_depth)).flatmap(_ids_at)


def _ids_at(depth: int) -> st.SearchStrategy[RunId]:
    how_many = min(depth, 2) + 1
    values = st.lists(_uuids, min_size=how_many, max_size=how_many, unique=True)
    return values.map(lambda chain: _id_of(chain, depth))


def _id_of(chain: list[str], depth: int) -> RunId:
    """The last of these, below the one before it, with the first as its root."""
    return RunId(chain[0]) if depth == 0 else RunId.from_token(f"{chain[-1]}.{chain[-2]}.{chain[0]}.{depth}")


# Records --------------------------------------------------------------------------------------------------------------

_names: Final = st.sampled_from(
    ["agent", "search", "plan a trip", "ask", "Agent.think", 'say "hi"', "работа"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_values: Final[st.SearchStrategy[Any]] = st.sampled_from(
    [None, "to Oslo", {"to": "Oslo", "at": [1, 2.5, True, None]}, [], 0]
)
_counts: Final = st.none() | st.integers(0, 9_999)
_usages: Final = st.builds(
    UsageRecord,
    model=st.sampled_from(["m-1", "m-2"]),
    input_tokens=_counts,
    output_tokens=_counts,
    cache_read_tokens=st.sampled_from([None, 0, 7]),
    reasoning_tokens=st.sampled_from([None, 0, 7]),
    cost=st.sampled_from([None, 0.0, 0.25, 1.5]),
    currency=st.sampled_from(["USD", "EUR"]),
    call_id=st.sampled_from([None, "c1", "c2"]),
    inclusive=st.booleans(),
)
_decisions: Final = st.builds(
    DecisionRecord,
    id=st.sampled_from(["d1", "d2"]),
    question=st.sampled_from(["which one", "what now"]),
    options=st.just(("wait", "go on")),
    chosen=st.sampled_from(["wait", "go on"]),
    why=st.sampled_from(["it is early", "it is late"]),
    confidence=st.sampled_from([None, 0.5, 1.0]),
    outcome=st.sampled_from([None, "it went well"]),
)
_errors: Final = st.builds(
    ErrorRecord,
    type=st.sampled_from([None, "TimeoutError", "shop.errors.SoldOut"]),
    message=st.sampled_from(["no answer in 5 s", "", "two\nlines"]),
)
_processes: Final = st.integers(1, 3).map(
    lambda number: ProcessRecord(id=f"{number:032x}", pid=number, host="here", program="agent", state="unknown")
)
_FIELDS: Final[Mapping[str, st.SearchStrategy[Any]]] = {
    "kind": st.sampled_from(["task", "agent", "tool", "llm", "my kind"]),
    "status": st.sampled_from(["succeeded", "failed", "cancelled", "running", "lost", "paused", "queued"]),
    "late": st.integers(0, 60) | st.integers(-60, 60),  # in seconds, to the run above; before it, by a clock of its own
    "elapsed": st.integers(0, 10**8).map(lambda microseconds: timedelta(microseconds=microseconds)),
    "process": _processes,
    "key": st.sampled_from([None, "invoice-4711", "b c"]),
    "user_id": st.sampled_from([None, "ann", "bob"]),
    "session_id": st.sampled_from([None, "s1", "s2"]),
    "summary": st.sampled_from([None, "", "books one invoice"]),
    "tags": st.sampled_from([(), ("nightly",), ("nightly", "eu")]),
    "input": _values,
    "output": _values,
    "error": _errors,
    "decisions": st.lists(_decisions, max_size=2, unique_by=lambda decision: decision.id).map(tuple),
    "usage": st.lists(_usages, max_size=2).map(tuple),
}


@st.composite
def run_records(
    draw: st.DrawFn, /, *, max_runs: int = 10, max_depth: int = MAX_DEPTH, **fields: st.SearchStrategy[Any]
) -> list[RunRecord]:
    """The runs of one tree, the top first and each behind its parent; they shrink to one that succeeded.

    Args:
        draw: Given by hypothesis.
        max_runs: How many there are at the most.
        max_depth: How many levels they are below the top at the most.
        **fields: Strategies for fields of the records, instead of what is usual.
    """
    records: list[RunRecord] = []
    for number in range(draw(st.integers(1, max_runs))):
        above = [record for record in records if record.depth < max_depth]
        parent = draw(st.sampled_from(above)) if above else None
        if records and parent is None:
            break
        records.append(_record(draw, number, parent, fields))
    return records


def _record(draw: st.DrawFn, number: int, parent: RunRecord | None, fields: Mapping[str, Any]) -> RunRecord:
    drawn: dict[str, Any] = {name: draw(values) for name, values in {"name": _names, **_FIELDS, **fields}.items()}
    late: int = drawn.pop("late")
    elapsed: timedelta = drawn.pop("elapsed")
    status = drawn["status"]
    began = None if parent is None else parent.started_at
    started = (began or _T0) + timedelta(seconds=0 if parent is None else late)
    place: dict[str, Any] = {"id": _uuid(number), "root_id": _uuid(0), "seq": number, "started_at": started}
    if parent is not None:
        place |= {"parent_id": parent.id, "depth": parent.depth + 1}
    if status in ("succeeded", "failed", "cancelled"):
        place |= {"ended_at": started + elapsed, "elapsed": elapsed}
    if status in ("paused", "queued"):
        place["segments"] = (SegmentRecord(status=status, started_at=started, reason="a person"),)
    if status != "failed" and "error" not in fields:
        del drawn["error"]
    return RunRecord.model_validate({"last_event_at": started, **place, **drawn})


def _uuid(number: int) -> str:
    return f"{number + 1:08x}-0000-4000-8000-000000000000"


# Trees ----------------------------------------------------------------------------------------------------------------


@st.composite
def trees(
    draw: st.DrawFn,
    /,
    *,
    max_runs: int = 10,
    max_depth: int = MAX_DEPTH,
    complete: bool = False,
    **fields: st.SearchStrategy[Any],
) -> Tree:
    """Trees as a registry gives them: of any shape, with runs of every status. They shrink to one run that succeeded.

    Clocks may disagree, and runs may never have been recorded: then those below them hang from the top and are
    `detached`, or nothing but the id of the top is known.

    Args:
        draw: Given by hypothesis.
        max_runs: How many runs there are at the most.
        max_depth: How many levels there are below the top at the most.
        complete: Whether every run was recorded.
        **fields: Strategies for fields of the `RunRecord`, instead of what is usual, as in
            ``trees(name=st.sampled_from(["plan", "search"]), status=st.just("succeeded"))``.
    """
    top, *below = draw(run_records(max_runs=max_runs, max_depth=max_depth, **fields))
    if not complete:
        ids = [record.id for record in below]
        missing = draw(st.sets(st.sampled_from(ids), max_size=2)) if ids else set[str]()
        below = [record for record in below if record.id not in missing]
        if below and draw(st.integers(0, 9)) == 9:  # seldom, and not where all else has been shrunk away
            top = RunRecord(id=top.id, root_id=top.id)
    return grow(top, draw(st.permutations(below)))
