"""The package as a whole: what it exports, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import pickle
import pkgutil
from pathlib import Path

import pytest

import agent_run_id
from agent_run_id import errors
from tests.programs import run_program

HEAVY = {"pydantic", "pydantic_core", "sqlite3", "asyncio", "anyio", "logging", "inspect", "rich", "cyclopts"}


def test_all_is_what_is_exported_and_nothing_else() -> None:
    for name in agent_run_id.__all__:
        assert getattr(agent_run_id, name) is not None
    assert agent_run_id.__all__ == sorted(agent_run_id.__all__, key=lambda name: (not name.isupper(), name))
    assert set(agent_run_id.__all__) <= set(dir(agent_run_id))
    with pytest.raises(AttributeError, match="no_such_name"):
        agent_run_id.no_such_name  # noqa: B018


def test_importing_and_the_first_recorded_run_load_nothing_heavy(tmp_path: Path) -> None:
    program = f"""
        import sys
        import agent_run_id as ari
        with ari.start_run("first") as run:
            run.step("s", x=1)
        @ari.traced
        def f(): ari.current_run().step("in")
        f()
        print(*sorted({HEAVY!r} & set(sys.modules)))
    """
    assert run_program(program).split() == []


def test_every_room_says_what_it_is_for_and_lists_its_names() -> None:
    for module in pkgutil.walk_packages(agent_run_id.__path__, "agent_run_id."):
        if module.name.endswith("__main__"):
            continue
        room = importlib.import_module(module.name)
        assert room.__doc__, module.name
        assert room.__all__ == sorted(room.__all__, key=lambda name: (not name.isupper(), name)), module.name
        for name in room.__all__:
            assert hasattr(room, name), f"{module.name}.{name}"


def test_public_things_have_docstrings() -> None:
    for name in agent_run_id.__all__:
        thing = getattr(agent_run_id, name)
        if inspect.isclass(thing) or inspect.isfunction(thing):
            assert thing.__doc__, name


def test_no_room_is_longer_than_500_lines() -> None:
    for path in Path(agent_run_id.__path__[0]).rglob("*.py"):
        assert len(path.read_text().splitlines()) <= 500, path.name


def test_every_error_is_of_the_tree_and_of_a_builtin() -> None:
    for name in errors.__all__:
        error = getattr(errors, name)
        assert issubclass(error, errors.AgentRunError | Warning)
        if error is not errors.AgentRunError:
            assert issubclass(error, ValueError | RecursionError | OSError | LookupError | ImportError | Warning)
        assert name in (errors.__doc__ or "")


def test_run_not_found_pickles_with_its_candidates() -> None:
    error = pickle.loads(pickle.dumps(errors.RunNotFound("3f", ("a", "b"))))  # noqa: S301
    assert (error.reference, error.candidates) == ("3f", ("a", "b"))


def test_one_context_variable_in_the_whole_library() -> None:
    made = [
        path.name
        for path in Path(agent_run_id.__path__[0]).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "ContextVar"
    ]
    assert made == ["scope.py"]
