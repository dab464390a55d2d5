"""Run ids: the identity of a run, with its lineage, at constant size.

A `RunId` knows its own id, its parent's, its root's and its depth, all of them values: never a reference to a live
parent, so a chain of a thousand runs keeps nothing alive and costs a carrier no more than a chain of one.

Its one text form with lineage is the *token*: the bare id for a root, ``<id>.<parent>.<root>.<depth>`` otherwise.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final, NoReturn, final

from agent_run_id.errors import InvalidRunIdError, InvalidTokenError, RunDepthError
from agent_run_id.w3c import AS_FORM

if TYPE_CHECKING:
    import uuid
    from collections.abc import Callable

    from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
    from pydantic_core import CoreSchema

    from agent_run_id.w3c import Trace

    NewId = Callable[["RunId | None"], str]
    Source = tuple[Callable[[int], bytes], NewId]

__all__ = ["MAX_DEPTH", "RunId", "beside", "depth_limit", "draw_from", "random_id", "random_span", "set_depth_limit"]

MAX_DEPTH: Final = 65_535
"""The deepest a run can be, whatever the configured limit: five digits on the wire."""

_NIL: Final = "00000000-0000-0000-0000-000000000000"
_CANONICAL: Final = "0123456789abcdef-"
_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_SMALL_DEPTHS: Final = {str(depth): depth for depth in range(1, 100)}
_TOKEN_FORM: Final = b"hhhhhhhh-hhhh-hhhh-hhhh-hhhhhhhhhhhh." * 3

_depth_limit = MAX_DEPTH


def depth_limit() -> int:
    """The depth beyond which `RunId.generate` refuses to make a child."""
    return _depth_limit


def set_depth_limit(limit: int) -> None:
    """Set the depth beyond which `RunId.generate` refuses; the caller has checked its range."""
    global _depth_limit
    _depth_limit = limit


# Random ids -----------------------------------------------------------------------------------------------------------

# One system call fills the pool with this many ids: `uuid.uuid4()` pays for one each. The hex digits are laid into
# place column by column, which costs 0.2 µs an id where formatting each costs 0.7.
_POOL_SIZE: Final = 256
_COLUMNS: Final = [place for place in range(36) if place not in (8, 13, 18, 23)]
_FORM: Final = bytearray(b"00000000-0000-4000-8000-000000000000\n") * _POOL_SIZE
_VERSION, _VARIANT = 14, 19
_VARIANT_DIGITS: Final = bytes.maketrans(b"0123456789abcdef", b"89ab" * 4)
_random_bytes: Callable[[int], bytes] = os.urandom
_pool: list[str] = []
_take = _pool.pop


def _more_ids() -> list[str]:
    digits = _random_bytes(16 * _POOL_SIZE).hex().encode()
    page = _FORM.copy()
    for source, place in enumerate(_COLUMNS):
        if place != _VERSION:
            page[place::37] = digits[source::32]
    page[_VARIANT::37] = page[_VARIANT::37].translate(_VARIANT_DIGITS)
    return page.decode().split()


def random_id(parent: RunId | None = None) -> str:
    """A version-4 UUID from the operating system's generator, in canonical text.

    It cannot repeat after `random.seed`, in threads, or on both sides of a fork.

    Args:
        parent: What the id is to be below. It makes no difference here; it does to what `draw_from` puts in its place.
    """
    try:
        return _take()
    except IndexError:
        pool = _pool  # before it is filled: see `draw_from`
        # Another thread may refill at the same time. The pool only ever receives ids that nobody holds: our own is
        # taken before the rest is published, so the race costs a system call and never a repeated id.
        fresh = _more_ids()
        mine = fresh.pop()
        pool.extend(fresh)
        return mine


_new_id: NewId = random_id


_spans: list[str] = []
_take_span = _spans.pop


def random_span() -> str:
    """8 random bytes as 16 hexadecimal digits, from the same source and by the same rules."""
    try:
        return _take_span()
    except IndexError:
        spans = _spans
        digits = _random_bytes(8 * _POOL_SIZE).hex()
        fresh = [digits[place : place + 16] for place in range(0, len(digits), 16)]
        mine = fresh.pop()
        spans.extend(fresh)
        return mine


def draw_from(random_bytes: Callable[[int], bytes] = os.urandom, new_id: NewId = random_id) -> Source:
    """Have ids made of something else, for tests; without arguments, by the operating system's generator.

    A forked child goes back to that by itself.

    Args:
        random_bytes: Gives so many bytes, of which ids and spans are made.
        new_id: Gives the id of a new run, in canonical text, below another one or none.

    Returns:
        What they were made of before.
    """
    global _random_bytes, _new_id, _pool, _take, _spans, _take_span
    before = _random_bytes, _new_id
    # The source before the pools, and new pools for old: what another thread draws from the one source while this goes
    # on, it adds to the pool it found before, never to that of the other.
    _random_bytes, _new_id = random_bytes, new_id
    _pool, _spans = [], []
    _take, _take_span = _pool.pop, _spans.pop
    return before


os.register_at_fork(after_in_child=draw_from)  # or parent and child would hand out the same ids


# The value ------------------------------------------------------------------------------------------------------------


class _Draft:
    """What a `RunId` is made of, before it is one: there its attributes cannot be set any more."""

    __slots__ = ("__weakref__", "depth", "parent_id", "root_id", "trace", "value")

    value: str
    parent_id: str | None
    root_id: str
    depth: int
    trace: Trace | None

    def __init__(self, value: str, parent_id: str | None, root_id: str, depth: int, trace: Trace | None) -> None:
        self.value = value
        self.parent_id = parent_id
        self.root_id = root_id
        self.depth = depth
        self.trace = trace


@final
class RunId(_Draft):
    """The identity of one run: its id, its parent, its root and its depth.

    `RunId(value)` is `RunId.from_string(value)`. Equality and hash are those of the id alone, so two ids compare
    equal whatever lineage each of them knows: compare `token` to compare lineage.

    Attributes:
        value: The canonical text of the UUID.
        parent_id: The canonical text of the parent's UUID, or None for a root.
        root_id: The canonical text of the UUID at the top of the tree; its own for a root.
        depth: How many runs are above this one; 0 for a root.
        trace: What of somebody else's W3C trace the whole tree has to take along; None when the trace began with us.
            It goes where the id goes in this program and in headers, not into the token.
    """

    __slots__ = ()

    def __new__(cls, value: str | uuid.UUID) -> RunId:
        """Make an id from the text of a UUID; see `from_string`."""
        text = _canonical(value)
        return _build(text, None, text, 0)

    def __init__(self, value: str | uuid.UUID) -> None:
        """`__new__` has made it."""

    @classmethod
    def generate(cls, parent: RunId | None = None) -> RunId:
        """Make a new random id: a root, or a child of `parent`.

        Args:
            parent: The run above the new one; None makes a root.

        Raises:
            RunDepthError: `parent` is already as deep as the configured limit allows.
        """
        value = _new_id(parent)
        if parent is None:
            return _build(value, None, value, 0)
        depth = parent.depth + 1
        if depth > _depth_limit:
            raise RunDepthError(
                f"run {parent.value} is at depth {parent.depth} and the limit is {_depth_limit}: agents probably start "
                "each other without end; if the nesting is meant, raise it with configure(max_depth=…)"
            )
        return _build(value, parent.value, parent.root_id, depth, parent.trace)

    def in_trace(self, trace: Trace | None) -> RunId:
        """The same id as part of somebody else's W3C trace, as are all that come below it."""
        return _build(self.value, self.parent_id, self.root_id, self.depth, trace)

    @classmethod
    def from_string(cls, s: str | uuid.UUID) -> RunId:
        """Read the text of a UUID, in any form that `uuid.UUID` accepts and of any version.

        The text of a bare UUID says nothing about lineage: the result is its own root until a record says otherwise.

        Raises:
            InvalidRunIdError: (a `ValueError`) `s` is not a UUID, or is the nil UUID.
        """
        return cls(s)

    @classmethod
    def from_token(cls, text: str) -> RunId:
        """Read a token: a bare canonical UUID, or ``<id>.<parent>.<root>.<depth>``.

        Raises:
            InvalidTokenError: (a `ValueError`) `text` is not a token; the message says which part is wrong.
        """
        if not isinstance(text, str):
            raise InvalidTokenError(f"a token is a str, not {type(text).__name__}")
        if len(text) == 36:
            return _build(_part(text, "id"), None, text, 0)
        value, parent, root = text[:36], text[37:73], text[74:110]
        if (
            len(text) > 116
            or text.encode("utf-8", "replace").translate(AS_FORM)[:111] != _TOKEN_FORM
            or _NIL in (value, parent, root)
        ):
            _refuse_token(text)
        depth = _SMALL_DEPTHS.get(text[111:]) or _depth(text[111:])
        if value in (parent, root):
            raise InvalidTokenError(f"the id of a child differs from its parent and its root: {_shown(text)}")
        if (depth == 1) != (parent == root):
            raise InvalidTokenError(f"the parent is the root at depth 1, and only there: {_shown(text)}")
        return _build(value, parent, root, depth)

    @property
    def token(self) -> str:
        """The id with its lineage as one text, at most 116 characters; `from_token` reads it."""
        if self.parent_id is None:
            return self.value
        return f"{self.value}.{self.parent_id}.{self.root_id}.{self.depth}"

    @property
    def is_root(self) -> bool:
        """Whether no run is above this one."""
        return self.parent_id is None

    def short(self) -> str:
        """The first 8 characters, for a log line."""
        return self.value[:8]

    def __str__(self) -> str:
        return self.value

    def __repr__(self) -> str:
        if self.parent_id is None:
            return f"RunId({self.value!r})"
        return f"RunId.from_token({self.token!r})"

    def __format__(self, spec: str) -> str:
        return format(self.value, spec)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, RunId):
            return self.value == other.value
        return NotImplemented

    def __hash__(self) -> int:
        return hash(self.value)

    def __copy__(self) -> RunId:
        return self

    def __deepcopy__(self, memo: dict[int, object]) -> RunId:
        return self

    def __reduce__(self) -> tuple[Callable[..., RunId], tuple[object, ...]]:
        if self.trace is None:
            return (RunId.from_token, (self.token,))
        return (RunId.in_trace, (RunId.from_token(self.token), self.trace))

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a RunId is frozen: cannot set {name!r}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"a RunId is frozen: cannot delete {name!r}")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: type[Any], handler: GetCoreSchemaHandler) -> CoreSchema:
        """A field of any pydantic model: from a `RunId`, a UUID or a token; serialised as the token."""
        from pydantic_core import core_schema  # the caller is pydantic: it is loaded already

        return core_schema.no_info_plain_validator_function(
            _validated, serialization=core_schema.plain_serializer_function_ser_schema(lambda run_id: run_id.token)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """A string: the token of the run id."""
        return {
            "type": "string",
            "title": "RunId",
            "description": "The token of a run: its id, or <id>.<parent>.<root>.<depth>.",
            "pattern": rf"^{_UUID}(\.{_UUID}\.{_UUID}\.[1-9][0-9]{{0,4}})?$",
            "maxLength": 116,
        }


def _build(value: str, parent_id: str | None, root_id: str, depth: int, trace: Trace | None = None) -> RunId:
    # `RunId.__setattr__` refuses. To go around it through the slots costs twice as much as to change the class.
    draft: Any = _Draft(value, parent_id, root_id, depth, trace)
    draft.__class__ = RunId
    run_id: RunId = draft
    return run_id


def beside(run_id: RunId, value: str | None = None) -> RunId:
    """An id with the same parent as another one.

    Args:
        run_id: The other one; beside a root stands another root.
        value: The canonical text of its UUID; a new one by default.
    """
    value = value or _new_id(None)
    root = value if run_id.parent_id is None else run_id.root_id
    return _build(value, run_id.parent_id, root, run_id.depth, run_id.trace)


def _is_canonical(text: str) -> bool:
    return (
        len(text) == 36
        and text[8] == text[13] == text[18] == text[23] == "-"
        and text.count("-") == 4
        and not text.strip(_CANONICAL)  # strips from both ends: nothing is left when nothing else was there
    )


def _canonical(value: str | uuid.UUID) -> str:
    text = value if isinstance(value, str) and _is_canonical(value) else _normalised(value)
    if text == _NIL:
        raise InvalidRunIdError("the nil UUID is not a run id; RunId.generate() makes one")
    return text


def _normalised(value: str | uuid.UUID) -> str:
    import uuid  # here, because a program whose ids are canonical never needs it

    if isinstance(value, uuid.UUID):
        return str(value)
    if not isinstance(value, str):
        raise InvalidRunIdError(
            f"a run id is the text of a UUID, not {type(value).__name__}; RunId.generate() makes one"
        )
    try:
        return str(uuid.UUID(value))
    except ValueError:
        hint = "; RunId.from_token() reads an id with its lineage" if value.count(".") == 3 else ""
        raise InvalidRunIdError(f"a run id is the text of a UUID, not {_shown(value)}{hint}") from None


def _refuse_token(text: str) -> NoReturn:
    """Say which part of a text makes it no token."""
    parts = text.split(".", 4) if len(text) <= 128 else []
    if len(parts) == 4:
        for part, name in zip(parts, ("id", "parent", "root"), strict=False):
            _part(part, name)
        _depth(parts[3])
    raise InvalidTokenError(f"a token is '<id>' or '<id>.<parent>.<root>.<depth>', not {_shown(text)}")


def _part(text: str, name: str) -> str:
    if not _is_canonical(text):
        raise InvalidTokenError(f"the {name} of a token is a lower-case hyphenated UUID, not {_shown(text)}")
    if text == _NIL:
        raise InvalidTokenError(f"the {name} of a token cannot be the nil UUID")
    return text


def _depth(text: str) -> int:
    if not (1 <= len(text) <= 5 and text.isascii() and text.isdigit() and text[0] != "0" and int(text) <= MAX_DEPTH):
        raise InvalidTokenError(
            f"the depth of a token is a number from 1 to {MAX_DEPTH} without leading zeros, not {_shown(text)}"
        )
    return int(text)


def _shown(text: str) -> str:
    return repr(text) if len(text) <= 160 else f"{text[:120]!r}… ({len(text)} characters)"


def _validated(value: object) -> RunId:
    if isinstance(value, RunId):
        return value
    if isinstance(value, str) and "." in value:
        return RunId.from_token(value)
    return RunId(value)  # type: ignore[arg-type]  # refuses whatever is not a UUID, with a message
