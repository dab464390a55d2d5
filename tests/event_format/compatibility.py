"""Whether a later schema of the format may take the place of one that was published, within one version of the format.

Two things must hold, by docs/versioning.md. The later schema accepts every line that an earlier writer could write, for
journals are read for ever. And whoever goes by the earlier schema can read what a later writer writes. So of what was
published nothing may change but the words: what is narrowed refuses earlier lines, what is widened is refused by
earlier readers. Types and optional fields may be added: the earlier schema is open, and lets them pass.

It is strict where it does not understand: a keyword it does not know has to stay as it was.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    Schema = Mapping[str, Any]
    _Pairs = frozenset[tuple[str, str]]
    """Which parts are being compared already, further up."""

__all__ = ["incompatibilities"]

_WORDS: Final = frozenset({"$schema", "$comment", "$defs", "title", "description", "examples", "default", "deprecated"})
_LEAST: Final = frozenset({"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"})
_MOST: Final = frozenset({"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"})
_BRANCHES: Final = frozenset({"anyOf", "oneOf"})
_REFUSES: Final = "an earlier line may be refused"
_REFUSED: Final = "an earlier reader may refuse a later line"
_INNER: Final = frozenset({"items", "additionalProperties"})
_HANDLED: Final = frozenset({"type", "enum", "const", "required", "properties", "allOf"})
_EVERY: Final = ("array", "boolean", "integer", "null", "number", "object", "string")


class _Side(NamedTuple):
    """A part of one of the two schemas, and the whole it refers into."""

    schema: Schema
    whole: Schema

    def at(self, inner: Any) -> _Side:
        """The part that `inner` stands for, with the reference followed that it is."""
        schema = {} if inner is True else {"not": {}} if inner is False else inner
        while "$ref" in schema:
            meant = self.meant(schema["$ref"])
            beside = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
            if meant.keys() & beside.keys() - _WORDS:  # both hold, and which is the stricter one is not decided here
                return _Side({"allOf": [meant, beside]}, self.whole)
            schema = {**meant, **beside}
        return _Side(schema, self.whole)

    def meant(self, reference: str) -> Schema:
        """What a reference leads to."""
        meant: Schema = self.whole.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {"leads to": "nothing"})
        return meant

    def text(self, keyword: str) -> str:
        """Everything that a keyword says, with what it refers to."""
        return _text([self._spelt_out(self.schema[keyword], frozenset())] if keyword in self.schema else [])

    def _spelt_out(self, value: Any, above: frozenset[str]) -> Any:
        if isinstance(value, list):
            return [self._spelt_out(item, above) for item in value]
        if not isinstance(value, dict):
            return value
        spelt_out = {name: self._spelt_out(inner, above) for name, inner in value.items()}
        reference = value.get("$ref")
        if isinstance(reference, str) and reference not in above:
            spelt_out["$ref"] = self._spelt_out(self.meant(reference), above | {reference})
        return spelt_out

    def get(self, keyword: str, default: Any) -> Any:
        return self.schema.get(keyword, default)


def incompatibilities(published: Schema, later: Schema) -> list[str]:
    """What is wrong with `later` in the place of `published`: where, and for whom; nothing when it may take it."""
    return list(_compare(_Side(published, published).at(published), _Side(later, later).at(later), "line", frozenset()))


def _compare(old: _Side, new: _Side, path: str, above: _Pairs) -> Iterator[str]:
    pair = (_text(old.schema), _text(new.schema))
    if pair in above:  # a definition that contains itself
        return
    above |= {pair}
    yield from _types(old, new, path)
    yield from _values(old, new, path)
    yield from _required(old, new, path)
    yield from _properties(old, new, path, above)
    yield from _cases(old, new, path, above)
    for keyword in sorted((_keywords(old) | _keywords(new)) - _HANDLED):
        if keyword in _LEAST | _MOST:
            yield from _bound(keyword, old, new, path)
        elif keyword in _BRANCHES:
            yield from _branches(keyword, old, new, path, above)
        elif keyword in _INNER:
            yield from _compare(old.at(old.get(keyword, True)), new.at(new.get(keyword, True)), f"{path}[]", above)
        elif old.text(keyword) != new.text(keyword):
            yield f"{path}: {keyword} has changed, and nobody can tell what that does"


def _keywords(side: _Side) -> frozenset[str]:
    return frozenset(side.schema) - _WORDS


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _types(old: _Side, new: _Side, path: str) -> Iterator[str]:
    before, after = _types_of(old), _types_of(new)
    if before - after:
        yield f"{path}: no longer of type {', '.join(sorted(before - after))}; {_REFUSES}"
    if after - before:
        yield f"{path}: now also of type {', '.join(sorted(after - before))}; {_REFUSED}"


def _types_of(side: _Side) -> frozenset[str]:
    given = side.get("type", _EVERY)
    types = frozenset([given] if isinstance(given, str) else given)
    return types | {"integer"} if "number" in types else types


def _values(old: _Side, new: _Side, path: str) -> Iterator[str]:
    before, after = _values_of(old), _values_of(new)
    if after is not None and (before is None or before - after):
        yield f"{path}: no longer every one of its values; {_REFUSES}"
    if before is not None and (after is None or after - before):
        yield f"{path}: now also other values; {_REFUSED}"


def _values_of(side: _Side) -> frozenset[str] | None:
    """The only values there are; None where there may be others."""
    if "const" in side.schema:
        return frozenset([_text(side.schema["const"])])
    return frozenset(map(_text, side.schema["enum"])) if "enum" in side.schema else None


def _required(old: _Side, new: _Side, path: str) -> Iterator[str]:
    before, after = set(old.get("required", ())), set(new.get("required", ()))
    for name in sorted(after - before):
        yield f"{path}.{name}: now required; {_REFUSES}"
    for name in sorted(before - after):
        yield f"{path}.{name}: no longer required; {_REFUSED}"


def _properties(old: _Side, new: _Side, path: str, above: _Pairs) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name, field in before.items():
        if name in after:
            yield from _compare(old.at(field), new.at(after[name]), f"{path}.{name}", above)
        else:
            yield f"{path}.{name}: removed; an earlier reader waits for it"
    is_open = before and not _keywords(old.at(old.get("additionalProperties", True)))
    for name in sorted(after.keys() - before.keys()):
        if name in old.get("required", ()):
            yield f"{path}.{name}: was there before, and could be anything; {_REFUSES}"
        elif not is_open:
            yield f"{path}.{name}: added, where all names are the program's, or no others are allowed; {_REFUSES}"


def _bound(keyword: str, old: _Side, new: _Side, path: str) -> Iterator[str]:
    sign = 1 if keyword in _LEAST else -1
    before, after = (sign * side.get(keyword, -sign * float("inf")) for side in (old, new))
    if after > before:
        yield f"{path}: {keyword} is narrower; {_REFUSES}"
    elif after < before:
        yield f"{path}: {keyword} is wider; {_REFUSED}"


def _branches(keyword: str, old: _Side, new: _Side, path: str, above: _Pairs) -> Iterator[str]:
    before = [old.at(branch) for branch in old.get(keyword, [True])]
    after = [new.at(branch) for branch in new.get(keyword, [True])]
    same = {
        (place, other)
        for place, one in enumerate(before)
        for other, two in enumerate(after)
        if not any(_compare(one, two, path, above))
    }
    if {place for place, _ in same} != set(range(len(before))):
        yield f"{path}: a branch of {keyword} is gone or has changed; {_REFUSES}"
    if {other for _, other in same} != set(range(len(after))):
        yield f"{path}: a branch of {keyword} is new or has changed; {_REFUSED}"


def _cases(old: _Side, new: _Side, path: str, above: _Pairs) -> Iterator[str]:
    """What holds in which case: for which type of line."""
    before, after = _cases_of(old), _cases_of(new)
    if before is None or after is None:
        if old.text("allOf") != new.text("allOf"):
            yield f"{path}: allOf has changed, and nobody can tell what that does"
        return
    for condition, then in before.items():
        name = _type_meant(condition) or "any other type"
        if condition in after:
            yield from _compare(old.at(then), new.at(after[condition]), f"{path}<{name}>", above)
        else:
            yield f"{path}<{name}>: removed; an earlier reader waits for it"
    for condition in after.keys() - before.keys():
        if _type_meant(condition) is None:
            yield f"{path}: something new is asked for in the case of {condition}; {_REFUSES}"


def _cases_of(side: _Side) -> dict[str, Any] | None:
    """What holds in each case; None where that is not all there is."""
    parts = side.get("allOf", [])
    cases = {_text(part["if"]): part["then"] for part in parts if part.keys() == {"if", "then"}}
    return cases if len(cases) == len(parts) else None


def _type_meant(condition: str) -> str | None:
    """The type, where the case is that a line has just this one."""
    case = json.loads(condition)
    name: str | None = case.get("properties", {}).get("type", {}).get("const")
    return name if case == {"properties": {"type": {"const": name}}, "required": ["type"]} else None
