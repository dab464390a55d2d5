"""Run programs, and tell what they were made of; or plant a fault, and tell how many it took to find it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

import agent_run_id as ari
from tests.machine.faults import FAULTS, plant
from tests.machine.judging import Judge
from tests.machine.machine import Census, Writing
from tests.machine.stage import SEEN, stage

ENOUGH = 1000
"""Of so many programs each wall must be in about one of twenty, and three of ten must compose two."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.machine", description=__doc__)
    parser.add_argument("--programs", type=int, default=500, metavar="N", help="how many to run, at least")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for others than those of last time")
    parser.add_argument("--fault", choices=[*FAULTS], metavar="NAME", help="plant it, and stop when it is found")
    parser.add_argument("--faults", action="store_true", help="plant each, one after the other")
    parser.add_argument("--shrink", action="store_true", help="make what finds the fault as small as it can be")
    chosen = parser.parse_args()
    if chosen.faults:
        return _plant_each(chosen.programs, chosen.seed)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        _prepare(Path(name))
        if chosen.fault is not None:
            plant(chosen.fault)
        stage.open()
        try:
            Writing.judge, Writing.census = Judge(Path(name)), Census()
            if chosen.fault is not None:
                return _find(chosen.fault, chosen.programs, chosen.seed, shrink=chosen.shrink)
            begin = time.monotonic()
            _run(chosen.programs, chosen.seed, shrink=True)
            return _tell(time.monotonic() - begin)
        finally:
            stage.close()


def _prepare(folder: Path) -> None:
    """Let this process, and all that it starts, find programs and record in a folder of their own."""
    sys.path.insert(0, str(folder))
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), str(folder)])
    os.environ["AGENT_RUN_DIR"] = str(folder / "runs")
    os.environ[SEEN] = str(folder / "seen")
    ari.configure(directory=folder / "runs")


def _run(programs: int, number: int, *, shrink: bool) -> None:
    chosen = settings(
        max_examples=programs,
        stateful_step_count=56,
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
        report_multiple_bugs=False,
    )
    run_state_machine_as_test(seed(number)(Writing), settings=chosen)


def _find(fault: str, programs: int, number: int, *, shrink: bool) -> int:
    with ExitStack() as stack:
        if not shrink:
            # What a fault does may differ from one time to the next, of which hypothesis tells with a group.
            stack.enter_context(suppress(AssertionError, BaseExceptionGroup))
        _run(programs, number, shrink=shrink)
    census = Writing.census
    found = f"not found by {census.programs} programs" if census.found is None else f"found by {census.found}"
    say(f"{fault}: {found}")
    return census.found is None


def _plant_each(programs: int, number: int) -> int:
    """Plant each fault in a process of its own; 1 if any is not found."""
    missed = 0
    for fault in FAULTS:
        command = [sys.executable, "-W", "error", "-m", "tests.machine", "--fault", fault]
        begin = time.monotonic()
        done = subprocess.run(
            [*command, "--programs", str(programs), "--seed", str(number)],
            capture_output=True,
            text=True,
            check=False,
        )
        said = done.stdout.strip() or f"{fault}: it ended with {done.returncode}\n{done.stderr[-2000:]}"
        say(f"{time.monotonic() - begin:4.0f} s  {said}")
        missed += done.returncode != 0
    return missed > 0


def _tell(took: float) -> int:
    """Tell what the programs were made of; 1 if there were many and some wall was rare."""
    census = Writing.census
    count = census.programs
    say(f"{count} programs in {took:.0f} s, {took / count * 1000:.0f} ms each")
    say(f"{census.composed / count:6.1%} cross one wall beyond another")
    for backend, programs in census.backends.most_common():
        say(f"{programs / count:6.1%} on {backend}")
    for wall in census.every():
        say(f"{census.walls[wall] / count:6.1%} {wall}")
    if count < ENOUGH:
        return 0
    rare = [wall for wall in census.every() if census.walls[wall] / count < 0.04]  # chance moves it
    for wall in rare:
        say(f"{wall} is in too few programs")
    return bool(rare) or census.composed / count < 0.3


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # Trio warns of every async generator that is abandoned, which these programs do on purpose.
    warnings.filterwarnings("ignore", "Async generator .* was garbage collected", ResourceWarning)
    sys.exit(main())
