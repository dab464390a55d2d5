"""Claims: who has a run that changes hands.

A worker that is given a message has to know whether another one that was given it before still lives, and it reads no
index. So every change of hands is one symbolic link, ``claims/<run>.<number>`` beside the journals, whose target is no
path but says who has the run now: ``<state>:<attempt>:<process>:<run>``. To make a link is atomic and fails where there
is one: of two who want the next number one gets it. Whether a process lives is told by the lock of its journal, whose
name is the target of ``claims/<process>``.

Nothing but hand-over needs these: a run that stays where it started has none. Where links cannot be made, events alone
say what happened.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from agent_run_id.ids import random_span
from agent_run_id.layout import CLAIMS, JOURNALS
from agent_run_id.liveness import owner_of

if TYPE_CHECKING:
    from agent_run_id.liveness import State

__all__ = ["Claim", "Held", "change", "current", "introduce", "key_of", "owner_state", "point", "sweep", "take"]

Held = Literal["running", "paused", "succeeded", "failed", "cancelled"]
"""What became of a run in the hands of its owner."""

_STATES: Final = frozenset({"running", "paused", "succeeded", "failed", "cancelled"})
_OPEN: Final = frozenset({"running", "paused"})
_AT: Final = "at:"
_MANY: Final = 10_000
_introduced: set[tuple[str, str]] = set()
_REMEMBERED_S: Final = 86_400
"""So long a redelivered message finds out that its run is over."""


class Claim(NamedTuple):
    """A run in somebody's hands.

    Attributes:
        number: How many times it has changed hands, this time included.
        state: What it is there.
        attempt: The how manieth attempt that is.
        process: The id of the process that has it; empty once it is over.
        run: The token, or the id, of the run, where it is not that of the message but one that tries once more what had
            failed, or where its lineage is to be found by its id; else empty.
    """

    number: int
    state: Held
    attempt: int
    process: str
    run: str = ""


def current(directory: str, run: str) -> Claim | None:
    """The last claim to a run; None where it has never changed hands, as far as is known here."""
    path = _path(directory, run)
    known: Claim | None = None
    for number in range(1, _MANY):
        try:
            target = os.readlink(f"{path}.{number}")  # noqa: PTH115 - pathlib costs 5 ms to import
        except OSError:
            break
        known = _read(number, target)
    return known


def key_of(directory: str, run: str) -> str:
    """The run under whose id the claims to a run are: that whose failure it tries to make good, or itself."""
    try:
        target = os.readlink(f"{_path(directory, run)}.1")  # noqa: PTH115
    except OSError:
        return run
    return target.removeprefix(_AT) if target.startswith(_AT) else run


def point(directory: str, run: str, key: str) -> None:
    """Say under whose id the claims to a run are, which has none of its own.

    Raises:
        OSError: no links can be made here.
    """
    with suppress(FileExistsError):
        os.symlink(f"{_AT}{key}", f"{_path(directory, run)}.1")  # noqa: PTH211


def take(directory: str, run: str, claim: Claim) -> bool:
    """Make a claim; False when somebody else has just made one of this number.

    Raises:
        OSError: no links can be made here.
    """
    try:
        os.symlink(_target(claim), f"{_path(directory, run)}.{claim.number}")  # noqa: PTH211
    except FileExistsError:
        return False
    except FileNotFoundError:  # somebody has removed them all
        _introduced.clear()
        raise
    return True


def change(directory: str, run: str, claim: Claim, state: Held, token: str = "") -> Claim:
    """Say what became of a run, by its owner. Never raises."""
    changed = claim._replace(state=state, run=token or claim.run)
    if state not in _OPEN:
        changed = changed._replace(process="", run=claim.run[:36])
    path = f"{_path(directory, run)}.{claim.number}"
    with suppress(OSError):
        new = f"{path}.{random_span()}"
        os.symlink(_target(changed), new)  # noqa: PTH211
        os.replace(new, path)  # noqa: PTH105
    return changed


def introduce(directory: str, process: str, journal: str) -> None:
    """Say by which journal it is told whether a process lives: that of its first file.

    Raises:
        OSError: no links can be made here.
    """
    if (directory, process) in _introduced:
        return
    try:
        os.symlink(journal, _path(directory, process))  # noqa: PTH211
    except FileExistsError:
        pass
    except FileNotFoundError:
        os.makedirs(os.path.join(directory, CLAIMS), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH118
        os.symlink(journal, _path(directory, process))  # noqa: PTH211
    _introduced.add((directory, process))


def owner_state(directory: str, claim: Claim) -> State:
    """Whether the owner lives; ``dead`` also where its journal is gone, which is that of the living at the last."""
    try:
        name = os.readlink(_path(directory, claim.process))  # noqa: PTH115
    except OSError:
        return "unknown"
    return owner_of(os.path.join(directory, JOURNALS, os.path.basename(name)))  # noqa: PTH118, PTH119


def sweep(directory: str, *, age_s: float, most: int) -> None:
    """Remove claims that nobody will ask about any more.

    To runs that are over after a day; to all others when they are as old as what is recorded of them may become.

    Args:
        directory: The directory of the journals.
        age_s: How old what is recorded may become, in seconds.
        most: How many to look at.
    """
    now = time.time()
    with suppress(OSError), os.scandir(os.path.join(directory, CLAIMS)) as entries:  # noqa: PTH118
        for _, entry in zip(range(most), entries, strict=False):
            with suppress(OSError):
                age = now - entry.stat(follow_symlinks=False).st_mtime
                if age > _REMEMBERED_S and _is_over(directory, entry.name, os.readlink(entry.path), age > age_s):  # noqa: PTH115
                    os.unlink(entry.path)  # noqa: PTH108


def _is_over(directory: str, name: str, target: str, is_old: bool) -> bool:  # noqa: FBT001 - of a room of one
    if "." not in name:  # a process
        return owner_of(os.path.join(directory, JOURNALS, target)) == "dead"  # noqa: PTH118
    return is_old or _read(0, target).state not in _OPEN


def _path(directory: str, run: str) -> str:
    return os.path.join(directory, CLAIMS, run)  # noqa: PTH118


def _target(claim: Claim) -> str:
    # Short, mostly: what has more than 59 characters takes up a block of the disk, and time when it goes.
    return f"{claim.state}:{claim.attempt}:{claim.process}:{claim.run}"


def _read(number: int, target: str) -> Claim:
    """What a link says; of one that a later version made otherwise, that the run is over."""
    state, _, rest = target.partition(":")
    attempt, _, rest = rest.partition(":")
    process, _, run = rest.partition(":")
    known = cast("Held", state) if state in _STATES else "succeeded"
    return Claim(number, known, int(attempt) if attempt.isdecimal() else 1, process, run)
