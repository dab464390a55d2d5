"""Claims: who has a run that changes hands.

A worker that is given a message has to know whether another one that was given it before still lives, and it reads no
index. So every change of hands is one symbolic link, ``claims/<run>.<number>`` beside the journals, whose target is no
path but says who has the run now: ``<state>:<attempt>:<process>:<run>:<since>``. To make a link is atomic and fails
where there is one: of two who want the next number one gets it. Whether a process lives is told by the lock of its
journal, whose name is the target of ``claims/<process>``.

The claims to one run are a chain, which begins at 1 and has no gaps: it is made at its end, and removed as a whole.
Nothing but hand-over needs any: a run that stays where it started has none. Where links cannot be made, events alone
say what happened.
"""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress
from itertools import count, islice
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from agent_run_id.ids import random_span
from agent_run_id.layout import CLAIMS, JOURNALS, parse_name
from agent_run_id.liveness import owner_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.liveness import State

__all__ = ["Claim", "Held", "change", "current", "introduce", "key_of", "owner_state", "point", "sweep", "take"]

Held = Literal["running", "paused", "succeeded", "failed", "cancelled"]
"""What became of a run in the hands of its owner."""

_STATES: Final = frozenset({"running", "paused", "succeeded", "failed", "cancelled"})
_OPEN: Final = frozenset({"running", "paused"})
_AT: Final = "at:"
_REMEMBERED_S: Final = 86_400
"""So long a redelivered message finds out that its run is over."""
_REMEMBERED: Final = 10_000
"""So many runs that are over one process leaves behind: those of one that lives long would fill the disk."""
_NUMBERS: Final = 20
"""Bits of the number of a change of hands within its chain; above them is when the chain began."""

_introduced: set[tuple[str, str, str]] = set()
_over: deque[tuple[str, str, int]] = deque()


class Claim(NamedTuple):
    """A run in somebody's hands.

    Attributes:
        number: How many times it has changed hands, this time included.
        state: What it is there.
        attempt: The how manieth attempt that is.
        process: The id of the process that has it, or had it last.
        run: The token, or the id, of the run, where it is not that of the message but one that tries once more what had
            failed, or where its lineage is to be found by its id; else empty.
        since: When the chain began, in seconds since 1970.
    """

    number: int
    state: Held
    attempt: int
    process: str
    run: str = ""
    since: int = 0

    @property
    def hand(self) -> int:
        """The change of hands among all of this run, also where claims were removed meanwhile and began anew."""
        return (self.since << _NUMBERS) + self.number

    def following(self, state: Held, attempt: int, process: str, run: str) -> Claim:
        """The next claim to the same run."""
        return Claim(self.number + 1, state, attempt, process, run, self.since)

    @classmethod
    def first(cls, state: Held, attempt: int, process: str, run: str) -> Claim:
        """The first claim to a run."""
        return cls(1, state, attempt, process, run, int(time.time()))


def current(directory: str, run: str) -> Claim | None:
    """The last claim to a run; None where it has never changed hands, as far as is known here."""
    path = _path(directory, run)
    known: Claim | None = None
    for number in count(1):
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
    """Say under whose id the claims to a run are, which has none of its own. Never raises."""
    with suppress(OSError):
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
        changed = changed._replace(run=claim.run[:36])
    path = f"{_path(directory, run)}.{claim.number}"
    new = f"{path}.{random_span()}"
    try:
        os.symlink(_target(changed), new)  # noqa: PTH211
        os.replace(new, path)  # noqa: PTH105
    except OSError:
        if claim.number == 1:  # no claim is better than one that says what is not so any more
            _unlink(path)
    if state not in _OPEN:
        _remember(directory, run, claim.number)
    return changed


def introduce(directory: str, process: str, journal: str) -> None:
    """Say by which journal it is told whether a process lives.

    Raises:
        OSError: no links can be made here.
    """
    if (directory, process, journal) in _introduced:
        return
    path = _path(directory, process)
    new = f"{path}.{random_span()}"
    try:
        os.symlink(journal, new)  # noqa: PTH211
    except FileNotFoundError:
        os.makedirs(os.path.join(directory, CLAIMS), mode=0o700, exist_ok=True)  # noqa: PTH103, PTH118
        os.symlink(journal, new)  # noqa: PTH211
    os.replace(new, path)  # noqa: PTH105
    _introduced.add((directory, process, journal))


def owner_state(directory: str, claim: Claim) -> State:
    """Whether the owner lives.

    Raises:
        OSError: it cannot be looked at now.
    """
    try:
        name = os.path.basename(os.readlink(_path(directory, claim.process)))  # noqa: PTH115, PTH119
    except OSError:
        return "unknown"
    folder = os.path.join(directory, JOURNALS)  # noqa: PTH118
    try:
        return owner_of(os.path.join(folder, name))  # noqa: PTH118
    except FileNotFoundError:
        # Retention takes the first file of one that lives, too; then another of its files has the lock.
        states = {owner_of(path) for path in _journals_of(folder, claim.process)}
    return "alive" if "alive" in states else "unknown" if "unknown" in states else "dead"


def _journals_of(folder: str, process: str) -> Iterator[str]:
    for name in os.listdir(folder):  # noqa: PTH208
        parsed = parse_name(name)
        if parsed is not None and parsed.owner == process:
            yield os.path.join(folder, name)  # noqa: PTH118


# What nobody will ask about any more ----------------------------------------------------------------------------------


def sweep(directory: str, *, age_s: float, most: int | None) -> None:
    """Remove the claims to runs that have been over for a day, and to all others when they are very old. Never raises.

    Args:
        directory: The directory of the journals.
        age_s: How old what is recorded may become, in seconds; claims become no older.
        most: How many links to look at, from some place on; None for all.
    """
    folder = os.path.join(directory, CLAIMS)  # noqa: PTH118
    try:
        with os.scandir(folder) as entries:
            skipped = 0 if most is None else int(random_span(), 16) % (16 * most)
            names = {entry.name.partition(".")[0] for entry in islice(entries, skipped, most and skipped + most)}
        for name in names:
            _sweep_one(directory, name, age_s)
    except OSError:  # there are none, or they cannot be looked at
        pass


def _sweep_one(directory: str, name: str, age_s: float) -> None:
    path, now = _path(directory, name), time.time()
    if len(name) != _RUN:  # a process
        with suppress(OSError):
            if now - os.lstat(path).st_mtime > _REMEMBERED_S and _is_gone(directory, os.readlink(path)):  # noqa: PTH115
                _unlink(path)
        return
    last, until = 0, 0.0
    for number in count(1):
        try:
            until = max(until, os.lstat(f"{path}.{number}").st_mtime)
        except OSError:
            break
        last = number
    key = key_of(directory, name)
    known = current(directory, name)
    if key != name:
        is_over = not os.path.lexists(f"{_path(directory, key)}.1")
    else:
        is_over = known is None or known.state not in _OPEN
    if now - until > age_s or (is_over and now - until > _REMEMBERED_S):
        _remove(directory, name, last)


def _is_gone(directory: str, journal: str) -> bool:
    try:
        return owner_of(os.path.join(directory, JOURNALS, journal)) == "dead"  # noqa: PTH118
    except FileNotFoundError:
        return True


def _remember(directory: str, run: str, number: int) -> None:
    """Note that a run is over here, and forget those that have been for longest, of very many."""
    _over.append((directory, run, number))
    with suppress(IndexError):  # another thread was first
        while len(_over) > _REMEMBERED:
            _remove(*_over.popleft())


def _remove(directory: str, run: str, last: int) -> None:
    """Remove a chain, from its beginning: what is left of one that was removed half hides nothing."""
    for number in range(1, last + 1):
        _unlink(f"{_path(directory, run)}.{number}")


def _unlink(path: str) -> None:
    with suppress(OSError):
        os.unlink(path)  # noqa: PTH108


# Links ----------------------------------------------------------------------------------------------------------------

_RUN: Final = 36
"""The length of the id of a run, by which its claims are told from the links of processes."""


def _path(directory: str, run: str) -> str:
    return os.path.join(directory, CLAIMS, run)  # noqa: PTH118


def _target(claim: Claim) -> str:
    # Short, mostly: what has more than 59 characters takes up a block of the disk, and time when it goes.
    return f"{claim.state}:{claim.attempt}:{claim.process}:{claim.run}:{claim.since:x}"


def _read(number: int, target: str) -> Claim:
    """What a link says; of one that a later version made otherwise, that somebody has the run who cannot be seen."""
    state, attempt, process, run, since, *_ = [*target.split(":"), "", "", "", ""]
    known = cast("Held", state) if state in _STATES else "running"
    try:
        began = int(since[:10], 16)
    except ValueError:
        began = 0
    return Claim(number, known, _count(attempt), process if state in _STATES else "", run, began)


def _count(text: str) -> int:
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 1
