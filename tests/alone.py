"""Tests that change the whole process, and so have one to themselves; and what those of patching have in common."""

from __future__ import annotations

from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import agent_run_id as ari
from tests.far_side import here
from tests.journal_programs.programs import FORKS_WITH_THREADS, run_program

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["METHODS", "ROOT", "a_run", "alone", "check_pool", "patched"]

METHODS = pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
ROOT = str(Path(__file__).parents[1])


def alone(test: Callable[..., None]) -> Callable[..., None]:
    """Run a test in an interpreter of its own, where warnings are errors; its parameters are plain values."""

    @wraps(test)
    def in_a_process_of_its_own(**parameters: Any) -> None:
        program = f"from {test.__module__} import {test.__name__} as test\ntest.__wrapped__(**{parameters!r})"
        run_program(program, options=FORKS_WITH_THREADS, env={"PYTHONPATH": ROOT})

    return in_a_process_of_its_own


@contextmanager
def patched() -> Iterator[None]:
    ari.patch_stdlib()
    try:
        yield
    finally:
        ari.unpatch_stdlib()


def a_run() -> ari.RunId:
    return ari.RunId.generate(ari.RunId.generate())


def check_pool(call: Callable[..., Any]) -> None:
    """Cross from runs and from none, what was there before having left a scope open."""
    for run_id in (a_run(), a_run(), None, a_run()):
        with ari.RunContext(run_id):
            assert call(here) == (run_id.token if run_id else None)
