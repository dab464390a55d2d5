"""Events: the names of the facts that are recorded, and their encoding.

An event is one line of JSON. Its envelope - format version, type, run, time, sequence - is the journal's; the fields
after it are encoded here. Whatever a program hands over is first made *plain*: a bounded tree of JSON values, of which
nothing can be a cycle, a lone surrogate, an object whose `repr` raises, or 100 MB. What had to be cut says so in the
record, and the event carries the number of cuts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from json.encoder import JSONEncoder, encode_basestring
from typing import TYPE_CHECKING, Any, Final, cast

from agent_run_id.ids import RunId

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "BUNDLE_STARTED",
    "FORMAT_VERSION",
    "MAX_LEVELS",
    "MAX_TEXT",
    "MAX_VALUES",
    "OUTCOME",
    "PROCESS_STARTED",
    "RUN_ACCEPTED",
    "RUN_DECISION",
    "RUN_ENDED",
    "RUN_PAUSED",
    "RUN_QUEUED",
    "RUN_RESUMED",
    "RUN_STARTED",
    "RUN_STEP",
    "RUN_UPDATED",
    "RUN_USAGE",
    "STARTS",
    "Shaped",
    "encode_fields",
    "encode_fixed",
    "encode_line",
    "finite",
    "listed",
    "plain",
    "set_scrub",
]

FORMAT_VERSION: Final = 1

BUNDLE_STARTED: Final = "bundle.started"
PROCESS_STARTED: Final = "process.started"
RUN_STARTED: Final = "run.started"
RUN_QUEUED: Final = "run.queued"
RUN_ACCEPTED: Final = "run.accepted"
RUN_PAUSED: Final = "run.paused"
RUN_RESUMED: Final = "run.resumed"
RUN_UPDATED: Final = "run.updated"
RUN_ENDED: Final = "run.ended"
RUN_STEP: Final = "run.step"
RUN_DECISION: Final = "run.decision"
OUTCOME: Final = "run.decision.outcome"
RUN_USAGE: Final = "run.usage"

STARTS: Final = (RUN_STARTED, RUN_QUEUED)  # a tuple: of what is read, the type may be anything
"""The types of events with which a run begins."""

MAX_TEXT: Final = 262_144
"""The most characters one event records of the texts it is given, all together."""
MAX_VALUES: Final = 10_000
"""The most values one event records, all together."""
MAX_LEVELS: Final = 32
"""The deepest a recorded value is nested."""

_AS_TEXT: Final = frozenset(
    {"datetime", "decimal", "fractions", "ipaddress", "pathlib", "pathlib._local", "uuid", "re"}
)
_LARGEST_INT: Final = 2**63
_BEYOND: Final = 4096  # how much of a text that will be cut the scrub sees behind the cut

_encode = JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":")).encode
_scrub: Callable[[str], str] | None = None


def set_scrub(scrub: Callable[[str], str] | None) -> None:
    """Pass every recorded text through `scrub` before it is encoded; None passes it as it is."""
    global _scrub
    _scrub = scrub


def encode_line(line: str) -> bytes:
    """The bytes of one line: UTF-8, a lone surrogate as the six characters of its escape."""
    try:
        return line.encode()
    except UnicodeEncodeError:
        # Inside a JSON text `\\udc80` reads back as the backslash and five characters, never as half a character.
        return b"".join(
            f"\\\\u{ord(char):04x}".encode() if 0xD800 <= ord(char) <= 0xDFFF else char.encode() for char in line
        )


class Shaped(dict[str, Any]):
    """A mapping whose keys are ours, and are recorded as they are."""


def encode_fixed(fields: Mapping[str, Any]) -> str:
    """Encode fields that are ours, not the program's: they are neither bounded nor scrubbed; None is left out."""
    return "".join(f',"{name}":{_encode(value)}' for name, value in fields.items() if value is not None)


def encode_fields(fields: Mapping[str, Any]) -> str:
    """Encode the fields of one event as the inside of a JSON object with a leading comma; None is left out.

    Never raises, whatever the values are and do. The fields share one bound, so what may be large comes last.
    """
    budget = _Budget()
    parts: list[str] = []
    for name, value in fields.items():
        if value is not None:
            tree = budget.plain(value, 0)
            parts.append(f',"{name}":{encode_basestring(tree) if type(tree) is str else _encode(tree)}')
    if budget.cuts:
        parts.append(f',"cuts":{budget.cuts}')
    return "".join(parts)


def plain(value: Any) -> Any:
    """Make a bounded tree of JSON values out of any value. Never raises."""
    return _Budget().plain(value, 0)


def listed(values: Any) -> list[Any]:
    """What a caller gave for a list: its items; of a lone value, such as a text, a list of one; of None, nothing."""
    if values is None or isinstance(values, str | bytes | Mapping):
        return [] if values is None else [values]
    try:
        return list(islice(values, MAX_VALUES))
    except Exception:
        return [values]


class _Budget:
    """What one event may still record, and how often something had to be cut."""

    __slots__ = ("cuts", "path", "text", "values")

    def __init__(self) -> None:
        self.text = MAX_TEXT
        self.values = MAX_VALUES
        self.cuts = 0
        self.path: set[int] = set()

    def plain(self, value: Any, level: int) -> Any:
        self.values -= 1
        if self.values < 0 or level > MAX_LEVELS:
            self.cuts += 1
            return "… [cut: too many values]" if self.values < 0 else "… [cut: nested too deep]"
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if kind is str:
            return self._text(value)
        if value is None or kind is bool:
            return value
        if kind is int and -_LARGEST_INT <= value < _LARGEST_INT:
            return value
        try:
            return self._converted(value, level)
        except Exception as error:
            return self._text(f"<{_name_of(kind)}: cannot be recorded: {_name_of(type(error))}>")

    def _converted(self, value: Any, level: int) -> Any:  # noqa: C901 - one flat table of types
        kind = type(value)  # pyright: ignore[reportUnknownVariableType]
        if isinstance(value, float):
            return finite(float(value))
        if isinstance(value, Mapping):
            return self._inside(value, level, self._mapping)
        if isinstance(value, list | tuple | set | frozenset):
            return self._inside(value, level, self._sequence)
        if isinstance(value, RunId):
            return value.token
        if isinstance(value, BaseException):
            return {"type": self._text(_name_of(kind)), "message": self._text(str(value))}
        if isinstance(value, bytes | bytearray):
            return self._text(f"<{len(value)} bytes: {bytes(value[:256])!r}>")
        fields = _fields(value)
        if fields is not None:
            return self._inside(value, level, lambda _, below: self._mapping(fields, below))
        if _is_enum(value) or _is_scalar(value):
            return self.plain(value.value if _is_enum(value) else value.item(), level + 1)
        if isinstance(value, str):
            return self._text(str.__str__(value))
        if isinstance(value, int):
            return self._int(value)
        if kind.__module__ in _AS_TEXT:
            return self._text(str(value))
        return self._text(repr(value))

    def _inside(self, value: Any, level: int, convert: Callable[[Any, int], Any]) -> Any:
        if id(value) in self.path:
            self.cuts += 1
            return "… [cut: contains itself]"
        self.path.add(id(value))
        try:
            return convert(value, level + 1)
        finally:
            self.path.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], level: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        ours = type(value) is Shaped
        for key, item in value.items():
            name = key if ours else self.plain(key, level)
            if type(name) is not str:
                name = self._text(str(name))
            result[name] = self.plain(item, level)
            if self.values < 0:
                break
        return result

    def _sequence(self, value: Iterable[Any], level: int) -> list[Any]:
        result: list[Any] = []
        for item in value:
            result.append(self.plain(item, level))
            if self.values < 0:
                break
        return result

    def _text(self, text: str) -> str:
        length = len(text)
        more = length - self.text
        if _scrub is not None:
            # Before it is cut, or half a secret would stand at the end; only what comes near to being recorded.
            text = _scrubbed(_scrub, text[: self.text + _BEYOND])
        if more > 0:
            self.cuts += 1
            text = f"{text[: self.text]}… [cut: {more} more characters]"
            length = self.text
        self.text -= length
        return text

    def _int(self, value: int) -> Any:
        number = int.__int__(value)
        if -_LARGEST_INT <= number < _LARGEST_INT:
            return number
        bits = number.bit_length()
        return self._text(str(number) if bits <= 1024 else f"<int of {bits} bits>")


def _scrubbed(scrub: Callable[[str], str], text: str) -> str:
    """Fails closed: a text the redactor cannot handle is not recorded."""
    try:
        clean = scrub(text)
    except Exception as error:
        return f"<not recorded: scrub raised {type(error).__name__}>"
    return clean if type(clean) is str else f"<not recorded: scrub returned {type(clean).__name__}>"


def finite(number: float) -> float | str:
    """The number, or its name in text where JSON has none for it."""
    if number != number:
        return "NaN"
    if number in (float("inf"), float("-inf")):
        return "Infinity" if number > 0 else "-Infinity"
    return number


def _fields(value: Any) -> dict[str, Any] | None:
    """The fields of a pydantic model or a dataclass that may be shown, without running their code; else None."""
    kind = cast("type[object]", type(value))
    models: Mapping[str, Any] | None = getattr(kind, "__pydantic_fields__", None)
    if models is not None:
        shown = [name for name, field in models.items() if field.repr and not field.exclude]
        return {name: getattr(value, name) for name in shown}
    if getattr(getattr(kind, "__dataclass_params__", None), "repr", False):  # without, it shows itself as it wants to
        dataclasses = sys.modules["dataclasses"]  # it made the class
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.repr}
    return None


def _name_of(kind: Any) -> str:
    """The name of a class, whatever its metaclass makes of it."""
    name: str = type.__dict__["__name__"].__get__(kind)
    return name


def _is_enum(value: Any) -> bool:
    enum = sys.modules.get("enum")  # no enum exists where it was never imported
    return enum is not None and isinstance(value, enum.Enum)


def _is_scalar(value: Any) -> bool:
    """Whether this is a scalar of numpy or of one of its relatives."""
    return getattr(value, "shape", None) == () and hasattr(value, "dtype")
