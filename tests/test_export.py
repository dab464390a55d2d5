"""``runid export``: whole files, for other programs and for spreadsheets, that nothing recorded can turn into more."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import re
import stat
import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRecord, RunRegistry, start_run
from agent_run_id.cli.files import write_whole
from agent_run_id.cli.spreadsheets import rows
from agent_run_id.rendering import clean
from agent_run_id.schema import ErrorRecord, EventRecord, UsageRecord
from agent_run_id.tree import grow
from tests.commands import answer, environment, runid
from tests.hostile_runs import MARKUP, ROOT, everything_is
from tests.journal_programs.journals import T0, crafted, event, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id import Tree

FORMATS = ("jsonl", "csv", "html")
NUMBER = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?").fullmatch
CHILDREN = 10_000
DEPTH = 2_000


@pytest.fixture
def trip() -> RunId:
    """A small tree: an agent that fails once, decides, and succeeds."""
    with start_run("plan_trip", kind="agent", user_id="ada", input="Lisbon", tags=["demo", "eu"]) as root:
        root.step("searched", hits=3)
        choice = root.decide("plane or train?", options=["plane", "train"], chosen="plane", why="it is far")
        with contextlib.suppress(ConnectionError), start_run("hold_seat", kind="tool", key="seat-1") as seat:
            seat.usage(model="small", input_tokens=1200, output_tokens=30, cost=0.25)
            seat.usage(model="local", input_tokens=10, output_tokens=1, cost=2.0, currency="credits")
            raise ConnectionError("the line\nis dead")
        choice.outcome("a seat is held")
        root.update(output={"seat": "14C"}, summary="two lines\nof it")
    return root.id


def exported(form: str, *arguments: str, ref: str = "@last") -> str:
    return answer("export", ref, "--format", form, *arguments)


def lines_of(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def cells_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text), strict=True))


# JSON lines -----------------------------------------------------------------------------------------------------------


def check_lines(text: str, registry: RunRegistry, ref: RunId) -> None:
    """Every line is an object in ASCII; together they are the tree and everything recorded of its runs."""
    assert text.isascii()
    assert text.endswith("\n")
    found = lines_of(text)
    assert [set(line) for line in found if "event" not in line] == [{"record", "detached", "skew"}] * len(
        registry.tree(ref)
    )
    expected: list[Any] = []
    for node in registry.tree(ref):
        expected += [(node.record, node.detached), *registry.events(node.record.run_id)]
    assert [
        EventRecord.model_validate(line["event"])
        if "event" in line
        else (RunRecord.model_validate(line["record"]), line["detached"])
        for line in found
    ] == expected


def test_json_lines_are_the_records_and_the_events_of_the_tree(trip: RunId, registry: RunRegistry) -> None:
    check_lines(exported("jsonl"), registry, trip)
    first = lines_of(exported("jsonl"))[0]
    assert (first["record"]["id"], first["detached"], first["skew"]) == (trip.value, False, None)
    second = lines_of(exported("jsonl"))[1]
    assert list(second["event"]) == ["type", "run_id", "time", "process_id", "seq", "data"]
    assert exported("jsonl") == answer("export", "@last")


@settings(max_examples=30)
@given(st.text(min_size=1, max_size=30))
def test_json_lines_give_back_whatever_was_recorded(text: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        everything_is(text, Path(temporary))
        with RunRegistry(temporary) as registry:
            check_lines(exported("jsonl", "--dir", temporary, ref=ROOT.value), registry, ROOT)


def test_the_events_of_many_runs_are_those_of_each(trip: RunId, registry: RunRegistry) -> None:
    ids = [node.record.id for node in registry.tree(trip)]
    each = [registry.events(one) for one in ids]
    assert list(registry.events_of(iter([*ids * 400, RunId.generate().value]))) == [*each * 400, []]
    assert list(registry.events_of([])) == []


# CSV ------------------------------------------------------------------------------------------------------------------


def test_a_spreadsheet_has_a_row_for_each_run(trip: RunId, registry: RunRegistry) -> None:
    text = exported("csv")
    root, seat = cells_of(text)
    assert len(text.splitlines()) == 3, "a row is a line, whatever is in it"
    record = registry.get(trip)
    assert record.started_at is not None
    assert record.elapsed is not None
    assert root["id"] == root["root_id"] == seat["parent_id"] == trip.value
    assert (root["depth"], seat["depth"], root["parent_id"]) == ("0", "1", "")
    assert (root["name"], root["kind"], root["status"], root["user_id"]) == ("plan_trip", "agent", "succeeded", "ada")
    assert root["started_at"] == f"{record.started_at:%Y-%m-%dT%H:%M:%S.%f}Z"
    assert timedelta(seconds=float(root["elapsed_s"])) == record.elapsed
    assert (root["tags"], root["summary"]) == ("demo, eu", "two lines\\x0aof it")
    assert (root["own_calls"], root["own_input_tokens"], root["own_cost_USD"]) == ("0", "", "")
    assert (root["subtree_input_tokens"], root["subtree_output_tokens"]) == ("1210", "31")
    assert (seat["own_cost_USD"], root["subtree_cost_USD"]) == ("0.25", "0.25")
    assert json.loads(root["subtree_cost_other"]) == {"credits": 2.0}, "only a code of a currency makes a column"
    assert (seat["key"], seat["error_type"], seat["error_message"]) == ("seat-1", "ConnectionError", "the line")


def a_tree(text: str) -> Tree:
    record = RunRecord(
        id=ROOT.value,
        root_id=ROOT.value,
        name=text,
        kind=text,
        key=text,
        user_id=text,
        session_id=text,
        summary=text,
        tags=(text,),
        error=ErrorRecord(type=text, message=text),
        usage=(UsageRecord(model=text, input_tokens=1, cost=0.5, currency=text),),
        elapsed=timedelta(seconds=1),
    )
    return grow(record, [])


def unmarked(text: str) -> str:
    """A cell without the apostrophes that may have been put into it."""
    return text.removeprefix("'").replace(";'", ";")


formulas = st.text("=+-@\uff1d\uff0b\uff0d\uff20\u2212\ufe63 \t\r\n\u3000\xa0\"';,a1\0")


@given(st.text() | formulas | st.text(st.characters(categories=["Cs", "Cc", "Cf"])))
@example(chr(0xD800))
def test_no_cell_of_a_spreadsheet_is_a_formula(text: str) -> None:
    written = "".join(rows(a_tree(text)))
    written.encode()
    header, cells = list(csv.reader(io.StringIO(written), strict=True))
    found = dict(zip(header, cells, strict=True))
    assert unmarked(found["name"]) == unmarked(clean(text))
    assert written.count("\n") == 2
    # Somebody else's program may divide the line at semicolons.
    for cell in [*cells, *(part for line in written.splitlines() for part in line.split(";"))]:
        beginning = cell.lstrip().lstrip('"').lstrip()[:1]
        assert beginning not in set("=+-@\t\r\n\uff1d\uff0b\uff0d\uff20") - {""} or NUMBER(cell)


@pytest.mark.parametrize("text", MARKUP, ids=lambda text: ascii(text)[:30])
def test_whatever_is_recorded_everywhere_is_one_row_of_a_spreadsheet(text: str, tmp_path: Path) -> None:
    everything_is(text, tmp_path)
    written = exported("csv", "--dir", str(tmp_path), ref=ROOT.value)
    assert written.count("\n") == 3
    assert [unmarked(row["name"]) for row in cells_of(written)] == [unmarked(clean(text))] * 2


def test_what_looks_like_a_formula_has_an_apostrophe_before_it_and_a_number_has_none() -> None:
    def cell(text: str) -> str:
        return next(csv.DictReader(io.StringIO("".join(rows(a_tree(text))))))["name"]

    told = ["=1", "\t=1", "\tx", " =1", "\uff1d1", "a;=1", "a=1", "-", "plain"]
    assert [cell(text) for text in told] == [
        "'=1", "'\\x09=1", "'\\x09x", "' =1", "'\uff1d1", "a;'=1", "a=1", "'-", "plain",
    ]  # fmt: skip
    usage = UsageRecord(model="m", cost=-0.5, currency="EUR")
    tree = grow(RunRecord(id=ROOT.value, root_id=ROOT.value, usage=(usage,)), [])
    assert cells_of("".join(rows(tree)))[0]["own_cost_EUR"] == "-0.5"


def test_a_cell_is_no_longer_than_a_spreadsheet_can_hold_and_columns_have_an_end() -> None:
    assert len(cells_of("".join(rows(a_tree("\0" * 100_000))))[0]["name"]) < 32_767
    reports = tuple(UsageRecord(model="m", cost=1.0, currency=f"A{a}{b}") for a in "ABCDEFG" for b in "ABCDEFG")
    row = cells_of("".join(rows(grow(RunRecord(id=ROOT.value, root_id=ROOT.value, usage=reports), []))))[0]
    assert len(row) < 70
    assert len(json.loads(row["own_cost_other"])) + sum(name.startswith("own_cost_A") for name in row) == len(reports)


# Where it goes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "form"),
    [("a.html", "html"), ("a.HTM", "html"), ("a.csv", "csv"), ("a.jsonl", "jsonl"), ("a.b.ndjson", "jsonl")],
)
def test_the_name_of_the_file_says_what_it_is(name: str, form: str, trip: RunId, tmp_path: Path) -> None:
    file = tmp_path / name
    done = runid("export", "@last", "-o", str(file))
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"runid: 2 runs written to {file} ({file.stat().st_size:,} bytes)\n"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [name]
    written = file.read_text(encoding="utf-8")
    if form != "html":  # which says when it was made
        assert written == exported(form)
    assert written.startswith({"html": "<!DOCTYPE", "csv": "id,", "jsonl": '{"record"'}[form])


def test_a_name_that_says_nothing_ends_with_2_and_names_the_formats(trip: RunId, tmp_path: Path) -> None:
    done = runid("export", "@last", "--output", str(tmp_path / "a.txt"))
    assert (done.returncode, done.stdout, list(tmp_path.iterdir())) == (2, "", [])
    assert ".jsonl, .ndjson, .html, .htm, .csv" in done.stderr
    assert "--format" in done.stderr
    assert runid("export", "@last", "--output", str(tmp_path / "a.txt"), "--format", "csv").returncode == 0
    assert runid("export", "@last", "--format", "xml").returncode == 2


def test_a_file_that_is_there_is_replaced_only_when_that_is_asked_for(trip: RunId, tmp_path: Path) -> None:
    file, link = tmp_path / "a.csv", tmp_path / "link.csv"
    file.write_text("mine")
    link.symlink_to(file)
    done = runid("export", "@last", "-o", str(file))
    assert (done.returncode, file.read_text()) == (2, "mine")
    assert "--force" in done.stderr
    assert runid("export", "@last", "-o", str(link), "--force").returncode == 0
    assert file.read_text() == exported("csv")
    assert link.is_symlink()
    for place in (tmp_path, Path("/dev/null")):
        assert runid("export", "@last", "-o", str(place), "--force", "--format", "csv").returncode == 2
    assert not Path("/dev/null").is_file()


def test_a_file_that_cannot_be_written_ends_with_1_and_says_what_to_do(trip: RunId, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "missing" / "a.csv", tmp_path / "file" / "a.csv", tmp_path / f"{'a' * 300}.csv"):
        done = runid("export", "@last", "-o", str(place))
        assert done.returncode == 1
        assert done.stderr.count("\n") == 1
        assert f"{place} cannot be written: " in done.stderr
        assert "--output" in done.stderr


def test_what_was_not_written_whole_leaves_everything_as_it_was(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    file.write_text("mine")

    def broken() -> Iterator[str]:
        yield "half"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(file, broken())
    assert (file.read_text(), len(list(tmp_path.iterdir()))) == ("mine", 1)
    assert write_whole(file, ["é", "\ud800"]) == 8
    assert file.read_bytes() == "é\\ud800".encode()


@pytest.mark.parametrize("form", FORMATS)
def test_an_unknown_run_ends_with_5_as_everywhere(form: str, trip: RunId, tmp_path: Path) -> None:
    file = tmp_path / f"a.{form}"
    done = runid("export", "ffffffff", "-o", str(file))
    assert (done.returncode, done.stdout, file.exists()) == (5, "", False)
    assert done.stderr == runid("tree", "ffffffff").stderr
    empty = runid("export", "@last", "--dir", str(tmp_path / "none"), "--format", form)
    assert (empty.returncode, empty.stdout) == (5, "")
    assert (tmp_path / "none").exists() is False


def test_standard_output_is_utf_8_whatever_the_locale(registry: RunRegistry) -> None:
    start_run("naïve \U0001f986").end()
    for form in FORMATS:
        told = runid("export", "@last", "--format", form, PYTHONIOENCODING="latin-1", LC_ALL="C")
        assert (told.returncode, told.stderr) == (0, "")
        assert ("naïve \U0001f986" in told.stdout) == (form != "jsonl")


# Trees of every kind --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with very many below it, of which one in a thousand failed."""
    lines = [started(ROOT, name="batch")]
    for number in range(CHILDREN):
        run = RunId.generate(ROOT)
        failed = {"status": "failed", "error": {"message": f"no {number}"}} if number % 1000 == 7 else {}
        lines += [
            started(run, name="work", key=f"item-{number}", time=T0 + number),
            event(0, "run.step", run, name="worked", time=T0 + number),
            event(0, "run.ended", run, **{"status": "succeeded", "elapsed": 1, **failed}, time=T0 + number + 1),
        ]
    lines.append(event(0, "run.ended", ROOT, status="succeeded", elapsed=CHILDREN, time=T0 + CHILDREN))
    directory = tmp_path_factory.mktemp("wide")
    crafted(directory, lines)
    return directory


@pytest.fixture(scope="module")
def deep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runs that call each other, deeper than the stack of this interpreter."""
    runs = [ROOT]
    while len(runs) < DEPTH:
        runs.append(RunId.generate(runs[-1]))
    lines = [started(run, name=f"level {run.depth}") for run in runs]
    lines += [event(0, "run.ended", run, status="failed", error={"message": "deep"}, time=T0 + 9) for run in runs[::-1]]
    directory = tmp_path_factory.mktemp("deep")
    crafted(directory, lines)
    return directory


def test_ten_thousand_runs_are_all_in_what_is_for_programs(wide: Path) -> None:
    found = lines_of(exported("jsonl", "--dir", str(wide), ref=ROOT.value))
    assert sum("record" in line for line in found) == CHILDREN + 1
    assert sum("event" in line for line in found) == 3 * CHILDREN + 2
    table = cells_of(exported("csv", "--dir", str(wide), ref=ROOT.value))
    assert len(table) == CHILDREN + 1
    assert sum(row["status"] == "failed" for row in table) == CHILDREN // 1000


def test_ten_thousand_runs_are_a_page_that_can_be_read(wide: Path) -> None:
    text = exported("html", "--dir", str(wide), ref=ROOT.value)
    assert len(text) < 200_000
    failures = [number for number in range(CHILDREN) if number % 1000 == 7]
    assert all(f"no {number}</span>" in text for number in failures)
    counted = CHILDREN - len(failures) - 20
    assert f"… {counted:,} more" in text
    assert f"{counted:,} runs that succeeded like those beside them are only counted" in text
    assert f"runid export {ROOT} --format jsonl" in text


@pytest.mark.parametrize("form", FORMATS)
def test_runs_deeper_than_the_stack_are_exported(form: str, deep: Path) -> None:
    text = exported(form, "--dir", str(deep), ref=ROOT.value)
    assert all(f"level {level}" in text for level in range(DEPTH))
    assert len(text) < 4_000_000


@pytest.mark.parametrize("form", FORMATS)
def test_runs_whose_parents_were_lost_are_exported(form: str, tmp_path: Path) -> None:
    lost = RunId.generate(ROOT)
    runs = [ROOT, *(RunId.generate(RunId.generate(lost)) for _ in range(3))]
    crafted(tmp_path, [started(run, name=f"run {place}") for place, run in enumerate(runs)])
    text = exported(form, "--dir", str(tmp_path), ref=ROOT.value)
    assert all(run.value in text for run in runs)
    if form == "jsonl":
        marks = {line["record"]["id"]: line["detached"] for line in lines_of(text) if "record" in line}
        assert {run for run, detached in marks.items() if detached} == {run.parent_id for run in runs[1:]}
    alone = exported(form, "--dir", str(tmp_path), ref=runs[1].value)
    assert runs[2].value not in alone


@pytest.mark.open_runs
@pytest.mark.parametrize("form", FORMATS)
def test_runs_that_go_on_are_exported_as_they_are(form: str, registry: RunRegistry) -> None:
    start_run("busy")
    waiting = start_run("patient")
    waiting.pause("for somebody")
    text = exported(form, ref=registry.find(name="busy")[0].id)
    assert "running" in text
    assert "patient" not in text
    assert "paused" in exported(form, ref=waiting.id.value)


def test_a_run_that_is_exported_again_is_the_same(trip: RunId) -> None:
    assert exported("csv") == exported("csv")
    assert exported("jsonl", ref=trip.short()) == exported("jsonl", ref=trip.token)


def test_help_tells_the_shapes() -> None:
    told = runid("export", "--help").stdout
    for word in ("--format", "--output", "-o", "--force", "--dir", "record", "detached", "skew", "event", "own_"):
        assert word in told, word


def test_whoever_closes_the_pipe_ends_it_quietly(wide: Path) -> None:
    command = f"{sys.executable} -m agent_run_id.cli export {ROOT} --dir {wide} | head -c 100"
    done = subprocess.run(["sh", "-c", command], env=environment(), capture_output=True, check=False)
    assert (len(done.stdout), done.stderr) == (100, b"")
