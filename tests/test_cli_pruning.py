"""``runid prune``: what is removed was told of before, and nothing else is."""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import tempfile
import threading
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunRegistry, housekeeping
from agent_run_id.cli.sizes import bytes_of, size
from agent_run_id.housekeeping import plan_retention, retain
from agent_run_id.index import Index
from agent_run_id.settings import Retention
from tests.commands import as_nobody, runid
from tests.journal_programs.houses import Folder, age, dead, eager, files, folders, keep
from tests.journal_programs.indexes import index_of
from tests.journal_programs.journals import held
from tests.journal_programs.programs import IS_ROOT, NOBODY
from tests.terminals import Terminal

DAY_S = 86_400
PRUNE = (sys.executable, "-m", "agent_run_id.cli", "prune")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """Two old journals and one of today."""
    dead(tmp_path, 2, age_s=10 * DAY_S, size=5000)
    dead(tmp_path, 1, first=3)
    return tmp_path


def prune(store: Path, *arguments: str) -> dict[str, Any]:
    done = runid("prune", "--dir", str(store), "--json", *arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(done.stdout))


def names(store: Path) -> list[str]:
    return [path.name for path in files(store)]


# What is planned is what is done --------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    folders(),
    st.none() | st.integers(0, 20_000).map(lambda size: size + 1),
    st.none() | st.integers(0, 3),
    st.lists(st.integers(0, 5), min_size=20, max_size=20),
)
def test_a_plan_changes_nothing_and_is_what_housekeeping_removes(
    folder: Folder, limit: int | None, days: int | None, ages: list[int]
) -> None:
    """Of the living and of those of whom nothing is known as well, whole or copied or without a head."""
    retention = Retention(None if days is None else days + 0.5, limit)
    left: list[set[str]] = []
    plans: list[set[str]] = []
    for do in (plan_and_retain, keep_only):
        with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
            directory = Path(temporary)
            folder.write(directory, locks)
            for path, days_old in zip(files(directory), ages, strict=False):
                age(path, days_old * DAY_S)
            before = set(names(directory))
            do(directory, retention, plans)
            left.append(set(names(directory)))
    assert left[0] == left[1]
    assert plans == [before - left[0]]


def plan_and_retain(directory: Path, retention: Retention, plans: list[set[str]]) -> None:
    before = [(path.name, path.stat().st_size) for path in files(directory)]
    planned = plan_retention(str(directory), retention)
    assert [(path.name, path.stat().st_size) for path in files(directory)] == before
    assert not (directory / ".housekeeping").exists()
    done = retain(str(directory), retention, planned)
    assert done == planned
    assert (done.kept, done.kept_bytes) == (
        len(files(directory)),
        sum(path.stat().st_size for path in files(directory)),
    )
    plans.append({Path(removal.path).name for removal in done.removals})


def keep_only(directory: Path, retention: Retention, _: list[set[str]]) -> None:
    with eager(_MIN_JOURNALS=10**6, _MIN_BUNDLES=10**6):
        keep(directory, retention)


def test_only_what_was_shown_is_removed_and_only_if_it_is_still_to_go(store: Path) -> None:
    plan = plan_retention(str(store), Retention(5, None))
    [first, second] = [Path(removal.path) for removal in plan.removals]
    first.touch()
    dead(store, 1, first=4, age_s=20 * DAY_S)
    done = retain(str(store), Retention(5, None), plan)
    assert [removal.path for removal in done.removals] == [str(second)]
    assert done.kept == 3


def test_a_dry_run_leaves_even_what_never_got_its_name(store: Path) -> None:
    left = store / "journal" / ".20231114T221320Z-bundle-x.0001.jsonl.new"
    left.touch()
    age(left, 2 * DAY_S)
    prune(store, "--older-than", "5d", "--dry-run")
    assert left.exists()


# The command ----------------------------------------------------------------------------------------------------------


def test_what_would_go_is_told_whole_and_stays(store: Path) -> None:
    before = [(path, path.stat().st_mtime_ns) for path in store.rglob("*")]
    found = prune(store, "--older-than", "5d", "--dry-run")
    assert [(path, path.stat().st_mtime_ns) for path in store.rglob("*")] == before
    assert list(found) == [
        "directory", "days", "bytes", "dry_run", "removed", "removed_bytes", "kept", "kept_bytes",
    ]  # fmt: skip
    assert (found["directory"], found["days"], found["bytes"], found["dry_run"]) == (str(store), 5, None, True)
    removed = found["removed"]
    assert [each["journal"] for each in removed] == names(store)[:2]
    assert found["removed_bytes"] == sum(each["bytes"] for each in removed)
    assert found["kept"] == 1
    assert all(datetime.fromisoformat(each["first"]) <= datetime.fromisoformat(each["last"]) for each in removed)
    told = runid("prune", "--older-than", "5d", "--dry-run", "--dir", str(store)).stdout
    assert "keeping    5 days, any size\nwould go   2 journals, " in told
    assert "left       1 journal, " in told


def test_with_yes_it_goes_and_the_index_forgets_it(store: Path) -> None:
    with RunRegistry(store) as registry:
        registry._index._keep_house_at = float("inf")
        assert registry.stats().runs == 3
    found = prune(store, "--older-than", "5d", "--yes")
    assert (len(found["removed"]), found["dry_run"]) == (2, False)
    assert len(files(store)) == found["kept"] == 1
    index = Index(str(store))
    assert index.read("SELECT count(*) AS n FROM runs")[0]["n"] == 1, "without another update"
    index.close()


def test_where_there_is_no_index_none_is_made(store: Path) -> None:
    prune(store, "--older-than", "5d", "--yes")
    assert not index_of(store).exists()


def test_without_a_terminal_nothing_goes_but_with_yes(store: Path) -> None:
    done = runid("prune", "--older-than", "5d", "--dir", str(store))
    assert (done.returncode, done.stdout) == (2, "")
    assert "2 journals would be removed: type --yes" in done.stderr
    assert len(files(store)) == 3


@pytest.mark.parametrize(("answer", "status", "left"), [("y", 0, 1), ("YES", 0, 1), ("n", 1, 3), ("", 1, 3)])
def test_on_a_terminal_it_tells_and_asks(answer: str, status: int, left: int, store: Path) -> None:
    with Terminal(*PRUNE, "--older-than", "5d", "--dir", str(store)) as terminal:
        told = terminal.hear("[y/N] ")
        assert "to remove  2 journals, " in told
        assert len(files(store)) == 3
        terminal.tell(f"{answer}\n")
        terminal.hear("left " if status == 0 else "nothing was removed")
        assert terminal.ending() == status
    assert len(files(store)) == left


def test_nothing_to_remove_needs_no_answer(store: Path) -> None:
    done = runid("prune", "--older-than", "50d", "--dir", str(store))
    assert (done.returncode, done.stderr) == (0, "")
    assert "removed    nothing\n" in done.stdout
    assert "left       3 journals" in done.stdout


def test_without_options_it_keeps_what_is_configured_and_with_one_only_that(store: Path) -> None:
    variables = {"AGENT_RUN_RETENTION_DAYS": "5", "AGENT_RUN_RETENTION_BYTES": "1000000"}
    for arguments, days, limit, gone in (
        ((), 5, 1_000_000, 2),
        (("--older-than", "20d"), 20, None, 0),
        (("--max-size", "2KiB"), None, 2048, 2),
    ):
        done = runid("prune", "--dry-run", "--json", "--dir", str(store), *arguments, **variables)
        found = json.loads(done.stdout)
        assert (found["days"], found["bytes"], len(found["removed"])) == (days, limit, gone)


def test_what_a_living_process_writes_stays_however_old_and_large(tmp_path: Path) -> None:
    [path] = dead(tmp_path, 1, age_s=90 * DAY_S, size=5000)
    with held(path):
        assert prune(tmp_path, "--older-than", "1d", "--yes")["removed"] == []
        assert prune(tmp_path, "--max-size", "10", "--yes")["removed"] == []
    assert len(prune(tmp_path, "--older-than", "1d", "--yes")["removed"]) == 1


def test_it_waits_for_whoever_keeps_house(store: Path) -> None:
    found: list[dict[str, Any]] = []
    with housekeeping._alone(str(store / ".housekeeping")):
        thread = threading.Thread(target=lambda: found.append(prune(store, "--older-than", "5d", "--yes")))
        thread.start()
        thread.join(timeout=2)
        assert len(files(store)) == 3
    thread.join()
    assert len(found[0]["removed"]) == 2


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--older-than", "3"], "type 90m, 2h, 30d or 2w"),
        (["--older-than", "0d"], "more than 0"),
        (["--max-size", "much"], "type 5GiB, 500MB"),
        (["--max-size", "0"], "more than 0"),
    ],
)
def test_what_is_not_understood_ends_with_2_and_says_what_to_type(arguments: list[str], hint: str) -> None:
    done = runid("prune", *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1


def test_an_empty_directory_has_nothing_to_remove_and_stays_empty(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        assert prune(place, "--older-than", "1d", "--yes")["removed"] == []
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    done = runid("prune", "--dir", str(tmp_path / "file"))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert runid("prune", AGENT_RUN_DIR="off").returncode == 1


def readable_by_all(store: Path) -> None:
    for path in (store, *store.rglob("*")):
        path.chmod(0o755)


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
def test_only_the_owner_removes_anything_and_root_does_not_lock_the_owner_out(open_to_all: Path) -> None:
    store = open_to_all / "runs"
    dead(store, 2, age_s=10 * DAY_S)
    readable_by_all(store)
    done = as_nobody("prune", "--older-than", "5d", "--yes", "--dir", str(store), XDG_CACHE_HOME=str(open_to_all / "c"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "is not yours to remove; its owner can" in done.stderr
    assert done.stderr.count("\n") == 1
    for path in (store, *store.rglob("*")):
        shutil.chown(path, NOBODY)
    assert "is not yours" in runid("prune", "--older-than", "5d", "--yes", "--dir", str(store)).stderr
    assert len(files(store)) == 2
    assert not (store / ".housekeeping").exists()


@pytest.mark.parametrize(
    ("text", "amount"),
    [("4096", 4096), ("1KiB", 1024), ("1k", 1024), ("1KB", 1000), ("5GiB", 5 * 1024**3), ("1.5 gib", 3 * 1024**3 // 2),
     ("2mb", 2_000_000), ("7 bytes", 7), ("7B", 7), ("1T", 1024**4)],
)  # fmt: skip
def test_a_size_is_the_one_that_was_meant(text: str, amount: int) -> None:
    assert bytes_of(text) == amount


@pytest.mark.parametrize("text", ["", "GiB", "-1", "1e9", "5 XiB", "1,000", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no size; type 5GiB, 500MB"):
        bytes_of(text)


def test_a_size_is_told_in_the_unit_that_suits_it() -> None:
    told = [size(amount) for amount in (0, 1023, 1024, 13_000_000, 5 * 1024**3, 2**80)]
    assert told == ["0 bytes", "1,023 bytes", "1.0 KiB", "12.4 MiB", "5.0 GiB", "1,073,741,824.0 PiB"]
