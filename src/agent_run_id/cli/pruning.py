"""``runid prune``: retention now, and not when somebody next records or reads."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

from cyclopts import Parameter

from agent_run_id import settings
from agent_run_id.cli.documents import encoded
from agent_run_id.cli.moments import length_of
from agent_run_id.cli.options import AsJson, Directory, flag, opened, place_of
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.sizes import bytes_of, size
from agent_run_id.housekeeping import plan_retention, retain
from agent_run_id.index import Index
from agent_run_id.rendering import Line, duration
from agent_run_id.settings import Retention

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclopts import Token

    from agent_run_id.housekeeping import Plan

__all__ = ["prune"]

_DONE: Final = 0
_LEFT: Final = 1
_NEEDS_YES: Final = 2
_NAME: Final = 11
_DAY: Final = timedelta(days=1)


def _age(_: object, tokens: Sequence[Token]) -> Any:
    try:
        return length_of(tokens[0].value)
    except OverflowError:
        return timedelta.max


def _amount(_: object, tokens: Sequence[Token]) -> Any:
    return bytes_of(tokens[0].value)


def _above_zero(_: object, value: timedelta | int | None) -> None:
    if value is not None and not value:
        raise ValueError("It takes more than 0.")


_OlderThan = Annotated[
    timedelta | None,
    Parameter(
        name="--older-than",
        converter=_age,
        validator=_above_zero,
        help="Remove what was last written to so long ago: 30d, 12h, 2w.",
    ),
]
_MaxSize = Annotated[
    int | None,
    Parameter(
        name="--max-size",
        converter=_amount,
        validator=_above_zero,
        help="Remove the oldest, so that the rest is no more than this: 5GiB, 500MB. A quarter of it is left free for"
        " what is recorded next.",
    ),
]
_DryRun = Annotated[bool, flag("--dry-run", "Only tell what would be removed; change nothing.")]
_Yes = Annotated[bool, flag("--yes", "Do not ask. Without a terminal to ask on, nothing is removed but with this.")]


def prune(
    *,
    older_than: _OlderThan = None,
    max_size: _MaxSize = None,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Remove what is recorded and too old or too much.

    Whole journals go, the oldest first, never one that a living process writes; one of which it cannot be told whether
    it is over goes by its age alone. Without --older-than and --max-size both count as they are configured for whoever
    records, by AGENT_RUN_RETENTION_DAYS and AGENT_RUN_RETENTION_BYTES or else 30 days and 5 GiB; with one of them, only
    that one. Programs do the same by themselves; this is for who wants it now, or wants less. What is removed cannot be
    brought back, and the index forgets it.

    With --json: an object with "directory", "days" and "bytes" (what was kept to; null for no limit), "dry_run",
    "removed", an array of objects with "journal", "bytes", "first" and "last" (when it was begun and last written to),
    "removed_bytes", and "kept" and "kept_bytes", how many journals are left.

    Exit status: 1 if one was asked and did not say yes, 2 if there was no terminal to ask on and no --yes.
    """
    place = place_of(directory)
    kept_to = settings.retention() if older_than is None and max_size is None else _retention(older_than, max_size)
    plan = plan_retention(place, kept_to)
    if plan.removals and not dry_run:
        refusal = None if yes else _refusal(plan, kept_to)
        if refusal is not None:
            return refusal
        plan = retain(place, kept_to, plan)
        _forget(place, directory)
    output = Output()
    if json:
        output.write(f"{encoded(_document(place, kept_to, plan, dry_run=dry_run))}\n")
    else:
        for line in _told(plan, kept_to, "would go" if dry_run else "removed"):
            output.line(line, rest=" " * _NAME)
    return _DONE


def _retention(older_than: timedelta | None, max_size: int | None) -> Retention:
    return Retention(None if older_than is None else older_than / _DAY, max_size)


def _refusal(plan: Plan, kept_to: Retention) -> int | None:
    """Ask whether to go on; None when it is so."""
    asked, told = sys.stdin, sys.stderr
    if asked is None or told is None or not (asked.isatty() and told.isatty()):
        complain(f"{_files(len(plan.removals))} would be removed: type --yes to do it, or --dry-run to see more")
        return _NEEDS_YES
    for line in _told(plan, kept_to, "to remove"):
        told.write(f"{line}\n")
    told.write("Remove? It cannot be brought back. [y/N] ")
    told.flush()
    if asked.readline().strip().lower() in ("y", "yes"):
        return None
    complain("nothing was removed")
    return _LEFT


def _forget(place: str, directory: Path | None) -> None:
    """Let the index forget what was removed, where there is one."""
    if Index(place).path.exists():
        with opened(directory) as registry:
            registry.stats()


# What is told ---------------------------------------------------------------------------------------------------------


def _document(place: str, kept_to: Retention, plan: Plan, *, dry_run: bool) -> dict[str, Any]:
    return {
        "directory": place,
        "days": kept_to.days,
        "bytes": kept_to.size,
        "dry_run": dry_run,
        "removed": [
            {
                "journal": Path(removal.path).name,
                "bytes": removal.size,
                "first": _moment(removal.since),
                "last": _moment(removal.until),
            }
            for removal in plan.removals
        ],
        "removed_bytes": _bytes(plan),
        "kept": plan.kept,
        "kept_bytes": plan.kept_bytes,
    }


def _told(plan: Plan, kept_to: Retention, what: str) -> Iterator[Line]:
    limits = [
        "any age" if kept_to.days is None else _length(kept_to.days),
        "any size" if kept_to.size is None else size(kept_to.size),
    ]
    yield _fact("keeping", ", ".join(limits))
    if plan.removals:
        first = min(removal.since for removal in plan.removals)
        last = max(removal.until for removal in plan.removals)
        yield _fact(what, f"{_files(len(plan.removals))}, {size(_bytes(plan))}")
        yield _fact(
            "of", f"{_moment(first).astimezone():%Y-%m-%d %H:%M} to {_moment(last).astimezone():%Y-%m-%d %H:%M}"
        )
    else:
        yield _fact(what, "nothing")
    yield _fact("left", f"{_files(plan.kept)}, {size(plan.kept_bytes)}")


def _length(days: float) -> str:
    return f"{days:,g} days" if days >= 1 else duration(days * _DAY)


def _fact(name: str, text: str) -> Line:
    return Line((f"{name:<{_NAME}}", "heading"), text)


def _files(count: int) -> str:
    return "1 journal" if count == 1 else f"{count:,} journals"


def _bytes(plan: Plan) -> int:
    return sum(removal.size for removal in plan.removals)


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
