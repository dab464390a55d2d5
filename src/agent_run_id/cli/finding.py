"""``runid find``: the runs that meet some conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from cyclopts import Parameter

from agent_run_id.cli.documents import array
from agent_run_id.cli.listing import counted, list_runs
from agent_run_id.cli.options import AsJson, Directory, at_least_one, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.queries import parsed, unknown

if TYPE_CHECKING:
    from agent_run_id.cli.queries import Query
    from agent_run_id.registry import RunRegistry

__all__ = ["find"]

_USAGE: Final = 2

_Condition = Annotated[str, Parameter(help="Such as: status:failed agent:planner user:u42 since:2h refund")]
_Limit = Annotated[int, Parameter(validator=at_least_one, help="How many at the most.")]
_Order = Annotated[Literal["newest", "oldest"], Parameter(help="Which come first.")]


def find(
    *query: _Condition, limit: _Limit = 50, order: _Order = "newest", json: AsJson = False, directory: Directory = None
) -> int:
    """Find runs by what they are and by what they said.

    A run must meet every condition: status:failed (or failed,lost), kind:, name:, key:, user:, session:, tag:, since:
    and until: (2h, today, 03:14, 2026-11-28), under: (a run above), root:yes, and words that all occur in what it was
    told or said: text:"no seat", or just the words. agent:planner is short for kind:agent name:planner. User and
    session of a run are those of the nearest run above that says so.

    With --json: an array of records, each as in `agent_run_id.RunRecord`.
    """
    try:
        asked = parsed(query)
    except ValueError as error:
        complain(error)
        return _USAGE
    if not query:
        complain("find what? For example: runid find status:failed since:2h refund; `runid ls` lists the latest roots")
        return _USAGE
    with opened(directory) as registry:
        if asked.kind_and_name is not None and not _is_kind(registry, asked):
            complain(unknown(*asked.kind_and_name))
            return _USAGE
        found = registry.find(**asked.conditions, limit=limit + 1, order=order)
        shown = found[:limit]
        rows = [] if json else counted(registry, shown)
    output = Output()
    if json:
        output.write(f"{array(shown)}\n")
    else:
        list_runs(rows, output)
    if not found:
        complain("no run is like that")
    elif len(found) > limit:
        complain(f"there are more than these {limit:,}; --limit tells how many to list")
    return 0


def _is_kind(registry: RunRegistry, asked: Query) -> bool:
    """Whether a field that is none is the kind of any run; if so, it is a condition by now."""
    kind, name = asked.kind_and_name or ("", "")
    conditions: dict[str, Any] = {"kind": kind, "name": name}
    asked.conditions |= conditions
    return bool(registry.find(kind=kind, limit=1))
