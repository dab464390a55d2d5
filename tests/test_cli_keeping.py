"""``runid stats`` and ``runid alias``: how much there is, and other names for what there is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings

from agent_run_id import ROOT, RunId, RunNotFound, start_run
from agent_run_id.testing import capture_runs
from tests.commands import Screen, answer, as_nobody, environment, is_harmless, runid, runid_on_terminal
from tests.hostile_runs import record_everywhere
from tests.journal_programs.indexes import SEEN, started
from tests.journal_programs.journals import crafted, event, journals_of, write_journal
from tests.journal_programs.programs import IS_ROOT
from tests.test_cli_terminal import PAINT, hostile_texts

if TYPE_CHECKING:
    from pathlib import Path

    from agent_run_id import RunRegistry


@pytest.fixture
def one() -> RunId:
    with start_run("one", kind="agent") as run:
        start_run("below", kind="tool").end(error="no")
    return run.id


# Stats ----------------------------------------------------------------------------------------------------------------


def test_stats_are_those_of_the_registry(one: RunId, registry: RunRegistry) -> None:
    found = json.loads(runid("stats", "--json").stdout)
    assert found.pop("directory") == registry.directory
    assert found.pop("index").startswith(registry.directory)
    assert found == {
        **json.loads(registry.stats().model_dump_json()),
        "first_start": found["first_start"],
        "last_start": found["last_start"],
        "index_bytes": found["index_bytes"],
    }
    assert found["first_start"].endswith("Z")
    assert (found["runs"], found["by_status"]) == (2, {"succeeded": 1, "failed": 1})


def test_stats_are_told_in_words(one: RunId, tmp_path: Path) -> None:
    lines = {line[:12].strip(): line[12:] for line in runid("stats").stdout.splitlines()}
    assert list(lines) == [
        "directory", "runs", "roots", "kinds", "started", "events", "processes", "journals", "index",
    ]  # fmt: skip
    assert lines["runs"] == "2: 1 ✓ succeeded, 1 ✗ failed"
    assert (lines["roots"], lines["events"], lines["processes"]) == ("1", "4", "1 alive")
    assert sorted(lines["kinds"].split(", ")) == ["1 agent", "1 tool"]
    write_journal(tmp_path, [started(name="run"), b"garbage\n"])
    assert "unreadable  1 piece of them; `runid doctor`" in runid("stats", "--dir", str(tmp_path)).stdout


def test_of_many_kinds_a_person_is_told_the_most(tmp_path: Path) -> None:
    runs = [RunId(f"{number:08x}-0000-4000-8000-000000000000") for number in range(1, 41)]
    crafted(tmp_path, [event(0, "run.started", run, kind=f"k{place}") for place, run in enumerate(runs)])
    assert "… and 28 more" in runid("stats", "--dir", str(tmp_path)).stdout
    assert len(json.loads(runid("stats", "--json", "--dir", str(tmp_path)).stdout)["by_kind"]) == 40


def test_of_an_empty_directory_there_is_nothing_to_tell_but_how_to_record(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "missing"):
        done = runid("stats", "--dir", str(place))
        assert done.returncode == 0
        assert "runs        0\n" in done.stdout
        assert "start_run" in done.stderr
    assert not (tmp_path / "missing").exists()


def test_stats_fit_a_terminal(one: RunId) -> None:
    for number in range(20):
        start_run("run", parent=ROOT, kind=f"a rather long kind {number}").end()
    lines = runid_on_terminal(80, "stats", NO_COLOR="1").splitlines()
    assert max(map(len, lines)) <= 80
    assert any(line.startswith(" " * 12) for line in lines)
    assert "\x1b[" in runid_on_terminal(80, "stats")


# Aliases --------------------------------------------------------------------------------------------------------------


def test_a_run_is_found_by_the_names_it_is_given_and_stays_as_it_was(one: RunId, registry: RunRegistry) -> None:
    before = registry.get(one)
    done = runid("alias", one.short(), "TICKET-1882", "a name with spaces", "TICKET-1882")
    assert (done.returncode, done.stderr) == (0, "")
    assert "  is found by TICKET-1882 (new)\n  is found by a name with spaces (new)\n" in done.stdout
    for name in ("TICKET-1882", "a name with spaces"):
        assert registry.get(name).id == one.value
    after = registry.get(one)
    changed = {"aliases": ("TICKET-1882", "a name with spaces"), "last_event_at": after.last_event_at}
    assert after == before.model_copy(update=changed)
    assert registry.stats().runs == 2, "who gives a name is no run"


def test_a_running_run_goes_on_running_in_its_own_process(registry: RunRegistry) -> None:
    """Also where the command is called below it, as by a program that it has started."""
    with start_run("busy") as run:
        assert runid("alias", "@last", "T-1").returncode == 0
        record = registry.get("T-1")
        assert (record.status, record.process) == ("running", registry.get(run.id).process)
        assert record.process is not None
        assert record.process.pid == os.getpid()
        assert [node.record.name for node in registry.tree("T-1")] == ["busy"]
    assert registry.get("T-1").status == "succeeded"


def test_the_document_has_all_names_and_those_that_are_new(one: RunId) -> None:
    runid("alias", "@last", "T-1")
    found: dict[str, Any] = json.loads(runid("alias", "T-1", "T-1", "T-2", "--json").stdout)
    assert found == {"id": one.value, "aliases": ["T-1", "T-2"], "added": ["T-2"]}


def test_a_name_it_has_already_is_not_recorded_again(one: RunId, registry: RunRegistry) -> None:
    runid("alias", "@last", "T-1")
    count = len(journals_of(registry.directory))
    done = runid("alias", "@last", "T-1")
    assert "is found by T-1\n" in done.stdout
    assert len(journals_of(registry.directory)) == count


def test_a_name_that_finds_another_run_is_refused_unless_it_is_to_mean_either(
    one: RunId, registry: RunRegistry
) -> None:
    child = registry.children(one)[0]
    runid("alias", one.value, "T-1")
    done = runid("alias", child.id, "T-0", "T-1")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'T-1' already finds one [{one.short()}]" in done.stderr
    assert "--force" in done.stderr
    assert registry.get(child.id).aliases == (), "none is recorded if one is refused"
    assert runid("alias", child.id, "T-1", "--force").returncode == 0
    with pytest.raises(RunNotFound) as caught:
        registry.get("T-1")
    assert set(caught.value.candidates) == {one.value, child.id}
    third = start_run("third", parent=ROOT)
    third.end()
    assert "already finds" in runid("alias", third.id.value, "T-1").stderr, "nor one that two have"


def test_what_looks_like_an_id_is_told_of_and_what_begins_another_is_refused(one: RunId, registry: RunRegistry) -> None:
    child = registry.children(one)[0]
    assert "already finds below" in runid("alias", one.value, child.id[:8]).stderr
    for more in ((), ("--force",)):
        done = runid("alias", one.value, child.id, *more)
        assert done.returncode == 2
        assert "is the id of another run" in done.stderr
    for name in ("deadbeef", "0123456789abcdef", "0af7651916cd43dd8448eb211c80319c"):
        done = runid("alias", one.value, name)
        assert done.returncode == 0
        assert f"{name!r} looks like an id" in done.stderr
        assert registry.get(name).id == one.value
    done = runid("alias", one.value, child.id[:3], "4711")
    assert (done.returncode, done.stderr) == (0, ""), "a shorter beginning gives way to a name"
    assert registry.get(child.id[:3]).id == one.value


@pytest.mark.parametrize(
    ("name", "why"), [("@last", "@last"), ("@mine", "@last"), ("-x", "option"), ("", "empty"), ("  ", "empty")]
)
def test_a_name_that_could_not_be_typed_is_refused_with_the_reason(
    name: str, why: str, one: RunId, registry: RunRegistry
) -> None:
    done = runid("alias", one.value, "--force", "--", name)
    assert (done.returncode, done.stdout) == (2, "")
    assert why in done.stderr
    assert done.stderr.count("\n") == 1
    assert registry.get(one).aliases == ()


def test_a_name_that_is_no_text_is_refused(one: RunId) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "agent_run_id.cli", "alias", one.value, b"\xff\xfe"],
        env=environment(PYTHONUTF8="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "is no UTF-8 text" in done.stderr


def test_the_run_has_to_be_there(tmp_path: Path) -> None:
    done = runid("alias", "@last", "T-1", "--dir", str(tmp_path / "missing"))
    assert (done.returncode, done.stdout) == (5, "")
    assert not (tmp_path / "missing").exists()


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
def test_in_the_directory_of_somebody_else_no_name_is_recorded_and_it_says_so(open_to_all: Path) -> None:
    place = open_to_all / "runs"
    crafted(place, [event(0, "run.started", SEEN, name="run")])
    for path in (place, place / "journal", *journals_of(place)):
        path.chmod(0o755)
    done = as_nobody("alias", "@last", "T-1", "--dir", str(place), XDG_CACHE_HOME=str(open_to_all / "cache"))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"could not be recorded in {place}" in done.stderr
    assert "whoever owns the directory" in done.stderr
    assert done.stderr.count("\n") == 1
    assert len(journals_of(place)) == 1


@pytest.mark.skipif(not IS_ROOT, reason="only root can be another user")
@pytest.mark.parametrize(
    ("command", "status"),
    [
        (("stats",), 1),
        (("usage",), 1),
        (("usage", "@last"), 1),
        (("events", "@last"), 1),
        (("events", "@last", "--below"), 1),
        (("alias", "@last", "T-1"), 1),
        (("prune", "--dry-run"), 1),
        (("prune", "--yes"), 1),
        (("reindex",), 1),
        (("diff", "@last", "@last"), 2),
    ],
)
def test_a_directory_that_may_not_be_read_is_one_line_and_a_code(
    command: tuple[str, ...], status: int, open_to_all: Path
) -> None:
    place = open_to_all / "runs"
    crafted(place, [event(0, "run.started", SEEN, name="run")])
    place.chmod(0o755)
    done = as_nobody(*command, "--dir", str(place), XDG_CACHE_HOME=str(open_to_all / "cache"))
    assert (done.returncode, done.stdout) == (status, "")
    assert "cannot be read: Permission denied" in done.stderr
    assert done.stderr.count("\n") == 1


@given(hostile_texts)
@settings(max_examples=20)
def test_nothing_recorded_and_no_name_controls_a_terminal(text: str) -> None:
    with capture_runs():
        record_everywhere(text)
        name = f"x{text}".encode(errors="replace").decode()
        for command in (("stats",), ("alias", "@last", name)):
            plain = answer(*command)
            assert is_harmless(plain)
            assert is_harmless(PAINT.sub("", answer(*command, file=Screen(), COLUMNS="60", TERM="xterm")))
            document = answer(*command, "--json")
            assert is_harmless(document)
            assert document.isascii()
        assert json.loads(document)["aliases"] == [name]
