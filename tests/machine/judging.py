"""Judging: running a program for real, and saying what is wrong with what came of it."""

from __future__ import annotations

import faulthandler
import importlib
import os
import sys
import threading
import traceback
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from agent_run_id import RunRegistry
from tests.machine.comparing import compare
from tests.machine.stage import SEEN, stage

if TYPE_CHECKING:
    from agent_run_id import RunRecord
    from tests.machine.writing import Program

__all__ = ["Judge"]


_HANGS_S = 120
"""So long takes no program, on any machine."""


class Judge:
    """Runs programs one after the other, on one stage and in one directory.

    Args:
        folder: Where programs are written to, which must be on the path of this process and its children.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._registry = stage.registry = RunRegistry()

    def judge(self, program: Program) -> list[str]:
        """Run a program, and say what is wrong; nothing, if all is as it must be."""
        self._count += 1
        name = f"program_{self._count}"
        seen = Path(os.environ[SEEN])  # the same one always, since workers that stay know no other
        seen.write_bytes(b"")
        (self._folder / f"{name}.py").write_text(program.text)
        begin = datetime.now(UTC)
        watch = threading.Timer(_HANGS_S, _hangs, [program])
        watch.daemon = True
        watch.start()
        try:
            self._run(name, program.backend)
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            return ["it raised", *traceback.format_exception(error)]
        finally:
            watch.cancel()
            sys.modules.pop(name, None)
        found = seen.read_text().splitlines()
        records = self._registry.find(since=begin, order="oldest", limit=None)
        return self._compare(program, records, [line.split(" ", 1) for line in found])

    def _run(self, name: str, backend: str | None) -> None:
        importlib.invalidate_caches()
        main: Any = importlib.import_module(name).main
        if backend is None:
            stage.backend = ("asyncio", {})
            main()
            return
        options: dict[str, Any] = {}
        if backend != "trio":
            options = {"use_uvloop": backend == "uvloop"}
            if backend == "eager":
                options = {"loop_factory": _eager_loop}
        stage.backend = ("trio" if backend == "trio" else "asyncio", options)
        anyio.run(main, backend=stage.backend[0], backend_options=options)

    def _compare(self, program: Program, records: list[RunRecord], found: list[list[str]]) -> list[str]:
        counts = Counter(record.name or "" for record in records)
        wrong = [f"{name} is recorded {counts[name]} times" for name in program.runs if counts[name] != 1]
        wrong += [f"{name} is recorded, and should not be" for name in counts if name not in program.runs]
        if wrong:
            return wrong
        recorded = {record.name or "": (record.run_id, record.status or "not started") for record in records}
        wrong = compare(program, recorded, found)
        for record in records:
            wrong += self._events(record)
        return wrong

    def _events(self, record: RunRecord) -> list[str]:
        counts = Counter(event.type for event in self._registry.events(record.id))
        over = record.status in ("succeeded", "failed", "cancelled")
        wanted = {"run.ended": int(over)}
        if "run.accepted" not in counts:
            wanted["run.started"] = 1
        return [
            f"{record.name} has {counts[kind]} events {kind}, not {number}"
            for kind, number in wanted.items()
            if counts[kind] != number
        ]


def _hangs(program: Program) -> None:
    """Tell what a program was doing that does not end, and end it with everything else."""
    sys.stderr.write(f"A program hangs, on {program.backend or 'no event loop'}:\n\n{program.text}\n")
    faulthandler.dump_traceback(all_threads=True)
    os._exit(1)


def _eager_loop() -> Any:
    import asyncio

    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined, unused-ignore]  # Python 3.12
    return loop
