"""``runid doctor``: what holds here, and what does not."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import AsJson, Directory, flag
from agent_run_id.cli.output import Output
from agent_run_id.cli.progress import Meter
from agent_run_id.doctoring import doctor as examine
from agent_run_id.rendering import Line, duration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from agent_run_id.diagnoses import Checkup, Finding, Health, WallCheck
    from agent_run_id.rendering import Role

__all__ = ["doctor", "tell"]

_WRONG: Final = 1
_MARKS: Final[dict[Health, tuple[str, Role]]] = {
    "ok": ("✓", "succeeded"),
    "note": ("!", "cancelled"),
    "wrong": ("✗", "failed"),
}
_VERDICTS: Final[dict[str, Role]] = {"kept": "succeeded", "coarse": "cancelled", "lost": "cancelled"}
_UNTOLD: Final = ("platform", "sqlite")
_INDENT: Final = "  "
_UNDER: Final = " " * 4
_FURTHER: Final = " " * 6
_HEADS: Final = ("PLAIN", "PATCHED", "OURS")
_WIDTHS: Final = (6, 7, 6)

_Imports = Annotated[
    list[str] | None,
    Parameter(
        name="--import",
        negative="",
        help="Import this module, such as one that instruments the program, before the walls are crossed.",
    ),
]
_All = Annotated[bool, flag("--all", "Tell of every wall and everything that was looked at, not only what is odd.")]


def doctor(
    *,
    imports: _Imports = None,
    everything: _All = False,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Check that runs cross every wall here, and that they can be recorded.

    Every wall is crossed in this Python, with the libraries that are installed: by the plain call, by the plain call
    while `patch_stdlib` is on, and by the call of this library. It is kept, coarse (an ancestor), lost or wrong. Then
    the directory in which runs are recorded is looked at. It takes some seconds, and records nothing.

    With --json: an object as in `agent_run_id.Checkup`.

    Exit status: 1 if anything is wrong, such as a call of this library that does not keep the run, a patched one that
    is worse than promised, or a directory in which nothing can be recorded.
    """
    meter = Meter()
    try:
        found = examine(directory, imports=imports or (), progress=meter)
    finally:
        meter.clear()
    output = Output()
    if json:
        output.write(f"{encoded(found)}\n")
    else:
        tell(found, output, everything=everything)
    return 0 if found.ok else _WRONG


def tell(found: Checkup, output: Output, *, everything: bool) -> None:
    """Tell a person what the doctor found.

    Args:
        found: What it found.
        output: Where to.
        everything: Whether to tell of what is as it should be, too.
    """
    told = {name: version for name, version in found.versions.items() if name not in _UNTOLD}
    versions = ", ".join(f"{name} {version}" for name, version in told.items())
    output.line(Line((versions, "quiet")), rest="")
    if found.imported:
        output.line(Line(("with ", "quiet"), ", ".join(found.imported)), rest="")
    output.line()
    _tell_walls(found.walls, output, everything=everything)
    output.line()
    _tell_store(found.store, output, everything=everything)
    output.line()
    output.line(_summary(found), rest=_INDENT)


# Walls ----------------------------------------------------------------------------------------------------------------


def _tell_walls(walls: Sequence[WallCheck], output: Output, *, everything: bool) -> None:
    output.line(Line(("walls", "heading")))
    for group in dict.fromkeys(wall.group for wall in walls):
        mine = [wall for wall in walls if wall.group == group]
        health = _worst(wall.health for wall in mine if wall.missing is None)
        output.line(Line(_MARKS[health], f" {group:<11}", (_counts(mine), "quiet")), head=_INDENT, rest=_FURTHER)
        told = [wall for wall in mine if everything or (wall.health != "ok" and wall.missing is None)]
        if told:
            heads = "".join(f"{head:<{width}} " for head, width in zip(_HEADS, _WIDTHS, strict=True))
            output.line(Line((f"{heads}WALL → WHAT TO WRITE", "quiet")), head=_UNDER)
        for wall in told:
            _tell_wall(wall, output)


def _counts(walls: Sequence[WallCheck]) -> str:
    """How many walls of a group there are, and what each way came to."""
    here = [wall for wall in walls if wall.missing is None]
    ways = {
        "ours": Counter(wall.explicit for wall in here),
        "patched": Counter(wall.patched for wall in here),
        "plain": Counter(wall.plain for wall in here),
    }
    told = "; ".join(
        f"{way} {', '.join(f'{count} {verdict}' for verdict, count in counts.most_common())}"
        for way, counts in ways.items()
        if counts
    )
    missing = len(walls) - len(here)
    return f"{told}; {missing} not installed" if missing else told


def _tell_wall(wall: WallCheck, output: Output) -> None:
    if wall.missing is not None:
        output.line(Line(("not installed".ljust(sum(_WIDTHS) + 3), "quiet"), wall.name), head=_UNDER, rest=_FURTHER)
        return
    cells: list[tuple[str, Role]] = [
        (f"{verdict or '-':<{width}} ", _VERDICTS.get(verdict or "-", "failed"))
        for verdict, width in zip((wall.plain, wall.patched, wall.explicit), _WIDTHS, strict=True)
    ]
    write = f" → {wall.write}" if wall.plain != "kept" and wall.write else ""
    changed = "" if wall.plain == wall.expected else f" (by itself: {wall.expected})"
    output.line(Line(*cells, wall.name, (write, "quiet"), (changed, "cancelled")), head=_UNDER, rest=_FURTHER)
    for line in _odd(wall):
        output.line(line, head=_FURTHER, rest=" " * 8)


def _odd(wall: WallCheck) -> Iterator[Line]:
    """What is odd about a wall."""
    if wall.explicit == "failed":
        yield Line(("✗ our own call could not be made", "failed"))
    elif wall.explicit != "kept":
        yield Line(("✗ our own call does not keep the run: do not trust it here", "failed"))
    if wall.health == "wrong" and wall.patched != wall.promised:
        yield Line((f"✗ patched, it is to be {wall.promised}", "failed"))
    for why in dict.fromkeys(crossing.why for crossing in wall.crossings if crossing.why):
        ways = dict.fromkeys(f"{each.way} on {each.loop}" for each in wall.crossings if each.why == why)
        yield Line((f"{', '.join(ways)}: {why}", "quiet"))


# The store ------------------------------------------------------------------------------------------------------------


def _tell_store(store: Sequence[Finding], output: Output, *, everything: bool) -> None:
    output.line(Line(("store", "heading")))
    for finding in store:
        if everything or finding.health != "ok" or finding.subject == "directory":
            mark = _MARKS[finding.health]
            output.line(Line(mark, f" {finding.subject:<13} {finding.text}"), head=_INDENT, rest=" " * 18)
            if finding.advice:
                output.line(Line((f"→ {finding.advice}", "name")), head=" " * 18, rest=" " * 20)
    good = sum(finding.health == "ok" and finding.subject != "directory" for finding in store)
    if not everything and good:
        told = "1 check" if good == 1 else f"{good} checks"
        output.line(Line(_MARKS["ok"], (f" {told} found nothing", "quiet")), head=_INDENT)


# All of it ------------------------------------------------------------------------------------------------------------


def _summary(found: Checkup) -> Line:
    took: tuple[str, Role] = (f" ({duration(found.took)})", "quiet")
    walls = Counter(wall.health for wall in found.walls if wall.missing is None)
    findings = Counter(finding.health for finding in found.store)
    if found.ok:
        notes = walls["note"] + findings["note"]
        more = f"; {notes} note{'' if notes == 1 else 's'} above" if notes else ""
        return Line(("✓ all is well", "succeeded"), more, took)
    parts = [
        f"{count} of the {name}" for name, count in (("walls", walls["wrong"]), ("store", findings["wrong"])) if count
    ]
    return Line((f"✗ wrong: {', '.join(parts)}", "failed"), took)


def _worst(healths: Iterable[Health]) -> Health:
    order: tuple[Health, ...] = ("wrong", "note")
    found = set(healths)
    for health in order:
        if health in found:
            return health
    return "ok"
