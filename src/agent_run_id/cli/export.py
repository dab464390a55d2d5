"""``runid export``: a run with everything below it, for other programs, for a spreadsheet, or as a page to pass on."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

from cyclopts import Parameter

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.files import why_not, write_whole
from agent_run_id.cli.options import Directory, Ref, flag, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.pages import Source, page
from agent_run_id.cli.spreadsheets import rows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.registry import RunRegistry
    from agent_run_id.tree import Tree

__all__ = ["export"]

Format = Literal["jsonl", "html", "csv"]

_USAGE: Final = 2
_ENDINGS: Final[dict[str, Format]] = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".html": "html",
    ".htm": "html",
    ".csv": "csv",
}

_Format = Annotated[
    Format | None,
    Parameter(name="--format", help="jsonl, html or csv; by default what the name of the file says, else jsonl."),
]
_File = Annotated[
    Path | None, Parameter(name=("--output", "-o"), help="Write into this file, and not to standard output.")
]
_Force = Annotated[bool, flag("--force", "Replace the file if it is there already.")]


def export(
    ref: Ref,
    /,
    *,
    form: _Format = None,
    output: _File = None,
    force: _Force = False,
    directory: Directory = None,
) -> int:
    """Write a run with everything below it into a file.

    As jsonl: all that is known, one JSON object a line, ASCII, times in UTC, lengths in seconds. Each run, parents
    before children, is a line with "record" (as in `agent_run_id.RunRecord`), "detached" and "skew" (as in
    `agent_run_id.Tree`); behind it stand lines with "event" (an object with "type", "run_id", "time", "process_id",
    "seq" and "data"), everything recorded of it in order. Later versions may add members.

    As csv: a line for each run: what it is, its times in UTC, seconds, tokens and cost by currency, its own (own_…) and
    with all below it (subtree_…), what went wrong. Text that a spreadsheet would take for a formula has an apostrophe
    before it, and line ends in it are written out.

    As html: one page for people, which needs nothing beside it and has no script: the totals, the nearest failure, the
    tree with when each run was under way, and everything recorded behind each line. Of more than 2,000 runs those that
    succeeded like many beside them are only counted, and long texts are cut.

    The file is put in its place when it is whole, and only you can read it: what is recorded may be private.
    """
    form = form or ("jsonl" if output is None else _ENDINGS.get(output.suffix.lower()))
    if form is None:
        complain(f"what is to be in {output}? Its name ends in none of {', '.join(_ENDINGS)}; --format says it too")
        return _USAGE
    reason = None if output is None else why_not(output, force=force)
    if reason is not None:
        complain(reason)
        return _USAGE
    with opened(directory) as registry:
        run_id = registry.get(ref).id  # once: the next moment `@last` may be another
        tree = registry.tree(run_id)
        pieces = _pieces(form, tree, registry)
        if output is not None:
            size = write_whole(output, pieces)
            runs = len(tree)
            complain(f"{runs:,} run{'' if runs == 1 else 's'} written to {output} ({size:,} bytes)")
            return 0
        answer = Output(encoding="utf-8")
        for piece in pieces:
            answer.write(piece)
    return 0


def _pieces(form: Format, tree: Tree, registry: RunRegistry) -> Iterator[str]:
    if form == "csv":
        return rows(tree)
    if form == "html":
        return page(Source(tree, registry.ancestors(tree.record.id), registry.events_of, datetime.now(UTC)))
    return _lines(tree, registry)


def _lines(tree: Tree, registry: RunRegistry) -> Iterator[str]:
    """The lines of each run: its record, and everything recorded of it."""
    events = registry.events_of(node.record.id for node in tree.walk())
    for node in tree.walk():
        yield f"{encoded({'record': node.record, 'detached': node.detached, 'skew': node.skew})}\n"
        for event in next(events):
            yield f"{encoded({'event': event})}\n"
