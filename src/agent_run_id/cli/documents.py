"""Documents: the answers of `runid` as JSON. ASCII only, a record on each line, times in UTC, lengths in seconds."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from agent_run_id.tree import Tree

__all__ = ["array", "encoded", "instant", "nested", "object_of"]


def encoded(value: Any) -> str:
    """One value on one line; what is not ASCII is escaped, and so are control characters."""
    try:
        return json.dumps(value, default=_plain, allow_nan=False)
    except ValueError:  # a journal that was not written by this library holds a number that JSON has not
        return json.dumps(json.loads(json.dumps(value, default=_plain), parse_constant=str))


def array(values: Iterable[Any]) -> str:
    """An array with one element on each line."""
    lines = ",\n".join(map(encoded, values))
    return f"[\n{lines}\n]" if lines else "[]"


def object_of(members: Mapping[str, str]) -> str:
    """An object of members that are encoded already."""
    return "{" + ",\n".join(f"{encoded(name)}: {text}" for name, text in members.items()) + "}"


def nested(tree: Tree, *, max_depth: int | None = None) -> Iterator[str]:
    """The pieces of a tree as an object with its children inside, and theirs inside them, however deep.

    Args:
        tree: The tree.
        max_depth: How many levels below the first; None for all.
    """
    usages = tree.usages()
    pending: list[tuple[Tree | str, int]] = [(tree, 0)]
    while pending:
        node, depth = pending.pop()
        if isinstance(node, str):
            yield node
            continue
        own = {**node.record.model_dump(), "detached": node.detached, "total_usage": usages[node.record.id]}
        yield f'{encoded(own)[:-1]}, "children": ['
        pending.append(("]}", depth))
        children = node.children if max_depth is None or depth < max_depth else ()
        for place in range(len(children) - 1, -1, -1):
            pending += [(children[place], depth + 1), ("\n" if place == 0 else ",\n", depth)]


def instant(when: datetime) -> str:
    """A moment as it stands in every document: ISO 8601 in UTC, to the microsecond."""
    return f"{when.astimezone(UTC):%Y-%m-%dT%H:%M:%S.%f}Z"


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, timedelta):
        return value.total_seconds()
    raise TypeError(f"no JSON for {type(value).__name__}")
