"""``runid where``: where runs are recorded, and which setting says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from agent_run_id import settings
from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import AsJson, Directory, readable
from agent_run_id.cli.output import Output
from agent_run_id.index import Index
from agent_run_id.layout import JOURNALS, SUFFIX
from agent_run_id.rendering import Line

__all__ = ["where"]

_RUNS: Final = "SELECT count(*) AS runs FROM runs WHERE started_at IS NOT NULL"


def where(*, json: AsJson = False, directory: Directory = None) -> None:
    """Tell where runs are recorded, and why there.

    The directory is the one that `configure(directory=…)` names, else AGENT_RUN_DIR, else the default for this user.

    With --json: an object with "directory" (null when recording is off), "setting" (--dir, configure, AGENT_RUN_DIR or
    default), "exists", "journals", "journal_bytes", "runs" and "index" (null when there is none).
    """
    with readable(directory):
        place = settings.directory() if directory is None else str(directory.absolute())
        answer = {
            "directory": place,
            "setting": settings.named_by() if directory is None else "--dir",
            **_contents(place),
        }
    output = Output()
    if json:
        output.write(f"{encoded(answer)}\n")
        return
    for name, text in _told(answer).items():
        output.line(Line((f"{name:<11}", "heading"), text))


def _contents(place: str | None) -> dict[str, Any]:
    if place is None:
        return {"exists": False, "journals": 0, "journal_bytes": 0, "runs": 0, "index": None}
    index = Index(place)
    try:
        index.update()
        runs = index.read(_RUNS)[0]["runs"]
    finally:
        index.close()
    sizes = [journal.stat().st_size for journal in Path(place, JOURNALS).glob(f"*{SUFFIX}")]
    return {
        "exists": Path(place).is_dir(),
        "journals": len(sizes),
        "journal_bytes": sum(sizes),
        "runs": runs,
        "index": str(index.path) if index.path.exists() else None,
    }


def _told(answer: dict[str, Any]) -> dict[str, str]:
    reasons = {
        "--dir": "--dir says so",
        "configure": "configure(directory=…) says so",
        settings.DIRECTORY_VARIABLE: f"{settings.DIRECTORY_VARIABLE} says so",
        "default": f"the default for this user; {settings.DIRECTORY_VARIABLE} names another",
    }
    reason = reasons[answer["setting"]]
    if answer["directory"] is None:
        return {"directory": "none: recording is off", "because": reason}
    return {
        "directory": answer["directory"] + ("" if answer["exists"] else " (not there yet: the first run makes it)"),
        "because": reason,
        "journals": f"{answer['journals']:,} ({answer['journal_bytes']:,} bytes)",
        "runs": f"{answer['runs']:,}",
        "index": answer["index"] or "none yet: the first reading makes it",
    }
