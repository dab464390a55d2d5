"""``runid tree``: a run with everything below it."""

from __future__ import annotations

from agent_run_id.cli.documents import nested
from agent_run_id.cli.options import AsJson, Directory, Ref, opened
from agent_run_id.cli.output import Output

__all__ = ["tree"]


def tree(ref: Ref, /, *, json: AsJson = False, directory: Directory = None) -> None:
    """Draw a run with everything below it.

    A line for each run: status, name, short id, kind, how long it took, what it used with all below it, what went
    wrong; under it its decisions (◆).

    With --json: the record of the run, as in `agent_run_id.RunRecord`, with "children", an array of the same;
    "detached" says that a run between it and its parent was never recorded, "total_usage" adds up what it and all
    below it used.
    """
    with opened(directory) as registry:
        grown = registry.tree(ref)
    output = Output()
    if json:
        for piece in nested(grown):
            output.write(piece)
        output.write("\n")
        return
    for row in grown.rows():
        output.line(row.line, head=row.head, rest=row.rest)
