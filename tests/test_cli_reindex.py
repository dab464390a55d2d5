"""``runid reindex``: what is made anew is the same, and nobody who reads is disturbed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunRegistry, start_run
from agent_run_id.index import Index
from tests.commands import as_nobody, is_harmless, runid
from tests.journal_programs.indexes import index_of, some_runs
from tests.journal_programs.journals import journals_of
from tests.journal_programs.programs import IS_ROOT, Program
from tests.journal_programs.worlds import everything
from tests.test_cli_pruning import readable_by_all

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_an_index_that_is_made_anew_holds_the_same_and_is_another_file(tmp_path: Path) -> None:
    some_runs(tmp_path)
    with RunRegistry(tmp_path) as registry:
        before = everything(registry)
    inode = index_of(tmp_path).stat().st_ino
    found = json.loads(runid("reindex", "--json", "--dir", str(tmp_path)).stdout)
    assert list(found) == ["directory", "index", "runs", "seconds", "bytes"]
    assert (found["directory"], found["index"], found["runs"]) == (str(tmp_path), str(index_of(tmp_path)), 300)
    assert found["bytes"] == index_of(tmp_path).stat().st_size
    assert found["seconds"] > 0
    assert index_of(tmp_path).stat().st_ino != inode
    assert {path.name for path in tmp_path.glob("index*.new")} == set()
    with RunRegistry(tmp_path) as registry:
        assert everything(registry) == before


def test_it_is_told_in_words(tmp_path: Path) -> None:
    some_runs(tmp_path)
    done = runid("reindex", "--dir", str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"index  {index_of(tmp_path)}\nruns   300\ntook   ")


READS = """
import sys
from agent_run_id import RunRegistry
with RunRegistry(sys.argv[1]) as registry:
    while True:
        print(registry.stats().runs, len(registry.find(limit=None)), flush=True)
        if not sys.stdin.readline().strip():
            break
"""


def test_who_reads_meanwhile_goes_on_reading_and_sees_what_comes(registry: RunRegistry) -> None:
    start_run("before").end()
    with Program(READS, registry.directory) as reader:
        assert reader.hear() == "1 1"
        for number in range(2, 5):
            assert runid("reindex").returncode == 0
            start_run(f"run {number}").end()
            reader.tell()
            assert reader.hear() == f"{number} {number}"
            assert registry.stats().runs == number
        reader.tell("")
        reader.finish()
    with RunRegistry(registry.directory) as later:
        assert later.stats().runs == 4
    found = json.loads(runid("reindex", "--json").stdout)
    assert found["runs"] == 4


DAMAGES: dict[str, Callable[[Path], object]] = {
    "deleted": lambda path: path.unlink(),
    "garbage": lambda path: path.write_bytes(b"garbage" * 1000),
    "a directory of another version": lambda path: path.with_name("index-1.sqlite3").touch(),
}


@pytest.mark.parametrize("damage", list(DAMAGES))
def test_whatever_the_old_index_is_the_new_one_is_sound(damage: str, tmp_path: Path) -> None:
    some_runs(tmp_path)
    RunRegistry(tmp_path).find()
    DAMAGES[damage](index_of(tmp_path))
    assert json.loads(runid("reindex", "--json", "--dir", str(tmp_path)).stdout)["runs"] == 300


def test_a_missing_directory_stays_missing(tmp_path: Path) -> None:
    done = runid("reindex", "--dir", str(tmp_path / "missing"))
    assert (done.returncode, done.stdout) == (0, "")
    assert "nothing is recorded" in done.stderr
    found = json.loads(runid("reindex", "--json", "--dir", str(tmp_path / "missing")).stdout)
    assert (found["index"], found["runs"], found["bytes"]) == (None, 0, 0)
    assert not (tmp_path / "missing").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
def test_where_it_cannot_be_written_it_says_what_to_set_and_the_old_one_stays(open_to_all: Path) -> None:
    store, cache = open_to_all / "runs", open_to_all / "cache"
    some_runs(store, 3)
    with RunRegistry(store) as registry:
        registry.find()
    inode = index_of(store).stat().st_ino
    readable_by_all(store)
    cache.mkdir(mode=0o555)
    done = as_nobody("reindex", "--dir", str(store), XDG_CACHE_HOME=str(cache))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"cannot be written to {cache}/" in done.stderr
    assert "set XDG_CACHE_HOME" in done.stderr
    assert done.stderr.count("\n") == 1
    assert is_harmless(done.stderr)
    cache.chmod(0o777)
    done = as_nobody("reindex", "--dir", str(store), XDG_CACHE_HOME=str(cache))
    assert done.stdout.startswith(f"index  {cache}/")
    assert index_of(store).stat().st_ino == inode
    (store / "journal").chmod(0)
    done = as_nobody("reindex", "--dir", str(store), XDG_CACHE_HOME=str(cache))
    assert (done.returncode, done.stdout) == (1, "")
    assert "cannot be read" in done.stderr
    (store / "journal").chmod(0o700)


def test_a_build_that_fails_leaves_the_old_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some_runs(tmp_path)
    with RunRegistry(tmp_path) as registry:
        registry.find()
    inode = index_of(tmp_path).stat().st_ino

    def stop(_: object) -> None:
        raise KeyboardInterrupt

    index = Index(str(tmp_path), stop)
    with pytest.raises(KeyboardInterrupt):
        index.rebuild()
    assert index_of(tmp_path).stat().st_ino == inode
    assert len(journals_of(tmp_path)) == 1
    with RunRegistry(tmp_path) as registry:
        assert registry.stats().runs == 300


def test_where_there_can_be_none_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = runid("reindex", "--dir", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    off = runid("reindex", AGENT_RUN_DIR="off")
    assert (off.returncode, off.stdout) == (1, "")
    assert "--dir" in off.stderr
