"""Spreadsheets: a tree as rows of cells, of which none can be taken for a formula."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Any, Final

from agent_run_id.cli.documents import encoded, instant
from agent_run_id.rendering import clean

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from agent_run_id.schema import UsageTotal
    from agent_run_id.tree import Tree

__all__ = ["rows"]

_WHOSE: Final = ("own", "subtree")
_RECORD: Final = (
    "id", "parent_id", "root_id", "depth", "name", "kind", "key", "status", "user_id", "session_id", "started_at",
    "ended_at", "elapsed_s",
)  # fmt: skip
_FIGURES: Final = ("calls", "input_tokens", "output_tokens")
_LAST: Final = ("error_type", "error_message", "summary", "tags")

_IS_CURRENCY: Final = re.compile("[A-Z]{3}").fullmatch
_MOST_CURRENCIES: Final = 20
_LONGEST: Final = 32_000  # characters: spreadsheets put what is beyond 32,767 into the next cells, or lose it

# In full width, small, raised and lowered, and the minus of a typesetter: some programs take these for the plain ones.
_FORMULA: Final = (
    "=+\\-@"
    "\uff1d\uff0b\uff0d\uff20"
    "\ufe66\ufe62\ufe63\ufe6b"
    "\u207c\u207a\u207b"
    "\u208c\u208a\u208b"
    "\u2212\ufb29"
)  # fmt: skip
# Where people write commas in numbers their programs divide cells at semicolons, whatever is quoted with commas: there
# the text behind a semicolon is the beginning of a cell.
_BEGINNING: Final = re.compile(rf'(\A|;)(?=[\s"]*[{_FORMULA}])|\A(?=[\t\r\n])')


def rows(tree: Tree) -> Iterator[str]:
    """The lines of a CSV file, the names of the columns first; a line for each run, parents before children.

    No cell has a line end in it, so a line is a row also to those who do not know about quotes, and no recorded text
    begins a line.

    Args:
        tree: The runs.
    """
    line = io.StringIO()
    writer = csv.writer(line, lineterminator="\n")
    currencies = _currencies(tree)
    costs = [*(f"cost_{currency}" for currency in currencies), "cost_other"]
    figures = [f"{whose}_{name}" for whose in _WHOSE for name in (*_FIGURES, *costs)]
    writer.writerow([*_RECORD, *figures, *_LAST])
    yield line.getvalue()
    for node in tree.walk():
        line.seek(0)
        line.truncate()
        writer.writerow([_cell(value) for value in _values(node, currencies)])
        yield line.getvalue()


def _currencies(tree: Tree) -> list[str]:
    """Those that have columns: whoever records can call anything a currency, and there may be no end of columns."""
    found = {currency for node in tree.walk() for used in _used(node) for currency in used.cost}
    return sorted(filter(_IS_CURRENCY, found))[:_MOST_CURRENCIES]


def _used(node: Tree) -> tuple[UsageTotal, UsageTotal]:
    return node.own.usage, node.usage()


def _values(node: Tree, currencies: Sequence[str]) -> Iterator[Any]:
    record = node.record
    yield from (record.id, record.parent_id, record.root_id, record.depth, record.name, record.kind, record.key)
    yield from (record.status, record.user_id, record.session_id, _time(record.started_at), _time(record.ended_at))
    yield None if record.elapsed is None else record.elapsed.total_seconds()
    for used in _used(node):
        yield from (getattr(used, name) for name in _FIGURES)
        yield from map(used.cost.get, currencies)
        others = {currency: amount for currency, amount in used.cost.items() if currency not in currencies}
        yield encoded(others) if others else None
    error = record.error
    yield from (None, None) if error is None else (error.type, next(iter(error.message.splitlines()), ""))
    yield from (record.summary, ", ".join(record.tags))


def _time(when: datetime | None) -> str | None:
    return None if when is None else instant(when)


def _cell(value: Any) -> Any:
    """A value as it stands in a cell: of a text nothing is a formula, and every control character is written out."""
    if not isinstance(value, str):
        return value
    text = clean(_BEGINNING.sub(r"\1'", value[: _LONGEST + 1]))
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
