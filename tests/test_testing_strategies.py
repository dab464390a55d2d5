"""Strategies for those who use the library: what they draw is what a program meets, and shrinks to the simplest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, Tree
from agent_run_id.ids import MAX_DEPTH
from agent_run_id.schema import RunRecord
from agent_run_id.testing import run_ids, trees
from agent_run_id.testing.strategies import run_records
from tests.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Callable


@st.composite
def bounds(draw: st.DrawFn) -> tuple[int, int]:
    low = draw(st.integers(0, 3) | st.integers(0, MAX_DEPTH))
    return low, draw(st.integers(low, MAX_DEPTH))


@given(bounds(), st.data())
def test_an_id_is_as_deep_as_it_may_be_and_its_token_is_one(limits: tuple[int, int], data: st.DataObject) -> None:
    low, high = limits
    run_id = data.draw(run_ids(min_depth=low, max_depth=high))
    assert low <= run_id.depth <= high
    assert RunId.from_token(run_id.token).token == run_id.token
    assert run_id.is_root == (run_id.depth == 0)


@pytest.mark.parametrize(
    "wanted",
    [
        lambda run_id: run_id.is_root, lambda run_id: run_id.depth == 1, lambda run_id: run_id.depth == MAX_DEPTH,
        lambda run_id: 100 < run_id.depth < 60_000, lambda run_id: run_id.value.startswith("f"),
    ],
)  # fmt: skip
def test_ids_of_every_depth_are_drawn(wanted: Callable[[RunId], bool]) -> None:
    assert wanted(find(run_ids(), wanted, settings=settings(max_examples=5_000, database=None)))


@pytest.mark.parametrize("wrong", [{"min_depth": -1}, {"max_depth": MAX_DEPTH + 1}, {"min_depth": 3, "max_depth": 2}])
def test_depths_that_there_are_not_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="depths lie between"):
        run_ids(**wrong)


def test_they_shrink_to_a_root_and_to_one_run_that_succeeded() -> None:
    run_id = find(run_ids(), lambda _: True, settings=settings(database=None))
    assert repr(run_id) == "RunId('00000001-0000-0000-0000-000000000000')"
    tree = find(trees(), lambda _: True, settings=settings(database=None))
    assert (len(tree), tree.record.status, tree.record.name, tree.record.kind) == (1, "succeeded", "agent", "task")
    assert (tree.record.usage, tree.record.decisions, tree.record.error, tree.record.key) == ((), (), None, None)


INTERESTING: dict[str, Callable[[Tree], Any]] = {
    "detached": lambda tree: any(node.detached for node in tree),
    "skewed": lambda tree: any(node.skew for node in tree),
    "not recorded": lambda tree: tree.record.name is None and len(tree) > 2,
    "deep": lambda tree: any(node.record.depth > 3 for node in tree),
    "wide": lambda tree: len(tree.children) > 3,
    "used": lambda tree: tree.usage().calls > 3,
    "decided": lambda tree: len([node for node in tree if node.record.decisions]) > 1,
    "another's": lambda tree: len({node.record.user_id for node in tree}) > 1,
    **{
        status: lambda tree, status=status: any(node.record.status == status for node in tree)  # type: ignore[misc]
        for status in ("failed", "cancelled", "running", "lost", "paused", "queued")
    },
}


@pytest.mark.parametrize("wanted", INTERESTING)
def test_trees_of_every_kind_are_drawn(wanted: str) -> None:
    how = settings(max_examples=2_000, database=None, phases=[Phase.generate])
    assert INTERESTING[wanted](find(trees(), INTERESTING[wanted], settings=how))


@given(st.integers(1, 20), st.integers(0, 4), st.data())
def test_a_tree_is_no_larger_and_no_deeper_than_it_may_be_and_has_the_fields_that_are_wanted(
    runs: int, depth: int, data: st.DataObject
) -> None:
    wanted = {"name": st.sampled_from("ab"), "status": st.just("lost")}
    tree = data.draw(trees(max_runs=runs, max_depth=depth, complete=True, **wanted))
    assert len(tree) <= runs
    assert max(node.record.depth for node in tree) <= depth
    assert {(node.record.status, node.record.name) for node in tree} <= {("lost", "a"), ("lost", "b")}
    assert not any(node.detached for node in tree)


@given(trees())
def test_a_drawn_tree_is_one_like_any_other(tree: Tree) -> None:
    assert str(tree)
    for node in tree:
        assert RunRecord.model_validate_json(node.record.model_dump_json()) == node.record
        assert node.record.run_id.value == node.record.id
        assert node.record.ended_at is None or node.record.status in ("succeeded", "failed", "cancelled")


@given(run_records(max_runs=6))
def test_records_have_their_parents_before_them(records: list[RunRecord]) -> None:
    seen = {records[0].id}
    for record in records[1:]:
        assert record.parent_id in seen
        seen.add(record.id)
    assert records[0].parent_id is None


# What is not needed ---------------------------------------------------------------------------------------------------


def test_importing_it_loads_nothing_and_hypothesis_is_loaded_by_strategies_alone() -> None:
    program = """
        import sys
        import agent_run_id.testing as testing
        slow = {"hypothesis", "pydantic", "sqlite3", "pytest", "asyncio", "logging"}
        print(*sorted(slow & set(sys.modules)))
        with testing.fixed_runs() as runs:
            testing.assert_tree(runs, "")
        print(*sorted({"hypothesis", "pytest"} & set(sys.modules)))
        testing.run_ids()
        print("hypothesis" in sys.modules, sorted(set(testing.__all__) - set(dir(testing))))
    """
    assert run_program(program).split("\n") == ["", "", "True []", ""]


def test_without_hypothesis_it_says_what_to_install() -> None:
    program = """
        import sys
        sys.modules["hypothesis"] = None
        from agent_run_id import AgentRunError
        from agent_run_id.testing import assert_tree, capture_runs, fixed_runs, tree_text
        for name in ("run_ids", "trees"):
            try:
                exec(f"from agent_run_id.testing import {name}")
            except ImportError as error:
                print(isinstance(error, AgentRunError), error)
    """
    said = run_program(program).splitlines()
    assert len(said) == 2
    assert all(line.startswith("True ") and "pip install 'agent-run-id[testing]'" in line for line in said)


def test_a_name_there_is_not_is_an_attribute_error() -> None:
    import agent_run_id.testing as room

    with pytest.raises(AttributeError, match="no_such_name"):
        room.no_such_name  # noqa: B018
