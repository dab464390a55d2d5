"""Worlds: what several processes recorded about the runs of a forest, with some of it missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry
from agent_run_id.testing.strategies import json_values
from tests.journal_programs.journals import T0, encode, event
from tests.strategies import uuid_texts


@dataclass(frozen=True)
class Part:
    """One journal of a process, as it will be written."""

    process: str
    segment: int
    alive: bool
    lines: tuple[bytes, ...]


@dataclass(frozen=True)
class World:
    runs: tuple[RunId, ...]
    parts: tuple[Part, ...]


ALIASES = ["T-1", 'ünï "code"', "0", "@last week"]
"""Names that runs have elsewhere; one of them could also be the beginning of an id."""
STARTS = {
    "user_id": st.sampled_from(["ann", "bob"]),
    "session_id": st.sampled_from(["s1", "s2"]),
    "kind": st.sampled_from(["agent", "tool"]),
    "key": st.sampled_from(["k1", "k2"]),
    "tags": st.lists(st.sampled_from(["t1", "t2"]), max_size=2),
    "aliases": st.lists(st.sampled_from(ALIASES), max_size=2),
    "summary": st.text(max_size=5),
    "attributes": st.dictionaries(st.text(max_size=3), json_values, max_size=2),
    "input": json_values,
}
TAKEN: dict[str, st.SearchStrategy[Any]] = {
    "attempt": st.integers(1, 3),
    "hand": st.integers(1, 3),
    "after": st.sampled_from(["paused", "lost", "unknown"]),
}
OTHERS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "run.started": st.fixed_dictionaries({"name": st.sampled_from(["run 0", "again"])}, optional=STARTS),
    "run.step": st.fixed_dictionaries({"name": st.text(max_size=5)}, optional={"data": json_values}),
    "run.updated": st.fixed_dictionaries(
        {},
        optional={
            "output": json_values,
            **{name: STARTS[name] for name in ("summary", "tags", "aliases", "attributes")},
        },
    ),
    "run.ended": st.fixed_dictionaries(
        {"status": st.sampled_from(["succeeded", "failed", "cancelled"])},
        optional={
            "elapsed": st.integers(0, 10**9),
            "hand": st.integers(0, 3),
            "output": json_values,
            "error": st.fixed_dictionaries({"type": st.just("ValueError"), "message": st.text(max_size=5)}),
        },
    ),
    "run.decision": st.fixed_dictionaries({"decision": st.sampled_from("ab"), "question": st.text(max_size=5)}),
    "run.decision.outcome": st.fixed_dictionaries({"decision": st.sampled_from("ab"), "outcome": st.text(max_size=5)}),
    "run.usage": st.fixed_dictionaries(
        {"model": st.sampled_from(["m1", "m2"])},
        optional={
            "input_tokens": st.integers(0, 9),
            "output_tokens": st.integers(0, 9),
            "call_id": st.sampled_from(["c1", "c2"]),
        },
    ),
    "run.queued": st.fixed_dictionaries({"name": st.sampled_from(["run 0", "queued"])}, optional=STARTS),
    "run.accepted": st.fixed_dictionaries({}, optional={"name": st.just("run 0"), "kind": st.just("job"), **TAKEN}),
    "run.paused": st.fixed_dictionaries(
        {}, optional={"reason": st.text(max_size=5), "elapsed": st.integers(0, 10**9), "hand": st.integers(1, 3)}
    ),
    "run.resumed": st.fixed_dictionaries({}, optional=TAKEN),
    "run.of_the_future": st.fixed_dictionaries({}, optional={"anything": json_values}),
}


@st.composite
def forests(draw: st.DrawFn, *, consistent: bool = False) -> tuple[RunId, ...]:
    """Ids of runs, of which some know their parent by its bare id alone, unless they are consistent."""
    values = draw(st.lists(uuid_texts, min_size=1, max_size=6, unique=True))
    runs: list[RunId] = []
    for value in values:
        parent = draw(st.none() | st.sampled_from(runs)) if runs else None
        if parent is None:
            runs.append(RunId(value))
            continue
        known = RunId(parent.value) if not consistent and draw(st.booleans()) else parent
        runs.append(RunId.from_token(f"{value}.{known.value}.{known.root_id}.{known.depth + 1}"))
    return tuple(runs)


@st.composite
def worlds(draw: st.DrawFn, *, consistent: bool = False) -> World:
    """Every run is started by one process, or its start was never seen; others report about it, too.

    Some say that it starts or ends who have no part in it, or say it again; and clocks go as they like.

    Args:
        draw: Given by hypothesis.
        consistent: Whether all say the same of where a run is in the tree.
    """
    runs = draw(forests(consistent=consistent))
    processes = draw(st.lists(st.integers(1, 2**128 - 1), min_size=1, max_size=3, unique=True))
    links = st.lists(st.sampled_from([*(run.value for run in runs), *(run.token for run in runs), "INC-7"]), max_size=2)
    linked = st.fixed_dictionaries({}, optional={"links": links})
    starters = [draw(st.sampled_from([*range(len(processes)), None])) for _ in runs]
    parts: list[Part] = []
    for number, process in enumerate(processes):
        events: list[tuple[str, RunId, dict[str, Any]]] = [
            (
                "run.started",
                run,
                {"name": f"run {place}", **draw(st.fixed_dictionaries({}, optional=STARTS)), **draw(linked)},
            )
            for place, run in enumerate(runs)
            if starters[place] == number
        ]
        for _ in range(draw(st.integers(0, 8))):
            kind = draw(st.sampled_from(sorted(OTHERS)))
            run = draw(st.sampled_from(runs))
            bare = not consistent and draw(st.booleans())
            fields = draw(OTHERS[kind]) | (draw(linked) if kind in ("run.started", "run.updated") else {})
            if kind in ("run.accepted", "run.resumed") and draw(st.booleans()):
                fields["owner"] = f"{draw(st.sampled_from(processes)):032x}"
            events.append((kind, RunId(run.value) if bare else run, fields))
        events = draw(st.permutations(events))
        lines = [
            encode(event(seq, kind, run, time=T0 + draw(st.integers(0, 5)), **fields))
            for seq, (kind, run, fields) in enumerate(events, 1)
        ]
        alive = draw(st.booleans())
        cuts = sorted(draw(st.lists(st.integers(0, len(lines)), max_size=2)))
        for segment, (start, end) in enumerate(zip([0, *cuts], [*cuts, len(lines)], strict=True), 1):
            parts.append(Part(f"{process:032x}", segment, alive, tuple(lines[start:end])))
    return World(runs, tuple(parts))


def everything(registry: RunRegistry) -> dict[str, Any]:
    """All that can be asked, by what was asked."""
    found: dict[str, Any] = {
        "newest": [record.id for record in registry.find(limit=None)],
        "oldest": [record.id for record in registry.find(limit=None, order="oldest")],
        "roots": [record.id for record in registry.find(limit=None, root_only=True)],
    }
    for (key,) in registry._index.read("SELECT id FROM runs ORDER BY id"):
        run = key.hex()
        found[run] = {
            "record": registry.get(run).model_dump(),
            "events": [found.model_dump() for found in registry.events(run)],
            "children": [child.model_dump() for child in registry.children(run)],
            "ancestors": [above.model_dump() for above in registry.ancestors(run)],
            "tree": [(node.record.model_dump(), node.detached) for node in registry.tree(run)],
            "usage": registry.tree(run).usage().model_dump(),
        }
    return found
