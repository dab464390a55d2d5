"""Folding: the journals of many processes that are over become few files, and no reader ever misses an event."""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings

from agent_run_id import RunRegistry, housekeeping
from tests.journal_programs.houses import (
    FOR_EVER,
    Folder,
    Watched,
    dead,
    eager,
    files,
    folders,
    keep,
    quiet,
    rebuilt,
)
from tests.journal_programs.worlds import everything

if TYPE_CHECKING:
    from collections.abc import Iterator

# The law --------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def written(folder: Folder) -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        folder.write(Path(temporary), locks)
        yield Path(temporary)


@settings(max_examples=30)
@given(folders())
def test_a_folded_directory_reads_as_the_unfolded_one_at_every_instant(folder: Folder) -> None:
    """Before a bundle has its name, with its sources beside it, and after each of them is gone; grown and rebuilt."""
    with written(folder) as directory, eager() as patch, quiet(RunRegistry(directory)) as grown:
        expected = rebuilt(directory)
        assert everything(grown) == expected

        def compare(when: str, path: Any) -> None:
            assert everything(grown) == expected, (when, path)
            assert rebuilt(directory) == expected, (when, path)

        patch.setattr(housekeeping, "os", Watched(compare, "rename", "unlink"))
        for _ in range(3):
            keep(directory)
        assert everything(grown) == expected
        with quiet(RunRegistry(directory)) as another:
            assert everything(another) == expected


# What writers do ------------------------------------------------------------------------------------------------------


def test_a_writer_gets_through_a_folder_of_thousands_of_files(tmp_path: Path) -> None:
    """It has a few milliseconds each time, and to list them all takes longer."""
    dead(tmp_path, 2500)
    with eager(_MIN_JOURNALS=64, _MAX_FILES_OF_WRITER=1000, _WRITER_S=0.001):
        for _ in range(50):
            housekeeping.keep_house(str(tmp_path), FOR_EVER, process_id="0" * 32)
    assert len(files(tmp_path)) < 1000
