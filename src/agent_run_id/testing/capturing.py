"""Capturing: what a block records goes into a directory of its own, and is gone with it."""

from __future__ import annotations

import contextlib
import os
import shutil
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
    with _directory() as directory, recording_in(directory, make), RunRegistry(directory) as registry:
        yield registry


@contextlib.contextmanager
def _directory() -> Generator[str]:
    """A directory that goes with the block.

    Not `tempfile.TemporaryDirectory`: a forked child that leaves the block, or just ends, would take it from its
    parent.
    """
    owner, directory = os.getpid(), tempfile.mkdtemp(prefix="agent-run-id-")
    try:
        yield directory
    finally:
        if os.getpid() == owner:
            shutil.rmtree(directory, ignore_errors=True)
