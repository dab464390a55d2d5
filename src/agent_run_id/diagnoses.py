"""Diagnoses: what the doctor says, as pydantic models. `runid doctor --json` prints a `Checkup`."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict

from agent_run_id.walls.wall import Verdict, Way

__all__ = ["Checkup", "Crossing", "Finding", "Health", "WallCheck"]

Health = Literal["ok", "note", "wrong"]
"""Of what was found: as it should be, worth to know, or to be mended."""


class _Diagnosis(BaseModel):
    """Frozen."""

    model_config: ClassVar[ConfigDict] = ConfigDict(frozen=True, ser_json_timedelta="float")


class Crossing(_Diagnosis):
    """One way across a wall, on one event loop.

    Attributes:
        way: By the plain call, by the plain call while `patch_stdlib` is on, or by our own.
        loop: The event loop.
        verdict: What it came to; "failed" where it could not be made.
        why: Why not; None where it could.
    """

    way: Way
    loop: str
    verdict: Verdict
    why: str | None = None


class WallCheck(_Diagnosis):
    """What one wall came to, here and now: the worst of all event loops.

    Attributes:
        group: The kind of wall.
        name: What is crossed.
        write: What to write, where the plain call is not enough.
        missing: The library that has this wall and is not installed; None where it was crossed.
        plain: What the plain call came to; None where it was not crossed.
        patched: The same while `patch_stdlib` was on.
        explicit: What our own call came to.
        expected: What the plain call comes to by the table of the docs.
        promised: What it comes to there while `patch_stdlib` is on.
        health: "wrong" if our own call does not keep the run, or a patched one does not come to what is promised;
            "note" if the plain call came to something else than expected, or was not crossed.
        crossings: One by one.
    """

    group: str
    name: str
    write: str
    missing: str | None
    plain: Verdict | None
    patched: Verdict | None
    explicit: Verdict | None
    expected: Verdict
    promised: Verdict
    health: Health
    crossings: tuple[Crossing, ...]


class Finding(_Diagnosis):
    """One thing that was looked at in the store.

    Attributes:
        subject: What was looked at.
        health: How it is.
        text: What was found.
        advice: What to do about it; None where nothing is to be done.
    """

    subject: str
    health: Health
    text: str
    advice: str | None = None


class Checkup(_Diagnosis):
    """What the doctor found.

    Attributes:
        ok: Whether nothing is wrong.
        took: How long it took; in JSON, seconds.
        versions: Of Python, of this library, and of what it works with here, by name.
        imported: The modules that were imported before the walls were crossed.
        walls: Every wall.
        store: What was looked at where runs are recorded.
    """

    ok: bool
    took: timedelta
    versions: dict[str, str]
    imported: tuple[str, ...]
    walls: tuple[WallCheck, ...]
    store: tuple[Finding, ...]
