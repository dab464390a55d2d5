"""Readers while house is kept: whenever they look, they find everything."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from agent_run_id import RunRegistry
from agent_run_id.index import folder as folder_room
from tests.journal_programs.houses import bundles, dead, eager, files, keep, quiet
from tests.journal_programs.programs import Program, run_program

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from agent_run_id.layout import Name


def test_a_reader_that_listed_before_the_sources_went_finds_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice: the journals went into a bundle, and with others into another, between its listing and its reading."""
    dead(tmp_path, 5)
    listed = folder_room.Folder._entries
    rounds = iter(range(2))

    def folded_after(folder: folder_room.Folder) -> list[tuple[str, str, Name]]:
        entries = listed(folder)
        for number in rounds:
            dead(tmp_path, 2, first=10 * (number + 1))
            keep(tmp_path)
            keep(tmp_path)
            break
        return entries

    monkeypatch.setattr(folder_room.Folder, "_entries", folded_after)
    with eager(), quiet(RunRegistry(tmp_path)) as registry:
        assert {record.id[:8] for record in registry.find()} >= {f"{number:08x}" for number in range(1, 6)}
        assert len(registry.find()) == 9
        assert files(tmp_path) == bundles(tmp_path)


FOLDS = """
import os, sys
import agent_run_id.housekeeping as house
from agent_run_id import start_run
from agent_run_id.settings import Retention
house._MIN_JOURNALS, house._MIN_BUNDLES, house._SETTLED_S, house._EVERY_S = 2, 2, -1, -1
start_run("run").end()
for number in range(149):
    if os.fork() == 0:
        start_run("run").end()
        os._exit(0)
    os.wait()
    house.keep_house(os.environ["AGENT_RUN_DIR"], Retention(None, None))
"""

READS = """
import sys
from agent_run_id import RunRegistry
from agent_run_id.index import database
most = 0
kept = RunRegistry(sys.argv[1])
kept._index._keep_house_at = float("inf")
print("reads", flush=True)
while most < 150:
    built = RunRegistry(sys.argv[1])
    built._index._keep_house_at = float("inf")
    built._index._connection = database._in_memory()
    for registry in (kept, built):
        found = len(registry.find(limit=None))
        assert found >= most, (found, most)
        most = found
        assert all(record.status in ("succeeded", "lost", "running") for record in registry.find(limit=None))
"""


def test_readers_never_see_fewer_runs_while_a_writer_folds(tmp_path: Path) -> None:
    """Neither one that goes on with its index nor one that builds it anew each time."""
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(Program(READS, str(tmp_path))) for _ in range(2)]
        for reader in readers:
            reader.hear()
        run_program(FOLDS, directory=tmp_path)
        for reader in readers:
            reader.finish()
    assert len(files(tmp_path)) < 10
