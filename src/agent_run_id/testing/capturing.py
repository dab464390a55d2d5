"""Capturing: what a block records goes into a directory of its own, and is gone with it."""

from __future__ import annotations

import contextlib
import tempfile
from typing import TYPE_CHECKING

from agent_run_id.journal import Journal, recording_in
from agent_run_id.registry import RunRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

__all__ = ["capture_runs", "captured_by"]


@contextlib.contextmanager
def capture_runs() -> Generator[RunRegistry]:
    """Record into a directory of its own, and give a registry to look at it; afterwards nothing is left.

    It holds for the whole process, for its threads and its forked children, and for children started with `child_env`.
    It nests. Runs that started before go on where they were. Read inside the block: the directory goes with it.

    Yields:
        A `RunRegistry` of what is recorded inside the block.
    """
    with captured_by(Journal) as registry:
        yield registry


@contextlib.contextmanager
def captured_by(make: Callable[[str], Journal]) -> Generator[RunRegistry]:
    """What `capture_runs` does, with a journal that `make` makes for the directory."""
    with (
        tempfile.TemporaryDirectory(prefix="agent-run-id-") as directory,
        recording_in(directory, make),
        RunRegistry(directory) as registry,
    ):
        yield registry
