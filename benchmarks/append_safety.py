"""What each candidate leaves behind: after SIGKILL, on a full disk, and when a signal handler records too.

Every trial runs in a forked child that reports on a pipe which numbered lines were acknowledged and which refused; the
parent compares the report with the file.
"""

import errno
import os
import random
import resource
import select
import shutil
import signal
import struct
import subprocess
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from append_candidates import CANDIDATES, LINE_BYTES, Appender, Mapped, ShortWriteError, Unreserved, line

Row = dict[str, str | int | float]

_REPORT = struct.Struct("<ii")
_ACKNOWLEDGED = 0
_SHORT = -1
_REENTRANT = -2
_FROM_HANDLER = 1_000_000_000
_DISK_BYTES = 256 * 1024
_FILLER_BYTES = 96 * 1024
_WINDOW_ON_SMALL_DISK = 64 * 1024
_LINES_AFTER_FREEING = 200


@dataclass(frozen=True, slots=True)
class Trial:
    """What a child reported before it ended: (number, outcome) pairs, and how it ended."""

    reports: list[tuple[int, int]]
    signal: int
    timed_out: bool

    @property
    def acknowledged(self) -> list[int]:
        """The numbers whose ``append`` returned."""
        return [number for number, outcome in self.reports if outcome == _ACKNOWLEDGED]

    @property
    def refused(self) -> dict[int, int]:
        """The numbers whose ``append`` raised, with what it raised."""
        return {number: outcome for number, outcome in self.reports if outcome != _ACKNOWLEDGED}


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader finds in the file."""

    numbers: Counter[int]
    torn: int
    zeros: int


def run_in_child(body: Callable[[int], None], *, seconds: float) -> Trial:
    """Fork, let ``body`` report to the descriptor it is given, and SIGKILL it when its seconds are over."""
    receiving, sending = os.pipe()
    pid = os.fork()
    if pid == 0:
        _be_child(body, sending)
    os.close(sending)
    data, timed_out = _receive(receiving, until=time.monotonic() + seconds)
    if timed_out:
        os.kill(pid, signal.SIGKILL)
        data += _receive(receiving, until=None)[0]
    os.close(receiving)
    _, status = os.waitpid(pid, 0)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise RuntimeError("a trial failed in its child; its traceback is above")
    whole = data[: len(data) - len(data) % _REPORT.size]
    return Trial(list(_REPORT.iter_unpack(whole)), os.WTERMSIG(status), timed_out)


def _be_child(body: Callable[[int], None], sending: int) -> None:
    status = 1
    try:
        body(sending)
        status = 0
    except BaseException:  # whatever it was, it must not unwind into the parent's code
        traceback.print_exc()
    finally:
        os._exit(status)


def _receive(receiving: int, *, until: float | None) -> tuple[bytes, bool]:
    """Read until the child closes the pipe, or until the moment; tells whether the moment came first."""
    data = bytearray()
    while True:
        remaining = None if until is None else max(0.0, until - time.monotonic())
        readable, _, _ = select.select([receiving], [], [], remaining)
        if not readable:
            return bytes(data), True
        chunk = os.read(receiving, 1 << 16)
        if not chunk:
            return bytes(data), False
        data += chunk
        if until is not None and time.monotonic() >= until:
            return bytes(data), True


def read_back(path: Path) -> Reading:
    """Read the file as a reader would: whole lines, fragments, and zero bytes at the end."""
    data = path.read_bytes()
    text = data.rstrip(b"\0")
    numbers: Counter[int] = Counter()
    torn = 0
    for part in text.split(b"\n"):
        number = part[len(b'{"v":1,"type":"run.started","seq":') :][:10]
        if number.isdigit() and line(int(number)) == part + b"\n":
            numbers[int(number)] += 1
        elif part:
            torn += 1
    return Reading(numbers, torn, len(data) - len(text))


def _attempt(appender: Appender, number: int) -> int:
    """Append the numbered line; tells the outcome as one integer."""
    try:
        appender.append(line(number))
    except ShortWriteError:
        return _SHORT
    except OSError as error:
        return error.errno or errno.EIO
    except RuntimeError:  # "reentrant call inside <_io.BufferedWriter>"
        return _REENTRANT
    return _ACKNOWLEDGED


def _outcome_name(outcome: int) -> str:
    return {_SHORT: "short write", _REENTRANT: "RuntimeError"}.get(outcome) or errno.errorcode[outcome]


def _outcomes(refused: Iterable[int]) -> str:
    counted = Counter(_outcome_name(outcome) for outcome in refused)
    return ", ".join(f"{count} {name}" for name, count in counted.items()) or "nothing"


# -- SIGKILL ----------------------------------------------------------------------------------------------------------


def after_sigkill(directory: Path, *, kills: int) -> list[Row]:
    """Kill each candidate's child at random instants; no acknowledged line may be missing."""
    totals: dict[str, Counter[str]] = {kind.name: Counter() for kind in CANDIDATES}
    for _ in range(kills):
        for kind in CANDIDATES:
            totals[kind.name].update(_kill_once(kind, directory / "kill"))
    return [{"mechanism": name, "kills": kills, **total} for name, total in totals.items()]


def _kill_once(kind: type[Appender], path: Path) -> dict[str, int]:
    seconds = random.SystemRandom().uniform(0.002, 0.012)
    trial = run_in_child(partial(_append_for_ever, kind, path), seconds=seconds)
    reading = read_back(path) if path.exists() else Reading(Counter(), 0, 0)
    path.unlink(missing_ok=True)
    acknowledged = trial.acknowledged
    return {
        "acknowledged": len(acknowledged),
        "missing": sum(number not in reading.numbers for number in acknowledged),
        "whole, unacknowledged": len(reading.numbers.keys() - set(acknowledged)),
        "torn": reading.torn,
        "files ending in zeros": int(reading.zeros > 0),
    }


def _append_for_ever(kind: type[Appender], path: Path, sending: int) -> None:
    appender = kind()
    appender.open(path)
    number = 0
    while True:
        appender.append(line(number))
        os.write(sending, _REPORT.pack(number, _ACKNOWLEDGED))
        number += 1


# -- a full disk ------------------------------------------------------------------------------------------------------


def on_full_disk(directory: Path) -> list[Row]:
    """Fill a small disk, free some of it, go on."""
    kinds: list[Callable[[], Appender]] = [kind for kind in CANDIDATES if kind is not Mapped]
    if Mapped in CANDIDATES:
        kinds[3:3] = [partial(Mapped, _WINDOW_ON_SMALL_DISK), partial(Unreserved, _WINDOW_ON_SMALL_DISK)]
    with _small_disk(directory) as small:
        return [_fill_once(kind, small or directory, limited=small is None) for kind in kinds]


@contextmanager
def _small_disk(directory: Path) -> Iterator[Path | None]:
    """Mount a small tmpfs; yields None where that is not allowed."""
    mount, umount = shutil.which("mount"), shutil.which("umount")
    small = directory / "small"
    small.mkdir()
    command = [mount or "", "-t", "tmpfs", "-o", f"size={_DISK_BYTES}", "tmpfs", str(small)]
    if os.geteuid() or not mount or not umount or subprocess.run(command, capture_output=True, check=False).returncode:
        yield None
        return
    try:
        yield small
    finally:
        subprocess.run([umount, str(small)], check=True)


def _fill_once(kind: Callable[[], Appender], disk: Path, *, limited: bool) -> Row:
    path, filler = disk / "full", disk / "filler"
    filler.write_bytes(b"x" * _FILLER_BYTES)
    trial = run_in_child(partial(_fill_and_go_on, kind, path, None if limited else filler), seconds=10)
    reading = read_back(path)
    path.unlink()
    filler.unlink(missing_ok=True)
    acknowledged, refused = trial.acknowledged, trial.refused
    after = sum(number >= _FROM_HANDLER for number in acknowledged)
    return {
        "mechanism": kind().name,
        "disk": f"{_DISK_BYTES >> 10} KiB {'file size limit' if limited else 'tmpfs'}",
        "caller sees": f"killed: {signal.Signals(trial.signal).name}" if trial.signal else _outcomes(refused.values()),
        "acknowledged": len(acknowledged),
        "of them missing": sum(number not in reading.numbers for number in acknowledged),
        "refused yet written": len(reading.numbers.keys() & refused.keys()),
        "torn": reading.torn,
        "resumed": f"{after} of {_LINES_AFTER_FREEING}",
    }


def _fill_and_go_on(kind: Callable[[], Appender], path: Path, filler: Path | None, sending: int) -> None:
    """Append until five lines are refused, free space, append again."""
    if filler is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (_DISK_BYTES, resource.RLIM_INFINITY))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    appender = kind()
    appender.open(path)
    refusals = 0
    for number in range(2 * _DISK_BYTES // LINE_BYTES):
        outcome = _attempt(appender, number)
        os.write(sending, _REPORT.pack(number, outcome))
        refusals += outcome != _ACKNOWLEDGED
        if refusals == 5:
            break
    if filler is None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    else:
        filler.unlink()
    for number in range(_FROM_HANDLER, _FROM_HANDLER + _LINES_AFTER_FREEING):
        os.write(sending, _REPORT.pack(number, _attempt(appender, number)))
    appender.close()


# -- a signal handler that records ------------------------------------------------------------------------------------


def in_signal_handler(directory: Path, *, trials: int, seconds: float) -> list[Row]:
    """Let a timer's handler append every millisecond while the main loop appends."""
    totals: dict[str, Counter[str]] = {kind.name: Counter() for kind in CANDIDATES}
    refusals: dict[str, list[int]] = {kind.name: [] for kind in CANDIDATES}
    for _ in range(trials):
        for kind in CANDIDATES:
            counted, refused = _interrupt_once(kind, directory / "signal", seconds=seconds)
            totals[kind.name].update(counted)
            refusals[kind.name] += refused
    return [
        {"mechanism": name, "trials": trials, **total, "refused": _outcomes(refusals[name])}
        for name, total in totals.items()
    ]


def _interrupt_once(kind: type[Appender], path: Path, *, seconds: float) -> tuple[dict[str, int], list[int]]:
    trial = run_in_child(partial(_append_while_interrupted, kind, path, seconds), seconds=seconds + 0.7)
    reading = read_back(path)
    path.unlink()
    acknowledged = trial.acknowledged
    counted = {
        "deadlocks": int(trial.timed_out),
        "from the loop": sum(number < _FROM_HANDLER for number in acknowledged),
        "from the handler": sum(number >= _FROM_HANDLER for number in acknowledged),
        "lost": sum(number not in reading.numbers for number in acknowledged),
        "duplicated": sum(count > 1 for count in reading.numbers.values()),
        "torn": reading.torn,
    }
    return counted, list(trial.refused.values())


def _append_while_interrupted(kind: type[Appender], path: Path, seconds: float, sending: int) -> None:
    appender = kind()
    appender.open(path)
    reports: list[tuple[int, int]] = []
    ticks = iter(range(_FROM_HANDLER, 2 * _FROM_HANDLER))

    def tick(_signal: int, _frame: object) -> None:
        number = next(ticks)
        reports.append((number, _attempt(appender, number)))

    signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        reports.append((number, _attempt(appender, number)))
        number += 1
    signal.setitimer(signal.ITIMER_REAL, 0)
    appender.close()
    with os.fdopen(sending, "wb") as stream:
        stream.writelines(_REPORT.pack(*report) for report in reports)
