"""Progress: a person at a terminal sees how far the reading is, and nobody else sees anything."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

from agent_run_id.cli.progress import Meter
from agent_run_id.index import Progress

if TYPE_CHECKING:
    from collections.abc import Iterable

    import pytest


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def written(meter: Meter, file: io.StringIO, done: Iterable[int], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(sys, "stderr", file)
    for each in done:
        meter(Progress(each, 200_000_000))
    meter.clear()
    return file.getvalue()


def test_a_terminal_shows_how_far_it_is_and_nothing_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    text = written(Meter(patience=0), Terminal(), [50_000_000, 150_000_000, 200_000_000], monkeypatch)
    assert text == "\r\x1b[Kreading journals: 25 % of 200 MB\r\x1b[Kreading journals: 75 % of 200 MB\r\x1b[K"


def test_what_is_quick_shows_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(Meter(patience=1e9), Terminal(), [50_000_000, 200_000_000], monkeypatch) == ""


def test_a_pipe_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert written(Meter(patience=0), io.StringIO(), [50_000_000], monkeypatch) == ""


def test_a_program_without_a_standard_error_is_told_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    meter = Meter(patience=0)
    meter(Progress(1, 2))
    assert not meter._shown
