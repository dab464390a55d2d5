"""patch_stdlib: plain calls that bring their run along, and what they leave as it was."""

from __future__ import annotations

import subprocess
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing.pool import Pool
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any

from agent_run_id import RunContext, RunId, current_run_id, patch_stdlib, unpatch_stdlib

if TYPE_CHECKING:
    from collections.abc import Iterator

PATCHED: list[tuple[type, str]] = [
    (threading.Thread, "start"),
    (ThreadPoolExecutor, "submit"),
    (ProcessPoolExecutor, "submit"),
    (BaseProcess, "start"),
    (subprocess.Popen, "__init__"),
    *((Pool, name) for name in ("apply_async", "imap", "imap_unordered", "map", "map_async", "starmap")),
    (Pool, "starmap_async"),
]


@contextmanager
def patched() -> Iterator[None]:
    patch_stdlib()
    try:
        yield
    finally:
        unpatch_stdlib()


def in_place() -> list[Any]:
    return [vars(owner)[name] for owner, name in PATCHED]


def test_the_last_of_as_many_calls_puts_the_very_functions_back() -> None:
    before = in_place()
    unpatch_stdlib()
    with patched():
        during = in_place()
        with patched():
            assert in_place() == during
        assert in_place() == during
    assert not {id(function) for function in before} & {id(function) for function in during}
    assert all(now is then for now, then in zip(in_place(), before, strict=True))


def test_a_thread_runs_in_the_run_it_is_started_in() -> None:
    seen: list[RunId | None] = []
    with patched(), RunContext(RunId.generate()) as here:
        thread = threading.Thread(target=lambda: seen.append(current_run_id()))
        thread.start()
        thread.join()
    assert seen == [here.run_id]
