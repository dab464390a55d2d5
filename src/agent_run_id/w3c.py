"""W3C Trace Context: the `traceparent` and `tracestate` of other people's traces, read and written to the letter.

Of a trace that we continue, a run id keeps a `Trace`: its id, its flags and what others have put into its state. Where
a rule of `Trace Context Level 2`_ is easy to get wrong, its section stands above the line.

.. _Trace Context Level 2: https://www.w3.org/TR/trace-context-2/
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final

from agent_run_id.frozen import Frozen, put

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "AS_FORM",
    "RANDOM",
    "SAMPLED",
    "Member",
    "Trace",
    "format_members",
    "parse_members",
    "read_members",
    "read_traceparent",
]

Member = tuple[str, str]
"""One member of a `tracestate`: its key and its value."""

SAMPLED: Final = 1
RANDOM: Final = 2
_KNOWN_FLAGS: Final = SAMPLED | RANDOM

MAX_MEMBERS: Final = 32
MAX_STATE: Final = 4096
"""The most characters of others' members that travel on: a caller must not fill the headers of our requests."""

_FLAGS: Final = {"00": 0, "01": 1, "02": 2, "03": 3}
_LONG_MEMBER: Final = 128
_MAX_TRACEPARENT: Final = 512
_MAX_INPUT: Final = 32 * (256 + 1 + 256 + 2) * 2  # all that can be valid, and as much again in white space
_WHITE: Final = " \t"
AS_FORM: Final = bytes(
    104 if chr(code) in "0123456789abcdef" else code if chr(code) in "-." else 120 for code in range(256)
)
"""Makes every lower-case hexadecimal digit "h" and whatever else is no dash or dot "x", for `bytes.translate`.

One comparison with a form then looks at a whole header, or at the three UUIDs of a token.
"""
_FORM: Final = b"hh-" + b"h" * 32 + b"-" + b"h" * 16 + b"-hh"
_KEY_START: Final = frozenset("abcdefghijklmnopqrstuvwxyz0123456789")
_KEY: Final = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@"


@final
class Trace(Frozen):
    """A trace that somebody else began, or that others have put something into; one for a whole tree.

    Attributes:
        trace_id: 32 lower-case hexadecimal digits.
        flags: The flags this version knows, `SAMPLED` and `RANDOM`; the others are reserved and go out as 0.
        members: What others put into its `tracestate`, in order.
    """

    __slots__ = ("flags", "members", "trace_id")

    trace_id: str
    flags: int
    members: tuple[Member, ...]

    def __init__(self, trace_id: str, flags: int, members: tuple[Member, ...] = ()) -> None:
        put(self, "trace_id", trace_id)
        put(self, "flags", flags)
        put(self, "members", members)

    def __repr__(self) -> str:
        return f"Trace({self.trace_id!r}, {self.flags}, {self.members!r})"

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Trace):
            return (self.trace_id, self.flags, self.members) == (other.trace_id, other.flags, other.members)
        return NotImplemented

    def __hash__(self) -> int:
        return hash((self.trace_id, self.flags, self.members))

    def __reduce__(self) -> tuple[Callable[..., Trace], tuple[str, int, tuple[Member, ...]]]:
        return (Trace, (self.trace_id, self.flags, self.members))


def read_traceparent(text: str) -> tuple[str, int] | None:
    """Read the value of a `traceparent`: its trace id and flags; None when it is not valid, so the trace starts anew.

    See section 3.2 of the specification.
    """
    length = len(text)
    if length != 55:
        if not 55 < length <= _MAX_TRACEPARENT:
            return None
        text = text.strip(_WHITE)  # and no other white space: a trailing newline is not valid
        length = len(text)
        if length < 55:
            return None
    trace_id = text[3:35]
    if (
        text.encode("utf-8", "replace").translate(AS_FORM)[:55] != _FORM
        or trace_id == "00000000000000000000000000000000"
        or text[36:52] == "0000000000000000"
        or text[:2] == "ff"
    ):
        return None
    # Section 3.2.4: version 00 is exactly this long; a later one may go on behind a dash. A comma shows that a server
    # has joined two headers, and of two none is valid.
    if length > 55 and (text[:2] == "00" or text[55] != "-" or "," in text):
        return None
    flags = text[53:55]
    return trace_id, _FLAGS[flags] if flags in _FLAGS else int(flags, 16) & _KNOWN_FLAGS


def read_members(values: Iterable[str]) -> list[Member]:
    """Read the values of all `tracestate` headers, in order; empty when any of them is not valid.

    See section 3.3 of the specification. Of members with the same key the first counts.
    """
    return parse_members(values) or []


def parse_members(values: Iterable[str], *, count: int = 0) -> list[Member] | None:
    """As `read_members`, but None when they are not valid.

    Args:
        values: What was not read yet.
        count: How many members were.
    """
    members: dict[str, str] = {}
    size = 0
    for value in values:
        size += len(value)
        if size > _MAX_INPUT:
            return None
        for part in value.split(","):
            member = part.strip(_WHITE)
            if not member:  # section 3.3.1: empty members are allowed
                continue
            key, equals, content = member.partition("=")
            count += 1
            if count > MAX_MEMBERS or not equals or not _is_key(key) or not _is_value(content):
                return None
            members.setdefault(key, content)
    return list(members.items())


def _is_key(text: str) -> bool:
    return 0 < len(text) <= 256 and text[0] in _KEY_START and not text.strip(_KEY)


def _is_value(text: str) -> bool:
    # Leading spaces belong to the value, and a value of nothing else cannot be: the white space around it is gone.
    return 0 < len(text) <= 256 and text.isascii() and text.isprintable() and "=" not in text


def format_members(ours: list[Member], others: Iterable[Member]) -> str:
    """Write a `tracestate`: our members to the left, as far as there is room others' behind them.

    Section 3.3.3.1: where there are too many, the right-most go; where they are too long, long ones go first.
    """
    written = [f"{key}={value}" for key, value in others]
    del written[MAX_MEMBERS - len(ours) :]
    excess = len(",".join(written)) - MAX_STATE
    if excess > 0:
        _shorten(written, excess)
    return ",".join([*[f"{key}={value}" for key, value in ours], *written])


def _shorten(members: list[str], excess: int) -> None:
    for shortest in (_LONG_MEMBER, 0):
        for place in range(len(members) - 1, -1, -1):
            if excess > 0 and len(members[place]) > shortest:
                excess -= len(members.pop(place)) + 1
