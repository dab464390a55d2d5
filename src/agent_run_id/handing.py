"""Handing over: a run that begins in one process and goes on in another, over any queue or none.

`hand_off` records the run and gives the message to send; `accept` takes the run over from a message, wherever it comes
from, and however often; `resume` goes on with a run that somebody paused. Between the two there is one id and one node.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

from agent_run_id import holding
from agent_run_id.errors import RunDepthError
from agent_run_id.events import RUN_ACCEPTED, RUN_QUEUED, RUN_RESUMED, RUN_STARTED
from agent_run_id.ids import RunId, beside, depth_limit
from agent_run_id.journal import current_journal
from agent_run_id.messages import HandOff, found_in, payload_of
from agent_run_id.outcomes import expected_exceptions
from agent_run_id.runs import Pause, Run
from agent_run_id.scope import CURRENT, CurrentRun, drop_outermost
from agent_run_id.starting import Root, begin_run, run_id_under

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping

    from agent_run_id.claims import Held
    from agent_run_id.holding import Hold, Seen
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.journal import Journal
    from agent_run_id.outcomes import Expected
    from agent_run_id.signing import SigningKeys

__all__ = ["Accepted", "AcceptedBatch", "accept", "accept_batch", "hand_off", "resume", "resume_seen"]

T = TypeVar("T")

_MOST_ATTEMPTS: Final = 2**31 - 1


class _Sent(Run):
    """A run as its sender has it: what that says of it counts until somebody takes it, in the same process too."""

    __slots__ = ()

    def _hand(self) -> int:
        return 0


class Accepted(Run, Generic[T]):
    """A run that came from somebody else: `accept` and `resume` give it, to be used as any run.

    Attributes:
        payload: What the message was about; None of a run that was resumed.
        attempt: The how manieth attempt at it this is, from 1.
        duplicate_of: The run that somebody else has, or is done with, while this one does it once more; else None.
        first: What became of that, as far as it was known when this one came: ``running``, ``paused``, or how it ended.
        retry_of: The run that failed and that this one tries again; else None.
    """

    __slots__ = ("attempt", "duplicate_of", "first", "payload", "retry_of")

    payload: T
    attempt: int
    duplicate_of: RunId | None
    first: Held | None
    retry_of: RunId | None

    def __init__(self, run_id: RunId, name: str, expected: Expected, journal: Journal, attempt: int) -> None:
        super().__init__(run_id, name=name, journal=journal, expected=expected, began=time.perf_counter_ns())
        self.payload = cast("T", None)
        self.attempt = attempt
        self.duplicate_of = None
        self.first = None
        self.retry_of = None


class AcceptedBatch(Run):
    """One run for several messages, linked with the run of each; what ends it ends those of them that have not ended.

    Attributes:
        runs: The runs of the messages, in their order.
    """

    __slots__ = ("runs",)

    runs: list[Accepted[Any]]

    def pause(self, reason: str) -> Pause:
        """Say that all of them wait that have not ended."""
        for run in self.runs:
            run.pause(reason)
        return super().pause(reason)

    def _go_on(self) -> None:
        for run in self.runs:
            run._go_on()  # noqa: SLF001 - it is a run itself
        super()._go_on()

    def _end(self, status: Any, output: Any, error: BaseException | str | None) -> None:
        for run in self.runs:
            if error is not None or not run._paused:  # noqa: SLF001
                run.end(status=status, error=error)
        super()._end(status, output, error)


def hand_off(
    name: str,
    payload: T,
    *,
    kind: str = "job",
    parent: RunId | CurrentRun | Inbound | Root = CURRENT,
    input: Any = None,  # noqa: A002 - the field's word
    key: str | None = None,
    user_id: str | None = None,
    session_id: str | None = None,
    summary: str | None = None,
    tags: Iterable[str] = (),
    attributes: Mapping[str, Any] | None = None,
    links: Iterable[RunId | str] = (),
    aliases: Iterable[str] = (),
) -> HandOff[T]:
    """Hand a piece of work to whoever picks it up. Its run is ``queued`` from now on, until somebody accepts it.

    Nothing is sent: that is left to the queue, the broker or the folder that you have.

    Args:
        name: What it is, for a person.
        payload: What to send; it is not recorded, unless you give it as `input`, too.
        kind: As in `start_run`, and so are the others.
        parent: The run above it.
        input: What is recorded as its input.
        key: Names it within its parent.
        user_id: Whose it is.
        session_id: The session it is part of.
        summary: One line for a person.
        tags: Words to find it by.
        attributes: Anything else, by name.
        links: Other runs it has to do with.
        aliases: Names it has elsewhere, such as the id of the message.

    Raises:
        RunDepthError: the parent is as deep as `configure(max_depth=…)` allows.
        TypeError: `parent` is nothing that a run can be under.
    """
    run = begin_run(
        RUN_QUEUED,
        name,
        parent,
        make=_Sent,
        kind=kind,
        key=key,
        user_id=user_id,
        session_id=session_id,
        summary=summary,
        tags=tags,
        links=links,
        aliases=aliases,
        attributes=attributes,
        input=input,
    )
    return HandOff(run.id, payload, run)


def accept(
    message: Any = None,
    *,
    headers: Any = None,
    attempt: int | None = None,
    name: str = "message",
    kind: str = "job",
    key: str | None = None,
    policy: Policy = "trust",
    keys: SigningKeys | None = None,
    expected: Expected | type[BaseException] = (),
) -> Accepted[Any]:
    """Take over the run of a message that came, and go on with it.

    ``with accept(body) as run: handle(run.payload)``, whatever queue the body came from.

    One message may come several times. Where whoever had it before has died, this is the next attempt at the same run.
    Where they live and are at it, or where it has succeeded, the work is done twice: it gets a run of its own under the
    first, `Accepted.duplicate_of` tells, and whether to do it is yours to decide. Where it has failed, the next attempt
    stands beside the one that failed. All that is known of the processes that record in the same directory.

    A message that only carries the run of whoever sent it begins a run under that; one without, a tree of its own.
    Never raises because of what is in a message.

    Args:
        message: A `HandOff`, a JSON object as text, bytes or mapping, or anything else; then `headers` has the run.
        headers: Its headers, where the broker has some.
        attempt: The how manieth delivery it is, from 1, where the broker says.
        name: What it is called where its sender is not heard, or where it is a run of its own: only ids travel.
        kind: Likewise.
        key: Names it within its parent where it is a run of its own, so that a retry counts for what had failed.
        policy: What to make of the run: ``"trust"``, ``"link"`` or ``"ignore"``.
        keys: What tokens must be signed with to be trusted; the keys of `configure` when None.
        expected: Exceptions that are not failures when they leave the run.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
        TypeError: `expected` is no exception class.
    """
    inbound, handed = found_in(message, headers, policy, keys)
    exceptions, journal = expected_exceptions(expected), current_journal()
    drop_outermost()
    run_id = _handed(inbound) if handed else None
    if run_id is None:
        run: Accepted[Any] = Accepted(run_id_under(inbound), name, exceptions, journal, _counted(attempt) or 1)
        links = None if inbound.link is None else [inbound.link]
        said = {"name": name, "kind": kind, "key": key, "links": links, "refused_parent": inbound.refused}
        run._record(RUN_STARTED, said)  # noqa: SLF001
    else:
        hold = holding.accept(journal, run_id, _counted(attempt))
        run = _taken(RUN_ACCEPTED, journal, hold, exceptions, name=name, kind=kind, key=key)
    run.payload = payload_of(message)
    return run


def accept_batch(
    messages: Iterable[Any],
    *,
    name: str = "batch",
    kind: str = "batch",
    policy: Policy = "trust",
    keys: SigningKeys | None = None,
    expected: Expected | type[BaseException] = (),
) -> AcceptedBatch:
    """Take over the runs of several messages that are handled together, by one run that has a link to each.

    ``with accept_batch(messages) as batch: …`` ends them all alike. For those that end otherwise, use
    `AcceptedBatch.runs`: each is a run as `accept` gives it.

    Args:
        messages: Messages, as for `accept`, or what that gave for each.
        name: What the run of them all is called.
        kind: Its kind.
        policy: What to make of the runs of messages that are not accepted yet.
        keys: As for `accept`.
        expected: Exceptions that are not failures when they leave the run.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
        TypeError: `expected` is no exception class.
    """
    runs: list[Accepted[Any]] = []
    try:
        for message in messages:
            is_run = issubclass(type(message), Accepted)
            runs.append(message if is_run else accept(message, policy=policy, keys=keys, expected=expected))
    except BaseException as error:  # of wherever they come from: what was accepted is given back
        for run in runs:
            run.end(error=error)
        raise
    drop_outermost()
    batch = AcceptedBatch(
        run_id_under(None), name=name, expected=expected_exceptions(expected), began=time.perf_counter_ns()
    )
    batch.runs = runs
    batch._record(RUN_STARTED, {"name": name, "kind": kind, "links": [run.id for run in runs] or None})  # noqa: SLF001
    return batch


def resume(
    run_id: RunId | str | uuid.UUID,
    *,
    name: str = "run",
    kind: str = "task",
    expected: Expected | type[BaseException] = (),
) -> Accepted[None]:
    """Go on with a run that somebody paused, here or in another process.

    Also with one whose owner has died: that is its next attempt. Where somebody alive is at it, or where it is over,
    this is a run of its own below it, and `Accepted.duplicate_of` tells: of two who press the same button, one goes on.

    Of a run that has neither waited nor changed hands nothing is known without reading what was recorded:
    `RunRegistry.resume` does.

    Args:
        run_id: The id of the run, or the text of one, or its token.
        name: What it is called where it is a run of its own.
        kind: Likewise.
        expected: Exceptions that are not failures when they leave the run.

    Raises:
        InvalidRunIdError: (a `ValueError`) `run_id` is none.
        TypeError: `expected` is no exception class.
    """
    if isinstance(run_id, str) and "." in run_id:
        run_id = RunId.from_token(run_id)
    elif not isinstance(run_id, RunId):
        run_id = RunId(run_id)
    return resume_seen(run_id, None, name=name, kind=kind, expected=expected)


def resume_seen(
    run_id: RunId,
    seen: Seen | None,
    *,
    journal: Journal | None = None,
    name: str,
    kind: str,
    expected: Expected | type[BaseException],
) -> Accepted[None]:
    """Go on with a run of which a reader has seen what became of its owner."""
    journal = journal or current_journal()
    hold = holding.resume(journal, run_id, seen)
    return _taken(RUN_RESUMED, journal, hold, expected_exceptions(expected), name=name, kind=kind)


def _taken(
    event: str, journal: Journal, hold: Hold, expected: Expected, *, name: str, kind: str, key: str | None = None
) -> Accepted[Any]:
    """The run as this process has it."""
    before = hold.before
    own = _below(hold.run_id) if hold.kind == "duplicate" else hold.run_id
    run: Accepted[Any] = Accepted(own, name, expected, journal, hold.attempt)
    if hold.kind == "own":
        said = {"name": name, "kind": kind} if event == RUN_ACCEPTED else {}
        # Whoever was to try it again may have died before saying that they do.
        again = None if hold.first is None else hold.first.token
        run._claimed = hold.claimed  # noqa: SLF001 - a run says itself what happens to it
        fixed: dict[str, Any] = {"attempt": hold.attempt, "hand": run._hand()}  # noqa: SLF001
        fixed |= {"after": hold.after, "owner": hold.owner, "retry_of": again}
        run._record(event, said, fixed=fixed)  # noqa: SLF001
        run.retry_of = hold.first
    else:
        fixed = {"attempt": hold.attempt} if hold.kind == "retry" else {}
        fixed[f"{hold.kind}_of"] = before.token
        run._record(RUN_STARTED, {"name": name, "kind": kind, "key": key, "links": [before]}, fixed=fixed)  # noqa: SLF001
        run.retry_of, run.duplicate_of = (before, None) if hold.kind == "retry" else (None, before)
    run.first = hold.state
    run._claimed = hold.claimed  # noqa: SLF001
    return run


def _below(run_id: RunId) -> RunId:
    try:
        return RunId.generate(run_id)
    except RunDepthError:  # that a message came twice is no recursion of agents, which the limit is for
        return beside(run_id)


def _handed(inbound: Inbound) -> RunId | None:
    """The run to take over. It is not to be a parent, so it may be as deep as runs may be."""
    link = inbound.link
    refused = inbound.refused or ""
    if link is not None and refused.startswith("too deep") and link.depth == depth_limit():
        return link
    return inbound.run_id


def _counted(attempt: Any) -> int | None:
    """What a broker says of how often it has delivered a message, where it is a number."""
    return min(max(attempt, 1), _MOST_ATTEMPTS) if type(attempt) is int else None
