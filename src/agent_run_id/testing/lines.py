"""Lines: one run in one line, as a person says what it should be, and as a drawn tree shows what it was.

A line that was written says the name and then only what matters: ``search [tool] failed key=oslo error~"no answer"``. A
line of `Tree.render` says everything, and so everything in it is compared but what differs each time: ids and times.
"""

from __future__ import annotations

import ast
import json
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, get_args

from agent_run_id.errors import InvalidTreeTextError
from agent_run_id.rendering import SYMBOLS, clean
from agent_run_id.schema import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.schema import RunRecord
    from agent_run_id.tree import Tree

__all__ = ["Printed", "Said", "Written", "is_printed", "line_of", "read_line"]

_NOT_RECORDED: Final = "(not recorded)"
_UNKNOWN: Final = "unknown"
_STATUSES: Final[dict[str, Status | None]] = {**{status: status for status in get_args(Status)}, _UNKNOWN: None}
_BY_SYMBOL: Final[dict[str, Status | None]] = {symbol: status for status, symbol in SYMBOLS.items()}
_TEXTS: Final = ("key", "user_id", "session_id", "summary")
_VALUES: Final = ("input", "output", "attributes", "tags", "attempt")
_LONGEST: Final = 120

_QUOTED: Final = r'"(?:[^"\\]|\\.)*"|' + r"'(?:[^'\\]|\\.)*'"
_DETAIL: Final = re.compile(
    rf"\[(?P<kind>{_QUOTED}|[^\]]*)\](?!\S)|[×x](?P<times>[1-9]\d{{0,3}})(?!\S)|(?P<field>[a-z_]+)(?P<how>[=~])"
)
_STRING: Final = re.compile(_QUOTED)
_WORD: Final = re.compile(r"\S+")
_KIND: Final = re.compile(r"[\w.:/-]+")
_PLAIN: Final = re.compile(r"[^\s\"'\[\]{]\S*")

_PRINTED: Final = re.compile(r"(?:[✓✗⊘☠▶⏸…]|\?) .*? \[[0-9a-f]{8}\] ")
_VOLATILE: Final = (
    (re.compile(r"(?<=\[)[0-9a-f]{8}(?=\])|(?<=after )[0-9a-f]{8}|(?<=duplicate of )[0-9a-f]{8}"), "id"),
    (re.compile(r"\b(?:\d+ µs|\d+ ms|[\d.]+ s|\d+ m \d\d s|\d+ h \d\d m|\d+ d \d\d h)(?!\w)"), "duration"),
    (re.compile(r"\b(?:\d{4}-\d\d-\d\d|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d|\d\d:\d\d:\d\d)\b"), "time"),
)


class Said(NamedTuple):
    """What a line says of a run beside its name and status: a field, how it is compared, and with what."""

    field: str
    how: str
    value: Any

    def holds(self, record: RunRecord) -> bool:
        """Whether it is so."""
        is_so = _value_of(self.field, record)
        if self.how == "~":
            return isinstance(is_so, str) and self.value in is_so
        return _comparable(is_so) == _comparable(self.value)


class Written(NamedTuple):
    """A run as a person writes it.

    Attributes:
        name: Its name; None for one whose start was not recorded.
        status: What became of it; None for one of which neither start nor end was recorded.
        said: What else is compared.
    """

    name: str | None
    status: Status | None
    said: tuple[Said, ...] = ()

    def meets(self, node: Tree) -> bool:
        """Whether a recorded run is what the line says."""
        return not self.differing(node)

    def differing(self, node: Tree) -> list[str]:
        """In what a recorded run is not what the line says."""
        record = node.record
        fields = ["name"] * (record.name != self.name) + ["status"] * (record.status != self.status)
        return [*fields, *(said.field for said in self.said if not said.holds(record))]

    def told(self, node: Tree) -> str:
        """A recorded run in a line that can be compared with this one."""
        return line_of(node.record, also=[said.field for said in self.said])


class Printed(NamedTuple):
    """A run as a drawn tree shows it.

    Attributes:
        line: The line without what differs each time.
    """

    line: str

    def meets(self, node: Tree) -> bool:
        """Whether a recorded run is drawn like this."""
        return _without_volatile(self.told(node)) == self.line

    def differing(self, node: Tree) -> list[str]:
        """Nothing: where in a line is what, is not known."""
        return []

    def told(self, node: Tree) -> str:
        """A recorded run as it is drawn."""
        return str(next(node.rows(max_depth=0)).line)


# Reading --------------------------------------------------------------------------------------------------------------


def read_line(line: str) -> tuple[Written | Printed, int]:
    """Read what a line says of a run, and how many such runs there are to be.

    Args:
        line: The line without what it is indented by.

    Raises:
        InvalidTreeTextError: (a `ValueError`) it says something that is not understood.
    """
    if is_printed(line):
        return Printed(_without_volatile(clean(line))), 1
    marked = line[:2] if line[:1] in _BY_SYMBOL and line[1:2] == " " else ""
    line = line[len(marked) :].lstrip()
    name, place = _name(line)
    said: list[Said] = []
    statuses: list[Status | None] = [_BY_SYMBOL[marked[0]]] if marked else []
    times = 1
    while place < len(line):
        word = _WORD.match(line, place)
        if word is None:
            place += 1
        elif word[0] in _STATUSES:
            statuses.append(_STATUSES[word[0]])
            place = word.end()
        else:
            found, place, times = _detail(line, place, times)
            said += found
    if len(set(statuses)) > 1:
        raise InvalidTreeTextError(f"a run has one status, not {' and '.join(str(s or _UNKNOWN) for s in statuses)}")
    return Written(name, statuses[0] if statuses else "succeeded", tuple(said)), times


def is_printed(line: str) -> bool:
    """Whether a line is one of a drawn tree: a symbol, a name, the beginning of an id, and more."""
    return _PRINTED.match(line) is not None


def _name(line: str) -> tuple[str | None, int]:
    """The name a line begins with, and where it ends."""
    if line[:1] in ('"', "'"):
        return _string(line, 0)
    end = 0
    for word in _WORD.finditer(line):
        if word[0] in _STATUSES or _DETAIL.match(line, word.start()):
            break
        end = word.end()
    if end == 0:
        raise InvalidTreeTextError(
            f"a line begins with the name of a run: if {line[:_LONGEST]!r} begins with one, it stands in quotes"
        )
    return (None if line[:end] == _NOT_RECORDED else line[:end]), end


def _detail(line: str, place: int, times: int) -> tuple[list[Said], int, int]:
    """What is said at a place, where that ends, and how many such runs there are to be."""
    found = _DETAIL.match(line, place)
    if found is None:
        _refuse(line[place:].split()[0])
    if found["times"]:
        return [], found.end(), int(found["times"])
    if found["kind"] is not None:
        kind = found["kind"]
        return [Said("kind", "=", _string(kind, 0)[0] if kind[:1] in ('"', "'") else kind)], found.end(), times
    field, how = found["field"], found["how"]
    if field not in ("error", *_TEXTS, *_VALUES) or (how == "~" and field in _VALUES):
        _refuse(f"{field}{how}")
    value, end = _value(field, line, found.end())
    return [Said(field, how, value)], end, times


def _refuse(what: str) -> NoReturn:
    fields = ", ".join(f"{field}=" for field in ("error", *_TEXTS, *_VALUES))
    raise InvalidTreeTextError(
        f"{what!r} is not understood: behind the name stand [kind], a status ({', '.join(_STATUSES)}), ×3, {fields} "
        "or, for a part of a text, error~; a name that has such words in it stands in quotes"
    )


def _value(field: str, line: str, place: int) -> tuple[Any, int]:
    if line[place : place + 1] in ('"', "'"):
        return _string(line, place)
    if field in _VALUES and line[place : place + 1] in ("{", "["):
        try:
            value, end = json.JSONDecoder(strict=False).raw_decode(line, place)
        except ValueError as error:
            raise InvalidTreeTextError(f"{field}= is no JSON: {error}") from None
        return value, end
    word = _WORD.match(line, place)
    if word is None:
        raise InvalidTreeTextError(f'nothing stands behind {field}; for no text write {field}=""')
    if field in _VALUES:
        try:
            return json.loads(word[0]), word.end()
        except ValueError:
            return ([word[0]] if field == "tags" else word[0]), word.end()
    return word[0], word.end()


def _string(line: str, place: int) -> tuple[str, int]:
    """A text in quotes, as JSON or Python write it, and where it ends."""
    found = _STRING.match(line, place)
    if found is None or line[found.end() : found.end() + 1].strip():
        raise InvalidTreeTextError(
            f"the quotes of {line[place:]!r} do not end where they should; a text with quotes, backslashes or line "
            'ends in it needs r"""…""" around the whole'
        )
    try:
        text = json.loads(found[0], strict=False) if found[0][0] == '"' else ast.literal_eval(found[0])
    except (ValueError, SyntaxError):
        raise InvalidTreeTextError(f"{found[0]} is not written as JSON or Python write a text") from None
    return str(text), found.end()


# Telling --------------------------------------------------------------------------------------------------------------


def line_of(record: RunRecord, *, also: list[str] | tuple[str, ...] = ()) -> str:
    """A run in a line that `read_line` reads: its name, and what of kind, status, key and error is out of the ordinary.

    Args:
        record: The run.
        also: Fields that are told in any case.
    """
    return " ".join(_words(record, also))


def _words(record: RunRecord, also: list[str] | tuple[str, ...]) -> Iterator[str]:
    yield _NOT_RECORDED if record.name is None else record.name if _is_bare(record.name) else _quoted(record.name)
    if record.kind is not None and ("kind" in also or record.kind != "task"):
        yield f"[{record.kind if _KIND.fullmatch(record.kind) else _quoted(record.kind)}]"
    if record.status != "succeeded":
        yield record.status or _UNKNOWN
    for field in ("key", *(field for field in also if field not in ("key", "kind", "error"))):
        value = _value_of(field, record)
        if isinstance(value, str):
            yield f"{field}={value if field in _TEXTS and _is_word(value) else _quoted(value)}"
        elif value is not None:
            yield f"{field}={json.dumps(value, ensure_ascii=False)}"
    error = _value_of("error", record)
    if error is not None and (record.status == "failed" or "error" in also):
        yield f"error={_quoted(error)}" if len(error) <= _LONGEST else f"error~{_quoted(error[:_LONGEST])}"


def _value_of(field: str, record: RunRecord) -> Any:
    if field == "error":
        error = record.error
        return None if error is None else ": ".join(part for part in (error.type, error.message) if part)
    return list(record.tags) if field == "tags" else getattr(record, field)


def _comparable(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _is_bare(name: str) -> bool:
    """Whether a name can stand without quotes."""
    if not name.isprintable() or name != name.strip() or name[:1] in ("", "◆", "…", *"\"'│├└─╌⋯") or name[:3] == "...":
        return False
    try:
        return read_line(f"{name} [k]") == (Written(name, "succeeded", (Said("kind", "=", "k"),)), 1)
    except InvalidTreeTextError:
        return False


def _is_word(text: str) -> bool:
    return text.isprintable() and _PLAIN.fullmatch(text) is not None


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _without_volatile(line: str) -> str:
    for pattern, what in _VOLATILE:
        line = pattern.sub(f"<{what}>", line)
    return line.rstrip()
