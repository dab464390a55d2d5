"""Every command of `runid`, wherever it is asked: on nothing, on ruins, on very much, and on what is hostile."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from rich.cells import cell_len

from agent_run_id import RunId, RunRegistry
from agent_run_id.checkups import check_store
from agent_run_id.cli import doctor
from agent_run_id.cli.app import COMMANDS
from agent_run_id.diagnoses import Checkup
from agent_run_id.testing import capture_runs
from tests.commands import Screen, answer, as_nobody, ended, environment, is_harmless, runid
from tests.hostile_runs import MARKUP, ROOT, everything_is, record_everywhere
from tests.journal_programs.journals import T0, crafted, event, started

if TYPE_CHECKING:
    from collections.abc import Iterator

ARGUMENTS: dict[str, str] = {
    "ls": "--all",
    "find": "since:9999d",
    "show": "{a}",
    "tree": "{a}",
    "events": "{a} --below",
    "tail": "",
    "watch": "{a} --timeout 0.01",
    "usage": "",
    "diff": "{a} {b}",
    "alias": "{a} other-name --force",
    "export": "{a}",
    "stats": "",
    "where": "",
    "doctor": "--all",
    "prune": "--dry-run --older-than 1s",
    "reindex": "",
}
"""What is typed behind each command, about two runs."""

NOT_THE_DOCTOR = [name for name in ARGUMENTS if name != "doctor"]
"""Those that test_checkups.py does not ask in such places already."""
PAINT = re.compile(r"\x1b\[[0-9;]*m")
WIDE, DEEP = 10_000, 2_000
SECOND = 1_000_000
FITTED = ("ls", "find", "tree", "tail", "events", "usage", "stats", "diff")
REFUSED = {"diff": 2}
"""Those that end otherwise than with 1 where a directory cannot be read."""


class Place(NamedTuple):
    """A directory, and two runs in it."""

    directory: str
    a: str = "@last"
    b: str = "@last"

    def typed(self, name: str) -> list[str]:
        """The whole command line of a command here."""
        return [name, *ARGUMENTS[name].format(a=self.a, b=self.b).split(), "--dir", self.directory]


@pytest.fixture(autouse=True)
def doctor_looks_at_the_store_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """All walls take it ten seconds, and test_doctor.py has them crossed."""

    def examine(directory: Path | None, **_: object) -> Checkup:
        store = tuple(check_store(directory))
        ok = all(finding.health != "wrong" for finding in store)
        return Checkup(ok=ok, took=timedelta(seconds=1), versions={}, imported=(), walls=(), store=store)

    monkeypatch.setattr(doctor, "examine", examine)


def test_every_command_is_asked() -> None:
    assert ARGUMENTS.keys() == COMMANDS.keys() - {"completion"}  # which is of no directory


# Nothing to read ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARGUMENTS)
@pytest.mark.parametrize("place", ["empty", "missing"])
def test_where_nothing_is_recorded_it_says_so(
    name: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir(mode=0o700)
    file = io.StringIO()
    status = ended(*Place(str(tmp_path / place)).typed(name), file=file)
    told, errors = file.getvalue(), capsys.readouterr().err
    needs_a_run = "{a}" in ARGUMENTS[name]
    assert status == (5 if needs_a_run else 0)
    assert is_harmless(told + errors)
    assert errors.count("\n") <= 1
    if needs_a_run:
        assert not told
        assert "`runid ls` lists the latest" in errors
    else:
        assert re.search(r"nothing|not there|first r(un|eading) makes|no run", told + errors)
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("name", NOT_THE_DOCTOR)
def test_where_recording_is_off_it_says_so(name: str) -> None:
    done = runid(*Place("").typed(name)[:-2], AGENT_RUN_DIR="off")
    assert "recording is off" in done.stdout + done.stderr
    assert done.returncode == (0 if name == "where" else REFUSED.get(name, 1))
    assert (done.stdout == "") == (done.returncode != 0)
    assert done.stderr.count("\n") == (done.returncode != 0)


@pytest.mark.parametrize("name", NOT_THE_DOCTOR)
def test_where_nobody_may_look_it_says_so(name: str, open_to_all: Path) -> None:
    shut = open_to_all / "shut"
    crafted(shut / "runs", [started(ROOT)])
    shut.chmod(0)
    try:
        done = as_nobody(
            *Place(str(shut / "runs"), ROOT.value, ROOT.value).typed(name), XDG_CACHE_HOME=str(open_to_all)
        )
    finally:
        shut.chmod(0o700)
    assert (done.returncode, done.stdout) == (REFUSED.get(name, 1), "")
    assert str(shut) in done.stderr
    assert done.stderr.count("\n") == 1


# Ruins ----------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def orphans(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two trees, of which the journals with the upper runs are gone."""
    directory = tmp_path_factory.mktemp("orphans")
    lines, tops = [], []
    for _ in range(2):
        top = RunId.generate(RunId.generate(RunId.generate()))
        below = RunId.generate(RunId.generate(top))
        for run in (top, below, RunId.generate(below)):
            lines += [started(run, name="orphan"), event(0, "run.usage", run, model="m", input_tokens=5)]
        tops.append(top.value)
    crafted(directory, lines)
    return Place(str(directory), *tops)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_runs_whose_parents_are_lost_are_told(name: str, orphans: Place) -> None:
    told = answer(*orphans.typed(name))
    assert is_harmless(told)
    if name in ("ls", "find", "show", "tree", "events", "tail", "watch", "alias", "export"):
        assert "orphan" in told


# Very much ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two runs with ten thousand and with some fewer children, each unlike the others."""
    directory = tmp_path_factory.mktemp("wide")
    tops = [RunId.generate(), RunId.generate()]
    lines = []
    for top, many in zip(tops, (WIDE, 50), strict=True):
        lines.append(started(top, name="nightly " * 30, input="x" * 999, kind="batch", user_id="ada" * 30))
        for number in range(many):
            run, time = RunId.generate(top), T0 + number * SECOND
            failed = {"error": {"message": "no " * 99}} if number % 1_000 == 17 else {}
            end = {"status": "failed" if failed else "succeeded", "elapsed": SECOND, **failed}
            lines += [
                started(run, name=f"名前 {number} {'word ' * number}"[:400], key=f"{number}-{'k' * 90}", time=time),
                event(0, "run.usage", run, model=f"model-{number % 5}" * 30, input_tokens=number, time=time),
                event(0, "run.ended", run, **end, time=time + SECOND),
            ]
    crafted(directory, lines)
    return Place(str(directory), *(top.value for top in tops))


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Two chains of two thousand runs; the last of one has failed."""
    directory = tmp_path_factory.mktemp("deep")
    lines, tops = [], []
    for status in ("succeeded", "failed"):
        chain = [RunId.generate()]
        while len(chain) < DEEP:
            chain.append(RunId.generate(chain[-1]))
        lines += [started(run, name=f"level {level} {'x' * 60}", key="k") for level, run in enumerate(chain)]
        lines += [event(0, "run.usage", chain[-1], model="m", cost=0.5, currency="USD")]
        lines += [event(0, "run.ended", run, status=status, error={"message": "m"}) for run in reversed(chain)]
        tops.append(chain[0].value)
    crafted(directory, lines)
    return Place(str(directory), *tops)


@pytest.mark.parametrize("name", FITTED)
@pytest.mark.parametrize("columns", [80, 200])
@pytest.mark.parametrize("many", ["wide", "deep", "hostile"])
def test_no_line_is_wider_than_the_terminal(name: str, columns: int, many: str, request: pytest.FixtureRequest) -> None:
    place: Place = request.getfixturevalue(many)
    file, some = Screen(), ["--type", "started"] if name == "events" else []  # thirty thousand take a while
    status = ended(*place.typed(name), *some, file=file, NO_COLOR="1", TERM="xterm", COLUMNS=str(columns))
    assert status == (1 if name == "diff" else 0)
    lines = file.getvalue().splitlines()
    assert lines
    assert [line for line in lines if cell_len(line) > columns][:3] == []


def test_a_line_far_down_still_tells_of_its_run(deep: Place) -> None:
    """Its branches alone would fill a hundred lines."""
    with RunRegistry(deep.directory) as registry:
        last = [node.record.id for node in registry.tree(deep.a).walk()][-1]
    told = answer(*deep.typed("tree"), file=Screen(), NO_COLOR="1", TERM="xterm", COLUMNS="80")
    assert f"[{last[:8]}]" in "".join(told.split())
    assert f"level {DEEP - 1}" in told


# What is hostile ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile() -> Iterator[Place]:
    """Runs that say hostile things wherever a program can, and wherever a journal can."""
    text = " ".join(MARKUP)
    with capture_runs() as registry:
        record_everywhere(text)
        everything_is(text, Path(registry.directory))
        for odd in MARKUP:
            record_everywhere(odd)
        yield Place(registry.directory, ROOT.value, registry.find(root_only=True, order="oldest")[1].id)


@pytest.mark.parametrize("name", ARGUMENTS)
def test_nothing_recorded_harms_a_terminal_and_colour_is_for_who_wants_it(name: str, hostile: Place) -> None:
    typed, status = hostile.typed(name), 1 if name == "diff" else 0
    if name == "alias":
        answer(*typed)  # so that the name is not new when the answers are compared
    piped = answer(*typed, status=status)
    assert piped
    assert is_harmless(piped)
    assert is_harmless(answer(*typed, file=Screen(), status=status, NO_COLOR="1", TERM="xterm"))
    painted = answer(*typed, status=status, FORCE_COLOR="1")
    assert is_harmless(PAINT.sub("", painted))
    assert is_harmless(answer(*typed, status=status, FORCE_COLOR="1", NO_COLOR="1"))
    if name not in ("reindex", "export"):  # of which one tells how long it took, and the other is for programs
        assert PAINT.sub("", painted) == piped
    assert ("\x1b" in painted) == (name != "export")


@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_reader_that_has_gone_ends_it_silently(name: str, orphans: Place) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "agent_run_id.cli", *orphans.typed(name)],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        errors = process.stderr.read()
    assert (process.returncode, errors) == (141, "")
