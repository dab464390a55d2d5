"""Fields: what headers of every shape have in common - which ones, what they say, and how to find them.

``x-run-id``
    The bare id, for people and for `grep`. Alone it is a parent of unknown lineage.
``traceparent``, ``tracestate``
    W3C Trace Context. Our member ``runid`` of the state holds the token, ``runidsig`` its signature. So whoever passes
    these two on, as every service does that follows the standard, passes our lineage on.

A token wins over a bare id. A token that is not well-formed is not a run, whatever else is there.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from agent_run_id.carriers.shapes import INVALID, MAX_TEXT, MAX_VALUES, pairs_of, texts_of
from agent_run_id.errors import InvalidRunIdError
from agent_run_id.ids import RunId, depth_limit, random_span
from agent_run_id.inbound import admit, count
from agent_run_id.scope import CurrentRun, current_parent
from agent_run_id.settings import signing_keys
from agent_run_id.w3c import (
    RANDOM,
    SAMPLED,
    Member,
    Trace,
    format_members,
    parse_members,
    read_members,
    read_traceparent,
)

if TYPE_CHECKING:
    from agent_run_id.inbound import Inbound, Policy
    from agent_run_id.signing import SigningKeys

__all__ = [
    "RUN_ID",
    "SIGNATURE",
    "TOKEN",
    "TRACEPARENT",
    "TRACESTATE",
    "Found",
    "extract_fields",
    "fields_for",
    "has_our_member",
    "injected_run",
    "run_in",
    "span_of",
    "write_new",
]

RUN_ID: Final = "x-run-id"
TRACEPARENT: Final = "traceparent"
TRACESTATE: Final = "tracestate"
TOKEN: Final = "runid"  # noqa: S105 - the name of a field
"""The member of a `tracestate` that holds the token."""
SIGNATURE: Final = "runidsig"
"""The member of a `tracestate` that holds the token's signature."""

_OURS: Final = (TOKEN, SIGNATURE)
_LEADING: Final = f"{TOKEN}="
_OWN_FLAGS: Final = SAMPLED | RANDOM
_VERSION_DIGIT: Final = 14
_VARIANT_DIGIT: Final = 19

# How the three are called, by transport. Whatever is not among these is brought to lower case and looked up again.
NAMES: Final = {
    name: field
    for field in (TRACEPARENT, TRACESTATE, RUN_ID)
    for name in (field, f"HTTP_{field.upper().replace('-', '_')}")  # the second as in CGI and WSGI
}
LENGTHS: Final = frozenset(map(len, NAMES))
_FIELDS: Final = frozenset({TRACEPARENT, TRACESTATE, RUN_ID})
_LENGTHS: Final = frozenset(map(len, _FIELDS))


# Writing --------------------------------------------------------------------------------------------------------------


def injected_run(run_id: RunId | CurrentRun | None) -> RunId | Trace | None:
    """What a carrier is to be given: the run in force, or the one that was named; a trace without a run; or nothing."""
    if not isinstance(run_id, CurrentRun):
        if run_id is None or isinstance(run_id, RunId):
            return run_id
        raise TypeError(f"run_id is a RunId or None, not {type(run_id).__name__}; of a Run it is run.id")
    parent = current_parent()
    return parent if parent is None or isinstance(parent, RunId) else parent.trace


def fields_for(
    run_id: RunId | CurrentRun | None, *, keys: SigningKeys | None = None, span: str | None = None
) -> dict[str, str]:
    """The fields to write: of an outgoing request they are new each time, for its parent-id is its own.

    Args:
        run_id: The run to name; the one in force, or the trace to go on with where there is none, for `CURRENT`.
        keys: The keys to sign with; those of `configure` when None.
        span: The parent-id, where a run stands for the request; random when None.
    """
    run = run_id if type(run_id) is RunId else injected_run(run_id)
    if run is None:
        return {}
    if isinstance(run, Trace):
        fields = {TRACEPARENT: f"00-{run.trace_id}-{span or random_span()}-{run.flags:02x}"}
        if run.members:
            fields[TRACESTATE] = format_members([], run.members)
        return fields
    written = said_by(run, keys or signing_keys())
    return {
        TRACEPARENT: written.head + (span or random_span()) + written.tail,
        TRACESTATE: written.state,
        RUN_ID: run.value,
    }


def write_new(carrier: dict[Any, Any], run_id: RunId, keys: SigningKeys | None) -> bool:
    """Write the fields of a run into a dict that has none of them; False where it has, or may have.

    It is nearly always so, and what takes most of the time of `inject` away.
    """
    try:
        for name in carrier:
            if len(name) in _LENGTHS and (type(name) is not str or name.lower() in _FIELDS):
                return False
    except TypeError:  # some name has no length
        return False
    said = _written.get(id(run_id))
    if said is None or said.run_id is not run_id or said.keys is not (keys or signing_keys()):
        said = said_by(run_id, keys or signing_keys())
    carrier[TRACEPARENT] = said.head + random_span() + said.tail
    carrier[TRACESTATE] = said.state
    carrier[RUN_ID] = run_id.value
    return True


def said_by(run_id: RunId, keys: SigningKeys | None) -> Written:
    """What a run says of itself in every request."""
    written = _written.get(id(run_id))
    if written is None or written.run_id is not run_id or written.keys is not keys:
        written = Written(run_id, keys)
        if len(_written) >= _MAX_WRITTEN:
            _written.clear()
        _written[id(run_id)] = written
    return written


class Written:
    """What a run says of itself in every request: all of its fields but the parent-id."""

    __slots__ = ("head", "keys", "run_id", "state", "tail")

    run_id: RunId
    keys: SigningKeys | None
    state: str
    head: str
    tail: str

    def __init__(self, run_id: RunId, keys: SigningKeys | None) -> None:
        self.run_id = run_id
        self.keys = keys
        token, trace = run_id.token, run_id.trace
        ours: list[Member] = [(TOKEN, token)]
        if keys is not None:
            ours.append((SIGNATURE, keys.sign(token)))
        members = () if trace is None else trace.members
        self.state = format_members(ours, members) if keys is not None or members else _LEADING + token
        trace_id = run_id.root_id.replace("-", "") if trace is None else trace.trace_id
        flags = _own_flags(run_id.root_id) if trace is None else trace.flags
        self.head = f"00-{trace_id}-"
        self.tail = f"-{flags:02x}"


# By the identity of the id, since ids of different lineage are equal. A run that makes one request makes more.
_written: Final[dict[int, Written]] = {}
_MAX_WRITTEN: Final = 256


def has_our_member(state: Any) -> bool:
    """Whether a `tracestate` has a run in it: then what stands beside it is stale once the run is."""
    return any(key in _OURS for key, _ in read_members(list(texts_of(state))))


def _own_flags(root_id: str) -> int:
    # Section 3.2.2.5.2: "random" promises that the last 7 bytes are. Those of a version-4 UUID are; the digit of the
    # version means nothing in a UUID of another variant.
    return _OWN_FLAGS if root_id[_VERSION_DIGIT] == "4" and root_id[_VARIANT_DIGIT] in "89ab" else SAMPLED


def span_of(value: str) -> str:
    """The parent-id that stands for a run: the last 8 bytes of its id."""
    span = value[19:23] + value[24:]
    return span if span.strip("0") else "0000000000000001"


# Reading --------------------------------------------------------------------------------------------------------------


class Found(NamedTuple):
    """The values that were there, by field, before anything is made of them."""

    traceparents: list[str]
    states: list[str]
    run_ids: list[str]

    def add(self, field: str, value: Any) -> None:
        """Add what stood under a name: a text or bytes, or several of them."""
        values = self.traceparents if field == TRACEPARENT else self.states if field == TRACESTATE else self.run_ids
        if type(value) is str and len(value) <= MAX_TEXT:
            values.append(value)
        else:
            room = MAX_TEXT - sum(map(len, values))
            for text in texts_of(value):
                room -= len(text)
                values.append(text if room >= 0 else INVALID)
        if len(values) > MAX_VALUES:
            values[:] = [INVALID, INVALID]


def find(carrier: Any) -> Found:
    """Look for the fields in anything that is like headers; whatever is not, is as good as empty."""
    found = Found([], [], [])
    for name, value in pairs_of(carrier, NAMES):
        if not isinstance(name, str | bytes) or len(name) not in LENGTHS:
            continue
        text = name.decode("latin-1") if isinstance(name, bytes) else name
        field = NAMES.get(text) or NAMES.get(text.lower())
        if field is not None:
            found.add(field, value)
    return found


def _find_once(carrier: Any) -> tuple[list[str], list[str], list[str]] | None:
    """As `find`, for a dict that has each field once and in lower case; None for any other."""
    head, state, run_id = carrier.get(TRACEPARENT), carrier.get(TRACESTATE), carrier.get(RUN_ID)
    if type(head) is not str or type(state) is not str or type(run_id) is not str or len(state) > MAX_TEXT:
        return None
    try:
        for name in carrier:
            if len(name) in LENGTHS and name not in _FIELDS and (type(name) is not str or name.lower() in NAMES):
                return None  # one of them once more, in another spelling
    except TypeError:  # some name has no length
        return None
    return [head], [state], [run_id]


def extract_fields(carrier: Any, *, policy: Policy, keys: SigningKeys | None) -> Inbound:
    """Read anything that is like headers. Never raises because of it."""
    try:
        found = (_find_once(carrier) if type(carrier) is dict else None) or find(carrier)
    except Exception:  # an object of somebody else's, whose methods may do anything
        found = Found([], [], [])
    return decide(found, policy, keys)


def decide(
    found: tuple[list[str], list[str], list[str]],
    policy: Policy,
    keys: SigningKeys | None,
    *,
    token: str | None = None,
) -> Inbound:
    """Make of the values that were there what the edge's policy says.

    Args:
        found: What stood in the fields, in the order of `Found`.
        policy: The policy.
        keys: The keys to verify with; those of `configure` when None.
        token: The token, where a carrier has a place of its own for it.
    """
    head, said = _head_and_state(found)
    admitted = said.admitted
    if (
        admitted is not None
        and admitted[0] == head
        and policy == "trust"
        and token is None
        and keys is None
        and signing_keys() is None
        and admitted[2] < depth_limit()
    ):
        return admitted[1]
    run_id, trace, problem = _read(head, said, found[2], token)
    trace_problem = _trace_problem(found, head, said) if policy != "ignore" else None
    if trace_problem is not None:
        if run_id is None and problem is None:
            problem = trace_problem
        else:
            count(trace_problem)
    inbound = admit(run_id, policy=policy, keys=keys, signature=said.signature, trace=trace, problem=problem)
    if inbound.run_id is not None and said.names_run and token is None:
        said.admitted = (head, inbound, inbound.run_id.depth)
    return inbound


def _trace_problem(found: tuple[list[str], list[str], list[str]], head: object, said: _State) -> str | None:
    """What is wrong with the W3C trace, where there is one that cannot be gone on with."""
    if head is None and found[0]:
        return f"malformed trace: {TRACEPARENT} is not valid" + (" when there are several" if found[0][1:] else "")
    return f"malformed trace: {TRACESTATE} is not valid" if said.is_void else None


def run_in(found: tuple[list[str], list[str], list[str]], token: str) -> RunId | None:
    """The run that a token names, whoever sent it, with the trace it came in."""
    head, said = _head_and_state(found)
    run_id, trace, _ = _read(head, said, [], token)
    return run_id if run_id is None or trace is None else run_id.in_trace(trace)


def _head_and_state(found: tuple[list[str], list[str], list[str]]) -> tuple[tuple[str, int] | None, _State]:
    # Section 3.3: without exactly one valid traceparent the state is not even looked at.
    traceparents, states, _ = found
    head = read_traceparent(traceparents[0]) if len(traceparents) == 1 else None
    if head is None or not states:
        return head, _NO_STATE
    # A run that sends one request sends more, and says the same of itself in each.
    if len(states) == 1 and len(states[0]) <= _MAX_REMEMBERED:
        return head, _remembered(states[0])
    return head, _State(*states)


def _read(
    head: tuple[str, int] | None, said: _State, run_ids: list[str], token: str | None
) -> tuple[RunId | None, Trace | None, str | None]:
    """The run, the trace it came in, and what was wrong where something was there that is no run."""
    if token is not None:
        run_id, problem = read_token(token)
    elif said.names_run:
        run_id, problem = said.run_id, said.problem
    else:
        run_id, problem = _bare(run_ids)
    if head is None or (run_id is not None and not said.others and _is_ours(head, run_id)):
        return run_id, None, problem  # such a trace says nothing that the id does not say
    return run_id, Trace(*head, said.others), problem


class _State:
    """What a `tracestate` says: the run in it, and what others have put there."""

    __slots__ = ("admitted", "is_void", "names_run", "others", "problem", "run_id", "signature")

    # What was last made of it where keys had no say: of which traceparent, what, and how deep it is.
    admitted: tuple[tuple[str, int] | None, Inbound, int] | None
    run_id: RunId | None
    problem: str | None
    signature: str | None

    def __init__(self, *values: str) -> None:
        self.admitted = None
        self.is_void = False
        self.signature = self.problem = None
        self.run_id = _leading_run(values[0]) if values else None
        if self.run_id is not None:
            _, _, rest = values[0].partition(",")
            values = (rest, *values[1:])
        self.names_run = self.run_id is not None
        self.others: tuple[Member, ...] = ()
        if any(values):
            self._add(parse_members(values, count=int(self.names_run)))

    def _add(self, members: list[Member] | None) -> None:
        if members is None:  # one of them is not valid, and then none is
            self.is_void, self.names_run, self.run_id = True, False, None
            return
        ours = {key: value for key, value in members if key in _OURS}
        self.others = tuple([member for member in members if member[0] not in _OURS])
        self.signature = ours.get(SIGNATURE)
        if TOKEN in ours and not self.names_run:
            self.names_run = True
            self.run_id, self.problem = read_token(ours[TOKEN])


def _leading_run(state: str) -> RunId | None:
    """The run in the first member, where we have put it; None when it is not there, or not as we put it."""
    if not state.startswith(_LEADING):
        return None
    try:
        return RunId.from_token(state[len(_LEADING) :].partition(",")[0])
    except InvalidRunIdError:
        return None


_NO_STATE: Final = _State()
_remembered: Final = lru_cache(maxsize=256)(_State)
_MAX_REMEMBERED: Final = 1024


def _is_ours(head: tuple[str, int], run_id: RunId) -> bool:
    return head[0] == run_id.root_id.replace("-", "") and head[1] == _own_flags(run_id.root_id)


def _bare(run_ids: list[str]) -> tuple[RunId | None, str | None]:
    """The run of a bare id, and else what is wrong with it."""
    if not run_ids:
        return None, None
    text = run_ids[0].strip(" \t")
    if any(other.strip(" \t") != text for other in run_ids):
        return None, f"ambiguous: there are {len(run_ids)} different ids in {RUN_ID}"
    if len(text) != 36:
        return None, f"malformed: {RUN_ID} is the text of a UUID in 36 characters"
    return read_token(text.lower())


def read_token(token: str) -> tuple[RunId | None, str | None]:
    """The run a token names, and else what is wrong with it."""
    try:
        return RunId.from_token(token), None
    except InvalidRunIdError as error:
        return None, f"malformed: {error}"
