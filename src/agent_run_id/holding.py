"""Holding: what a process may do with a run that comes to it from somebody else.

Who is given a message takes its run over where nobody has it, or where whoever had it is dead. Where somebody alive has
it, or is done with it, the work is being done twice, and becomes a run of its own below. What failed is tried again
beside the attempt that failed. Two who decide at the same time decide one after the other.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Final, Literal, NamedTuple, cast

from agent_run_id import claims
from agent_run_id.claims import Claim
from agent_run_id.errors import InvalidRunIdError
from agent_run_id.ids import RunId, beside

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.claims import Held
    from agent_run_id.journal import Journal
    from agent_run_id.liveness import State

    _Decide = Callable[[str, Claim | None], "Hold"]

__all__ = ["Claimed", "Hold", "Seen", "accept", "resume"]

_TRIES: Final = 100


class Claimed:
    """A claim of this process, which says what becomes of it.

    Args:
        journal: Where the process records.
        key: The id of the run that others ask for.
        claim: The claim.
    """

    __slots__ = ("_journal", "_key", "claim")

    claim: Claim

    def __init__(self, journal: Journal, key: str, claim: Claim) -> None:
        self._journal = journal
        self._key = key
        self.claim = claim

    def change(self, state: Held, token: str = "") -> None:
        """Say what became of the run. In a forked child, which does not own it, nothing.

        Args:
            state: What it is now.
            token: That of the run, where it waits: whoever resumes it may know its id alone.
        """
        directory = self._journal.directory
        if directory is not None and self._journal.process_id == self.claim.process:
            self.claim = claims.change(directory, self._key, self.claim, state, token)

    def take_back(self) -> bool:
        """Go on after a wait; False where somebody else has the run by now, as the parent of a forked child has."""
        mine = self.claim
        if self._journal.process_id != mine.process:
            return False
        try:
            claimed = _claim(self._journal, self._key, mine, "running", mine.attempt, mine.run[:36])
        except OSError:
            return True  # where no claims can be made, nobody else has made one
        if claimed is not None:
            self.claim = claimed.claim
        return claimed is not None

    @classmethod
    def of_paused(cls, journal: Journal, run_id: RunId) -> Claimed | None:
        """A claim to a run that has stayed where it started, and waits now; None where none can be made.

        Somebody may have resumed it without a right to: the owner says what it is.
        """
        with suppress(OSError):
            for _ in range(_TRIES if journal.directory is not None else 0):
                known = claims.current(journal.directory or "", run_id.value)
                claimed = _claim(journal, run_id.value, known, "paused", 1, run_id.token)
                if claimed is not None:
                    return claimed
        return None


class Seen(NamedTuple):
    """What a reader saw of a run that is to be resumed.

    Attributes:
        state: What it is: only what is ``paused``, ``queued`` or ``lost`` can be gone on with.
        attempt: The how manieth attempt that was.
        process: The id of its owner.
    """

    state: str
    attempt: int
    process: str | None


class Hold(NamedTuple):
    """How a process has a run that came to it.

    Attributes:
        kind: ``own``: the run itself; ``retry``: it failed, and this is another beside it; ``duplicate``: somebody else
            has it or is done with it.
        before: The run as it was found: the message's own, or the last that has tried it.
        run_id: The run to go on with; of a duplicate, the one that is to be above it.
        attempt: The how manieth attempt this is.
        after: What became of the owner before, where there was one: ``paused``, ``lost`` or ``unknown``.
        owner: The id of that owner.
        first: The run of the message, where it failed and this is one that tries it again.
        claimed: The claim; None where none could be made.
        state: Of a duplicate, what became of the run with whoever has it.
    """

    kind: Literal["own", "retry", "duplicate"]
    before: RunId
    run_id: RunId
    attempt: int = 1
    after: str | None = None
    owner: str | None = None
    first: RunId | None = None
    claimed: Claimed | None = None
    state: Held | None = None


def accept(journal: Journal, run_id: RunId, attempt: int | None) -> Hold:
    """Take over the run of a message, as far as it is free.

    Args:
        journal: Where this process records.
        run_id: The run.
        attempt: The how manieth delivery it is, as the broker counts; None where it does not say.
    """
    retry = beside(run_id)

    def decide(key: str, known: Claim | None) -> Hold:
        if known is None:
            return Hold("own", run_id, run_id, attempt or 1)
        now, following = _run_of(run_id, key, known), max(known.attempt + 1, attempt or 1)
        if known.state in ("failed", "cancelled"):
            return Hold("retry", now, retry, following)
        state = _owner_state(journal, known)
        if known.state != "running" or state == "alive":
            return Hold("duplicate", now, now, known.attempt, state=known.state)
        # Of an owner on another machine only the broker can tell, and it has: it would not deliver again to a second.
        after = "lost" if state == "dead" else "unknown"
        first = None if now == run_id else run_id
        return Hold("own", now, now, following, after, known.process or None, first)

    return _decided(journal, run_id, decide)


def resume(journal: Journal, run_id: RunId, seen: Seen | None) -> Hold:
    """Take over a run that waits, or whose owner is dead.

    Args:
        journal: Where this process records.
        run_id: The run.
        seen: What somebody who has read what was recorded says of it: claims are forgotten, and most runs have none.
    """

    def decide(key: str, known: Claim | None) -> Hold:
        if seen is not None and seen.state not in ("paused", "queued", "lost"):
            return Hold("duplicate", run_id, run_id, seen.attempt, state=cast("Held", seen.state))
        if known is None:
            if seen is None or seen.state == "queued":
                return Hold("own", run_id, run_id)
            return Hold("own", run_id, run_id, seen.attempt + (seen.state == "lost"), seen.state, seen.process)
        now = _run_of(run_id, key, known)
        if known.state == "paused":
            return Hold("own", now, now, known.attempt, "paused", known.process)
        if known.state == "running" and _owner_state(journal, known) == "dead":
            return Hold("own", now, now, known.attempt + 1, "lost", known.process)
        return Hold("duplicate", now, now, known.attempt, state=known.state)

    return _decided(journal, run_id, decide)


def _decided(journal: Journal, run_id: RunId, decide: _Decide) -> Hold:
    hold = decide(run_id.value, None)
    for _ in range(_TRIES):
        if journal.directory is None or journal.name() is None:
            return hold
        key = claims.key_of(journal.directory, run_id.value)
        known = claims.current(journal.directory, key)
        hold = decide(key, known)
        if hold.kind == "duplicate":
            return hold
        try:
            run = "" if hold.run_id.value == key else hold.run_id.value
            claimed = _claim(journal, key, known, "running", hold.attempt, run)
        except FileNotFoundError:
            continue  # somebody has removed all claims; the next time they are begun anew
        except OSError:
            return hold
        if claimed is not None:
            if hold.kind == "retry":
                claims.point(journal.directory, hold.run_id.value, key)
            return hold._replace(claimed=claimed)
    return hold


def _claim(journal: Journal, key: str, known: Claim | None, state: Held, attempt: int, run: str) -> Claimed | None:
    """Make the claim after another; None where somebody else was first, or nothing is recorded.

    Raises:
        OSError: no claims can be made here.
    """
    name, process = journal.name(), journal.process_id
    if journal.directory is None or name is None or process is None:
        return None
    make = Claim.first if known is None else known.following
    claim = make(state, attempt, process, run)
    claims.introduce(journal.directory, process, name)
    return Claimed(journal, key, claim) if claims.take(journal.directory, key, claim) else None


def _run_of(run_id: RunId, key: str, known: Claim) -> RunId:
    """The run of a claim; its lineage is that of the message, or what is known of it where only an id was given."""
    try:
        now = RunId.from_token(known.run or key)
    except InvalidRunIdError:  # of a later version
        return run_id
    if now.value == run_id.value and now.parent_id is None:
        return run_id
    if now.parent_id is None and run_id.parent_id is not None:
        return beside(run_id, now.value)
    return now.in_trace(run_id.trace)


def _owner_state(journal: Journal, known: Claim) -> State:
    if journal.directory is None:
        return "unknown"
    try:
        return claims.owner_state(journal.directory, known)
    except OSError:  # no descriptors are left, say: nobody is robbed because we cannot see
        return "alive"
