"""``runid tree``: a run with everything below it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from agent_run_id.cli.documents import nested
from agent_run_id.cli.options import AsJson, Directory, Ref, flag, opened
from agent_run_id.cli.output import Output

if TYPE_CHECKING:
    from agent_run_id.tree import Tree

__all__ = ["FOLD", "tree", "went_wrong"]

FOLD: Final = 10
"""More runs than so many that are alike become one line."""
_FOLD_FAILED: Final = 100

_Failed = Annotated[bool, flag("--failed", "Only what failed or was lost, and what leads there.")]
_Depth = Annotated[
    int | None, Parameter(name="--depth", validator=Number(gte=0), help="How many levels below the run are drawn.")
]
_All = Annotated[bool, flag("--all", f"A line for each run, also where more than {FOLD} are alike.")]
_Figures = Annotated[
    bool, flag("--figures", "Also tell how many runs are below each, and the time and tokens it took by itself.")
]


def tree(
    ref: Ref,
    /,
    *,
    failed: _Failed = False,
    depth: _Depth = None,
    everything: _All = False,
    figures: _Figures = False,
    json: AsJson = False,
    directory: Directory = None,
) -> None:
    """Draw a run with everything below it.

    A line for each run: status, name, short id, kind, how long it took, what it used with all below it, what went
    wrong; under it its decisions (◆). Where more than ten runs below another are alike they are one line (▸), with the
    first that did not simply succeed. ╌ leads to a run between which and the one above others were never recorded, ⇢ to
    a linked run; ⇤ tells by how much a clock disagrees.

    With --json: the record of the run, as in `agent_run_id.RunRecord`, with "children", an array of the same;
    "detached" says that a run between it and its parent was never recorded, "total_usage" adds up what it and all
    below it used. Nothing is folded there; --failed and --depth hold.
    """
    with opened(directory) as registry:
        grown = registry.tree(ref)
    if failed:
        grown = grown.filter(went_wrong)
    output = Output()
    if json:
        for piece in nested(grown, max_depth=depth):
            output.write(piece)
        output.write("\n")
        return
    fold = None if everything else _FOLD_FAILED if failed else FOLD
    for row in grown.rows(max_depth=depth, fold=fold, figures=figures):
        output.line(row.line, head=row.head, rest=row.rest)


def went_wrong(node: Tree) -> bool:
    """Whether a run failed or was lost."""
    return node.record.status in ("failed", "lost")
