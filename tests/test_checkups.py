"""Check-ups: each fault of a store is made for real, and what is said of it is what is so."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
from typing import TYPE_CHECKING

import pytest

from agent_run_id import RunRegistry
from agent_run_id.checkups import check_store
from agent_run_id.index import Index
from agent_run_id.looking import look_at_index
from tests.journal_programs.programs import IS_ROOT, NOBODY, run_program

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id.diagnoses import Finding

RECORDS = """
import agent_run_id as ari
with ari.start_run("outer") as outer:
    for number in range(3):
        with ari.start_run(f"inner {number}"):
            ari.current_run().step("a step")
print(ari.accounts().directory)
"""
USER = str(NOBODY if IS_ROOT else -1)
AS_USER = """
import os, sys
from pathlib import Path
from agent_run_id.checkups import check_store  # all that it needs is loaded while it may be
user, act = int(sys.argv[1]), sys.argv[2]
if user > 0:
    os.setgroups([]); os.setgid(user); os.setuid(user)
for finding in check_store(act or None):
    print(finding.subject, finding.health, finding.text, finding.advice or "", sep="|")
"""


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A directory in which a process that is over has recorded 4 runs."""
    place = tmp_path / "runs"
    run_program(RECORDS, directory=place)
    return place


def findings(store: Path) -> dict[str, Finding]:
    """What there is to be said of a directory, by what was looked at; the directory itself comes first."""
    found = check_store(store)
    return {finding.subject: finding for finding in reversed(found)}


def journal_of(store: Path) -> Path:
    [journal] = (store / "journal").glob("*.jsonl")
    return journal


def as_user(store: Path | None, *, directory: Path | str | None = None, **env: str | None) -> dict[str, list[str]]:
    """The same, said to a user who is not root."""
    said = run_program(AS_USER, USER, "" if store is None else str(store), directory=directory, env=env)
    lines = [line.split("|") for line in said.splitlines()]
    return {line[0]: line[1:] for line in reversed(lines)}


def for_user(*places: Path) -> None:
    """Give places to that user."""
    for place in places:
        for each in (place, *place.rglob("*")):
            if IS_ROOT:
                os.chown(each, NOBODY, -1)


# Nothing wrong --------------------------------------------------------------------------------------------------------


def test_of_a_sound_store_nothing_is_to_be_said(store: Path) -> None:
    RunRegistry(store).stats()
    found = findings(store)
    assert {finding.health for finding in found.values()} == {"ok"}, found
    assert found["journals"].text == "4 runs, 11 events in 1 journals"
    assert found["processes"].text == "1 dead"
    assert found["index"].text.endswith("is sound, up to date")
    assert "the limit" not in found["space"].text


def test_looking_changes_nothing_but_the_index(store: Path) -> None:
    def contents() -> dict[str, tuple[int, bytes]]:
        files = [each for each in store.rglob("*") if each.is_file()]
        return {
            str(each.relative_to(store)): (each.stat().st_mtime_ns, each.read_bytes())
            for each in files
            if not each.name.startswith(("index-", ".housekeeping"))
        }

    before = contents()
    check_store(store)
    assert contents() == before
    assert list(store.rglob(".doctor-*")) == []


def test_how_far_an_index_is_behind_is_told_and_then_it_is_not(store: Path) -> None:
    RunRegistry(store).stats()
    run_program(RECORDS, directory=store)
    new = max(each.stat().st_size for each in (store / "journal").glob("*.jsonl"))
    behind = re.search(r"is sound, ([\d,]+) bytes behind", findings(store)["index"].text)
    assert behind is not None
    assert abs(int(behind[1].replace(",", "")) - new) < 100
    assert findings(store)["index"].text.endswith("up to date")


def test_an_index_that_is_being_written_is_not_taken_for_damaged(store: Path) -> None:
    index = index_of(store)
    with contextlib.closing(sqlite3.connect(index, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        found = look_at_index(Index(str(store)))
    assert (found.health, "is being written" in found.text) == ("ok", True)


# What is odd ----------------------------------------------------------------------------------------------------------


def test_a_torn_line_is_counted_and_its_journal_is_named(store: Path) -> None:
    journal = journal_of(store)
    with journal.open("ab") as file:
        file.write(b'{"v":1,"type":"run.sta')
    found = findings(store)["lines"]
    assert found.health == "note"
    assert "1 pieces" in found.text
    assert journal.name in found.text


def test_events_that_were_dropped_are_counted(store: Path) -> None:
    journal = journal_of(store)
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:3] + lines[5:]))
    found = findings(store)["losses"]
    assert (found.health, found.text.split(" are ")[0]) == ("note", "2 events of 1 processes")


def test_a_directory_that_others_may_read_is_noted_and_one_they_may_change_is_wrong(store: Path) -> None:
    store.chmod(0o755)
    found = findings(store)["permissions"]
    assert (found.health, "0755" in found.text, found.advice) == ("note", True, f"chmod -R go= '{store}'")
    store.chmod(0o777)
    assert findings(store)["permissions"].health == "wrong"
    store.chmod(0o700)
    journal_of(store).chmod(0o644)
    assert journal_of(store).name in findings(store)["permissions"].text


def index_of(store: Path) -> Path:
    """An index that is there as one file."""
    RunRegistry(store).stats()
    [index] = store.glob("index-*.sqlite3")
    with contextlib.closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return index


@pytest.mark.parametrize("damage", ["beginning", "middle"])
def test_an_index_that_is_damaged_is_told_of_until_it_is_made_anew(store: Path, damage: str) -> None:
    index = index_of(store)
    sound = index.read_bytes()
    start = 0 if damage == "beginning" else 8192
    index.write_bytes(sound[:start] + b"\xff" * 8192 + sound[start + 8192 :])
    found = findings(store)
    assert "is damaged" in found["index"].text
    if found["index"].health == "wrong":  # nothing that was asked has met it
        subprocess.run(["/bin/sh", "-c", (found["index"].advice or "").rpartition(": ")[2]], check=True)
    else:
        assert found["index"].text.endswith("made anew")
    found = findings(store)
    assert found["index"].health == "ok"
    assert found["journals"].text == "4 runs, 11 events in 1 journals"


def test_an_index_of_another_layout_and_those_of_other_versions_are_noted(store: Path) -> None:
    index = index_of(store)
    with contextlib.closing(sqlite3.connect(index)) as connection:
        connection.execute("PRAGMA user_version = 17")
    shutil.copy(index, store / "index-1.sqlite3")
    found = findings(store)
    assert "laid out as by another version" in found["index"].text
    assert found["index"].text.endswith("made anew")
    assert found["other indexes"].text.startswith("index-1.sqlite3")


def test_processes_of_which_nobody_can_tell_whether_they_live_are_noted(store: Path) -> None:
    journal = journal_of(store)
    journal.write_text(re.sub(r'"host": ?"[^"]*"', '"host":"elsewhere"', journal.read_text(), count=1))
    found = findings(store)["processes"]
    assert found.health == "note"
    assert found.text.startswith("1 unknown, 1 of other machines")


def test_clocks_that_disagree_are_noted(store: Path) -> None:
    journal = journal_of(store)
    lines = journal.read_text().splitlines(keepends=True)
    # The run above says that it began an hour after those below it, and an hour from now.
    lines[1] = re.sub(r'"time":(\d+)', lambda time: f'"time":{int(time[1]) + 3_600_000_000}', lines[1])
    journal.write_text("".join(lines))
    found = findings(store)["clocks"]
    assert found.health == "note"
    assert "1 runs started later than now" in found.text
    assert re.search(r"3 started before their parents, by up to 3,\d{3}\.\d{3} s", found.text)


def test_a_process_that_began_before_the_clock_was_set_forward_is_noted(store: Path) -> None:
    journal = journal_of(store)
    header, _, rest = journal.read_text().partition("\n")
    if '"pid_started":null' in header or '"boot":null' in header:
        pytest.skip("this system does not say when a process began")
    header = re.sub(r'"time":(\d+)', lambda time: f'"time":{int(time[1]) - 3_600_000_000}', header)
    journal.write_text(f"{header}\n{rest}")
    assert "began before the clock" in findings(store)["clocks"].text


# Where it should be ---------------------------------------------------------------------------------------------------


def test_that_recording_is_off_is_noted_with_the_variable_that_says_so() -> None:
    found = as_user(None)["directory"]
    assert found[0] == "note"
    assert "AGENT_RUN_DIR says so" in found[1]


def test_a_directory_that_is_not_there_yet_is_noted_and_one_that_cannot_be_is_wrong(open_to_all: Path) -> None:
    found = as_user(None, directory=open_to_all / "runs")
    assert found["directory"][0] == "ok"
    assert list(open_to_all.iterdir()) == []
    (open_to_all / "file").touch()
    lines = run_program(AS_USER, USER, "", directory=open_to_all / "file" / "runs").splitlines()
    assert "wrong" in lines[1]
    lines = run_program(AS_USER, USER, "", directory=open_to_all / "file").splitlines()
    assert lines[1].startswith("directory|wrong|")
    assert "is no directory" in lines[1]


def test_without_a_home_it_is_said_what_to_set() -> None:
    said = run_program(AS_USER, str(NOBODY), "", env={"HOME": None, "XDG_STATE_HOME": None, "AGENT_RUN_DIR": None})
    if IS_ROOT:
        assert said.startswith("directory|wrong|this user has no home directory")
        assert "set AGENT_RUN_DIR" in said


def test_a_directory_that_may_not_be_written_is_wrong_for_who_records_there_and_noted_for_a_reader(
    open_to_all: Path,
) -> None:
    place = open_to_all / "runs"
    run_program(RECORDS, directory=place)
    for_user(place)
    (place / "journal").chmod(0o500)
    env = {"HOME": str(open_to_all), "XDG_CACHE_HOME": None}
    recording = as_user(None, directory=place, **env)
    assert recording["writing"][0] == "wrong"
    assert f"chmod u+rwx '{place}'" in recording["writing"][2]
    reading = as_user(place, **env)
    assert reading["writing"][0] == "note"
    assert reading["journals"][0] == "ok"
    (place / "journal").chmod(0o000)
    assert as_user(place, **env)["journals"][0] == "wrong"
    (place / "journal").chmod(0o700)


@pytest.mark.skipif(not IS_ROOT, reason="only root can give a file away")
def test_the_directory_of_somebody_else_is_wrong_for_who_would_record_there(store: Path) -> None:
    os.chown(store, NOBODY, -1)
    lines = run_program(AS_USER, "-1", "", directory=store).splitlines()
    assert any(line.startswith(f"owner|wrong|it belongs to user {NOBODY}") for line in lines)
    assert findings(store)["owner"].health == "note"


def test_a_setting_that_is_ignored_is_noted_with_what_it_takes(tmp_path: Path) -> None:
    variables = {"AGENT_RUN_FSYNC": "often", "AGENT_RUN_RETENTION_DAYS": "-3", "AGENT_RUN_MAX_DEPTH": "99999999"}
    lines = run_program(AS_USER, "-1", "", directory=tmp_path, env=dict(variables)).splitlines()
    noted = [line for line in lines if line.startswith("settings|note|")]
    assert len(noted) == 3
    for variable, value in variables.items():
        assert any(f"{variable}='{value}' is ignored|it takes " in line for line in noted)
    fine = {"AGENT_RUN_FSYNC": "ends", "AGENT_RUN_RETENTION_DAYS": "off", "AGENT_RUN_RETENTION_BYTES": "1e9"}
    assert "settings" not in run_program(AS_USER, "-1", "", directory=tmp_path, env=dict(fine))


def test_a_limit_that_the_disk_cannot_hold_is_noted(store: Path) -> None:
    def space(limit: str) -> str:
        said = run_program(AS_USER, "-1", str(store), env={"AGENT_RUN_RETENTION_BYTES": limit})
        return next(line for line in said.splitlines() if line.startswith("space"))

    assert space(str(2**62)).startswith("space|note|")
    assert space("off").startswith("space|note|")
    assert space("1000000").startswith("space|ok|")
