"""Inbound: what came in over a wire, and what an edge makes of it.

Whatever is wrong with it is counted and said in `Inbound.refused`; none of it raises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, final

from agent_run_id.errors import ConfigurationError
from agent_run_id.frozen import Frozen
from agent_run_id.ids import depth_limit
from agent_run_id.settings import signing_keys

if TYPE_CHECKING:
    from collections.abc import Callable

    from agent_run_id.ids import RunId
    from agent_run_id.signing import SigningKeys
    from agent_run_id.w3c import Trace

__all__ = ["NOTHING", "POLICIES", "Inbound", "Policy", "admit", "check_policy", "count", "refusals"]

Policy = Literal["trust", "link", "ignore"]
"""What an edge makes of a run id that comes in.

``"trust"``: become its child. ``"link"``: begin a tree that remembers it as a link. ``"ignore"``: begin a tree.
"""
POLICIES: Final[tuple[Policy, ...]] = ("trust", "link", "ignore")

_counts: dict[str, int] = {}


class _Draft:
    """What an `Inbound` is made of, before it is one: there its attributes cannot be set any more."""

    __slots__ = ("link", "refused", "run_id", "trace")

    run_id: RunId | None
    link: RunId | None
    refused: str | None
    trace: Trace | None

    def __init__(self, run_id: RunId | None, link: RunId | None, refused: str | None, trace: Trace | None) -> None:
        self.run_id = run_id
        self.link = link
        self.refused = refused
        self.trace = trace


@final
class Inbound(_Draft, Frozen):
    """What `extract` found. False when there is no run to become a child of.

    `RunContext(inbound)` and `start_run(parent=inbound)` take it as it is. Where it is false they begin a tree of
    their own, whatever run is current and whatever run the process has joined.

    Attributes:
        run_id: The run of the sender, to be the parent; None when there was none, or when it is not to be.
        link: The run of the sender where it is only remembered: by policy, for want of a good signature, or because it
            is as deep as runs may be.
        refused: Why something that was there is not believed: the word it is counted under, a colon, and a sentence.
        trace: The W3C trace to go on with, also where there is no run; None when a new one begins.
    """

    __slots__ = ()

    def __new__(
        cls,
        run_id: RunId | None = None,
        *,
        link: RunId | None = None,
        refused: str | None = None,
        trace: Trace | None = None,
    ) -> Inbound:
        """Make one by hand, as a test may."""
        return _build(run_id, link, refused, trace)

    def __init__(
        self,
        run_id: RunId | None = None,
        *,
        link: RunId | None = None,
        refused: str | None = None,
        trace: Trace | None = None,
    ) -> None:
        """`__new__` has made it."""

    def __bool__(self) -> bool:
        return self.run_id is not None

    def __repr__(self) -> str:
        fields = [f"{name}={value!r}" for name in _Draft.__slots__ if (value := getattr(self, name)) is not None]
        return f"Inbound({', '.join(fields)})"

    def __reduce__(self) -> tuple[Callable[..., Inbound], tuple[object, ...]]:
        return (_build, (self.run_id, self.link, self.refused, self.trace))


def _build(run_id: RunId | None, link: RunId | None, refused: str | None, trace: Trace | None) -> Inbound:
    draft: Any = _Draft(run_id, link, refused, trace)
    draft.__class__ = Inbound  # as in `ids`: the cheapest way to a value that is frozen
    inbound: Inbound = draft
    return inbound


NOTHING: Final = Inbound()
"""What `extract` found where there was nothing."""


def refusals() -> dict[str, int]:
    """How often this process has not believed what came in, by the first word of `Inbound.refused`.

    ``malformed``, ``malformed trace``, ``ambiguous``, ``unsigned``, ``forged``, ``unknown key`` or ``too deep``.
    """
    return dict(_counts)


def check_policy(policy: str) -> None:
    """Check a policy, which the program says and not what comes in.

    Raises:
        ConfigurationError: (a `ValueError`) there is no such policy.
    """
    if policy not in POLICIES:
        raise ConfigurationError(f"a policy is one of {', '.join(POLICIES)}, not {policy!r}")


def refuse(reason: str, trace: Trace | None = None, link: RunId | None = None) -> Inbound:
    """Count what is not believed, and give what is left of it."""
    count(reason)
    return Inbound(refused=reason, trace=trace, link=link)


def count(reason: str) -> None:
    """Count what is not believed, by its first word."""
    word = reason.partition(":")[0]
    _counts[word] = _counts.get(word, 0) + 1


def admit(
    run_id: RunId | None,
    *,
    policy: Policy,
    keys: SigningKeys | None,
    signature: str | None = None,
    trace: Trace | None = None,
    problem: str | None = None,
) -> Inbound:
    """Decide what an edge makes of what it was sent.

    Args:
        run_id: The run of the sender, if a well-formed one was there.
        policy: What the edge says of those who call it.
        keys: The keys to verify with; those of `configure` when None.
        signature: What came beside the token.
        trace: The W3C trace that came with it.
        problem: What was wrong, when something was there that is no run.
    """
    if policy == "ignore":
        return NOTHING
    if policy == "link":
        trace = None  # a trace that restarts, as the W3C has it for the border between two domains of trust
    if run_id is None:
        if problem is not None:
            return refuse(problem, trace)
        return NOTHING if trace is None else Inbound(trace=trace)
    if policy == "link":
        return Inbound(link=run_id)
    keys = keys or signing_keys()
    if keys is not None:
        reason = keys.problem(run_id.token, signature)
        if reason is not None:
            return refuse(reason, link=run_id)
    if run_id.depth >= depth_limit():
        reason = f"too deep: the sender is at depth {run_id.depth}, and nothing here may be deeper than {depth_limit()}"
        return refuse(reason, trace, link=run_id)
    return _build(run_id if trace is None else run_id.in_trace(trace), None, None, trace)
