"""The command `runid`: what it tells, to whom, and how it ends."""

from __future__ import annotations

import contextlib
import fcntl
import io
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import unicodedata
from datetime import UTC, datetime, timedelta, timezone
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_run_id import ROOT, RunId, child_env, configure, start_run
from agent_run_id.cli.app import _COMMANDS, run
from agent_run_id.cli.documents import encoded
from agent_run_id.cli.output import STYLES
from agent_run_id.rendering import Line, Role, clean, duration
from agent_run_id.testing import capture_runs
from tests.programs import run_program

if TYPE_CHECKING:
    from agent_run_id import RunRegistry

PAINT = re.compile(r"\x1b\[[0-9;]*m")
COMMANDS = (("ls",), ("ls", "--all"), ("tree", "@last"), ("show", "@last"))

# What terminals obey, what hides, what turns lines around, what rich would interpret; and any other text.
hostile_texts = st.text(
    st.one_of(
        st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]),
        st.sampled_from("\x1b\x9b[]m31;\r\n\t\x00\x7f\u202e\u2066[red]:smile/\\"),
        st.characters(),
    ),
    max_size=30,
)


# Ways to ask -------------------------------------------------------------------------------------------------------


def environment(**more: str) -> dict[str, str]:
    """That of a child that records where this test does, with no wish about colour or buffers."""
    unwanted = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "TERM", "PYTHONUNBUFFERED")
    return {name: value for name, value in child_env().items() if name not in unwanted} | more


def runid(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """The real command, in a pipe."""
    return subprocess.run(
        [sys.executable, "-m", "agent_run_id.cli", *arguments],
        env=environment(**more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def runid_on_terminal(columns: int, *arguments: str, **more: str) -> str:
    """The real command, on a terminal; what it wrote, with the line ends of a file."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-m", "agent_run_id.cli", *arguments],
        env=environment(**{"TERM": "xterm-256color", **more}),
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    chunks = []
    with contextlib.suppress(OSError):  # how Linux says that nobody has the other end any more
        while chunk := os.read(ours, 65_536):
            chunks.append(chunk)
    os.close(ours)
    process.wait(timeout=60)
    return b"".join(chunks).decode().replace("\r\n", "\n")


class Screen(io.StringIO):
    """A file that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def answer(*arguments: str, file: io.StringIO | None = None, **more: str) -> str:
    """What the command writes, without a process of its own."""
    file = io.StringIO() if file is None else file
    before, during = dict(os.environ), environment(**more)
    try:
        os.environ.clear()
        os.environ.update(during)
        with contextlib.redirect_stdout(file):
            assert run(arguments) == 0
    finally:
        os.environ.clear()
        os.environ.update(before)
    return file.getvalue()


# Nothing recorded controls a terminal --------------------------------------------------------------------------------


def is_harmless(text: str) -> bool:
    return all(char == "\n" or unicodedata.category(char) not in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text)


def record_everywhere(text: str) -> None:
    """Two runs with `text` wherever a text can be recorded."""
    with start_run(
        text,
        kind=text,
        input=text,
        key=text,
        user_id=text,
        session_id=text,
        summary=text,
        tags=[text],
        attributes={text: text},
        links=[text],
    ) as root:
        root.step(text, data={text: [text]})
        root.decide(text, options=[text, {text: text}], chosen=text, why=text).outcome(text)
        root.usage(model=text, input_tokens=1, cost=0.5, currency=text, call_id=text)
        child = start_run(text)
        child.end(error=RuntimeError(text), output={text: text})
        root.end(error=text, output=text)


@given(hostile_texts)
@settings(max_examples=40)
def test_nothing_recorded_leaves_a_control_character_in_any_output_for_people(text: str) -> None:
    with capture_runs() as registry:
        record_everywhere(text)
        child = registry.children("@last")[0].id
        for command in (*COMMANDS, ("show", child), ("where",)):
            plain = answer(*command)
            assert is_harmless(plain)
            # So nothing that looks like paint came from a record, and what colour adds is only colour.
            assert PAINT.sub("", answer(*command, FORCE_COLOR="1")) == plain
            assert is_harmless(answer(*command, file=Screen(), NO_COLOR="1", COLUMNS="60"))
            assert is_harmless(PAINT.sub("", answer(*command, file=Screen(), COLUMNS="60", TERM="xterm")))


@given(hostile_texts)
@settings(max_examples=40)
def test_a_recorded_text_never_begins_a_line_of_its_own(text: str) -> None:
    with capture_runs():
        record_everywhere(f"{text}\nplan_trip")
        assert len(answer("ls", "--all").splitlines()) == 2
        assert not any(line.startswith("plan_trip") for line in answer("show", "@last").splitlines())


@given(hostile_texts, st.integers(60, 200))
@settings(max_examples=40)
def test_no_line_of_ls_or_tree_is_wider_than_the_terminal(text: str, columns: int) -> None:
    with capture_runs():
        record_everywhere(f"{text} 名前 {'word ' * 40}")
        for command in (("ls", "--all"), ("tree", "@last")):
            lines = answer(*command, file=Screen(), NO_COLOR="1", COLUMNS=str(columns)).splitlines()
            assert max(map(cell_len, lines)) <= columns


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30))
@settings(max_examples=40)
def test_json_is_printable_ascii_and_gives_back_what_was_recorded(text: str) -> None:
    with capture_runs() as registry:
        record_everywhere(text)
        for command in COMMANDS:
            document = answer(*command, "--json")
            assert document.isascii()
            assert is_harmless(document)
            json.loads(document)
        shown = json.loads(answer("show", "@last", "--json"))
        assert shown["record"]["name"] == shown["record"]["input"] == text
        assert shown["children"][0]["error"]["message"] == text
        assert [event["type"] for event in shown["events"]] == [event.type for event in registry.events("@last")]


@given(hostile_texts)
def test_cleaning_twice_is_cleaning_once_and_printable_text_stays(text: str) -> None:
    assert clean(clean(text)) == clean(text)
    if text.isprintable():
        assert clean(text) == text


def test_recorded_text_is_never_markup_nor_emoji_nor_highlighted() -> None:
    text = "[red]no[/red] [link=x]y[/link] :smile: $1,204 'quoted' 127.0.0.1 None True"
    with start_run(text, summary=text, input=text):
        pass
    for command in (("ls",), ("tree", "@last"), ("show", "@last")):
        assert text in runid_on_terminal(200, *command, NO_COLOR="1")
        assert text in runid_on_terminal(200, *command)


# In a pipe and on a terminal ---------------------------------------------------------------------------------------


@pytest.fixture
def long_name() -> str:
    name = "a name that is much longer than any terminal is wide " * 10 + "and ends here"
    with start_run(name):
        pass
    return name


@pytest.mark.parametrize("command", [("ls",), ("tree", "@last"), ("show", "@last")])
@pytest.mark.parametrize("more", [{}, {"COLUMNS": "40"}, {"FORCE_COLOR": "1"}, {"FORCE_COLOR": "1", "COLUMNS": "40"}])
def test_in_a_pipe_nothing_is_cut_or_wrapped(long_name: str, command: tuple[str, ...], more: dict[str, str]) -> None:
    done = runid(*command, **more)
    assert done.returncode == 0
    assert not done.stderr
    assert long_name in done.stdout
    assert ("\x1b[" in done.stdout) == ("FORCE_COLOR" in more)


def test_on_a_terminal_ls_cuts_names_and_keeps_a_line_for_each_run(long_name: str) -> None:
    for columns in (80, 200):
        heading, line = runid_on_terminal(columns, "ls", NO_COLOR="1").splitlines()
        assert heading.startswith("ID ")
        assert cell_len(line) == columns
        assert line.endswith("…")
        assert long_name.startswith(line.split("-  ")[-1].strip().removesuffix("…"))


def test_on_a_terminal_the_tree_wraps_under_its_branches() -> None:
    with start_run("root", parent=ROOT), contextlib.suppress(ValueError), start_run("child"):
        raise ValueError("far " * 20)
    lines = runid_on_terminal(40, "tree", "@last", NO_COLOR="1").splitlines()
    assert lines[1].startswith("└─ ✗ child")
    assert all(line.startswith("     far") for line in lines[3:])
    assert sum(line.count("far") for line in lines) == 20


def test_colour_is_for_terminals_unless_one_says_otherwise() -> None:
    with start_run("coloured"):
        pass
    assert "\x1b[" in runid_on_terminal(80, "ls")
    assert "\x1b" not in runid_on_terminal(80, "ls", NO_COLOR="1")
    assert "\x1b" not in runid_on_terminal(80, "ls", TERM="dumb")
    assert "\x1b" not in runid("ls").stdout
    assert "\x1b[" in runid("ls", FORCE_COLOR="1").stdout
    assert "\x1b" not in runid("ls", FORCE_COLOR="1", NO_COLOR="1").stdout
    assert "\x1b" not in runid("ls", FORCE_COLOR="").stdout


def test_the_line_of_a_run_in_a_pipe_does_not_depend_on_the_runs_beside_it(long_name: str) -> None:
    alone = runid("ls").stdout
    with start_run("another", kind="a kind of its own", user_id="somebody with a long name"):
        pass
    assert runid("ls").stdout.endswith(alone)


def test_what_is_piped_needs_no_rich() -> None:
    with start_run("plain"):
        pass
    loaded = run_program(
        """
        import sys
        from agent_run_id.cli import main
        sys.argv = ["runid", "ls"]
        main()
        print([name for name in sys.modules if name == "rich" or name.startswith("rich.")])
        """
    )
    assert loaded.splitlines()[-1] == "[]"


def test_every_role_has_a_style() -> None:
    assert set(STYLES) == set(get_args(Role))


def test_a_locale_without_the_symbols_gets_escapes_for_them() -> None:
    with start_run("name"):
        pass
    done = runid("ls", PYTHONIOENCODING="ascii")
    assert done.returncode == 0
    assert r"\u2713 succeeded" in done.stdout


# What it tells -----------------------------------------------------------------------------------------------------


@pytest.fixture
def trip() -> RunId:
    """A small tree: an agent that fails once, decides, and succeeds."""
    with start_run("plan_trip", kind="agent", user_id="ada", input="Lisbon", tags=["demo"]) as root:
        root.step("searched", hits=3)
        choice = root.decide("plane or train?", options=["plane", "train"], chosen="plane", why="it is far")
        with contextlib.suppress(ConnectionError), start_run("hold_seat", kind="tool", key="seat-1") as seat:
            seat.usage(model="small", input_tokens=1200, output_tokens=30, cost=0.25)
            raise ConnectionError("the line is dead")
        choice.outcome("a seat is held")
        root.update(output={"seat": "14C"})
    return root.id


def test_ls_lists_roots_latest_first_and_all_lists_every_run(trip: RunId) -> None:
    with start_run("later", parent=ROOT):
        pass
    names = [line.split()[-1] for line in runid("ls").stdout.splitlines()]
    assert names == ["later", "plan_trip"]
    names = [line.split()[-1] for line in runid("ls", "--all").stdout.splitlines()]
    assert names == ["later", "hold_seat", "plan_trip"]
    assert len(runid("ls", "--all", "--limit", "2").stdout.splitlines()) == 2
    assert len(runid("ls", "--all", "--limit", "9" * 30).stdout.splitlines()) == 3


def test_ls_chooses_by_status_and_kind(trip: RunId) -> None:
    assert "hold_seat" in runid("ls", "--all", "--status", "failed").stdout
    assert "plan_trip" not in runid("ls", "--all", "--status", "failed").stdout
    assert "plan_trip" in runid("ls", "--kind", "agent").stdout
    none = runid("ls", "--status", "failed")
    assert (none.returncode, none.stdout) == (0, "")
    assert "--all" in none.stderr


def test_a_line_of_ls_tells_id_status_start_length_kind_user_and_name(trip: RunId, registry: RunRegistry) -> None:
    record = registry.get(trip)
    assert record.started_at is not None
    assert record.elapsed is not None
    started = f"{record.started_at.astimezone():%Y-%m-%d %H:%M:%S}"
    cells = re.split(r" {2,}", runid("ls").stdout.strip())
    assert cells == [trip.short(), "✓ succeeded", started, duration(record.elapsed), "agent", "ada", "plan_trip"]


def test_every_form_of_a_reference_finds_the_same_run(trip: RunId, registry: RunRegistry) -> None:
    child = registry.children(trip)[0]
    expected = runid("show", child.id).stdout
    plain = child.id.replace("-", "")
    for reference in (child.run_id.token, child.id.upper(), child.id[:8], child.id[:15], plain, plain[:12]):
        assert runid("show", reference).stdout == expected
    assert runid("show", "@last").stdout == runid("show", trip.value).stdout


def test_tree_is_what_str_of_the_tree_is(trip: RunId, registry: RunRegistry) -> None:
    assert runid("tree", trip.short()).stdout == f"{registry.tree(trip)}\n"


def test_show_tells_everything_in_order(trip: RunId, registry: RunRegistry) -> None:
    text = runid("show", trip.short()).stdout
    told = [
        "plan_trip",
        f"id         {trip.value}",
        "user       ada",
        "tags       demo",
        "input\n  Lisbon",
        'searched  {"hits": 3}',
        "plane or train? → plane",
        "why:        it is far",
        "options:    plane, train",
        "outcome:    a seat is held",
        "with all runs below: 1,200 → 30 tokens, 0.2500 USD",
        'output\n  {"seat": "14C"}',
        "1 child\n  1 failed\n  ✗ hold_seat",
    ]
    places = [text.find(piece) for piece in told]
    assert -1 not in places
    assert places == sorted(places)
    child = runid("show", registry.children(trip)[0].id).stdout
    assert re.search(r"under\n  ✓ plan_trip \[", child)
    assert "key        seat-1" in child
    assert "small: 1,200 → 30 tokens, 0.2500 USD" in child
    assert "error\n  Traceback (most recent call last):" in child
    assert "ConnectionError: the line is dead" in child


def test_json_documents_have_the_shapes_that_their_help_promises(trip: RunId, registry: RunRegistry) -> None:
    (record,) = json.loads(runid("ls", "--json").stdout)
    assert record["id"] == trip.value
    started = datetime.fromisoformat(record["started_at"])
    assert record["started_at"].endswith("Z")
    assert started == registry.get(trip).started_at
    assert timedelta(seconds=record["elapsed"]) == registry.get(trip).elapsed
    nested = json.loads(runid("tree", "@last", "--json").stdout)
    assert (nested["id"], nested["detached"]) == (trip.value, False)
    assert nested["total_usage"]["input_tokens"] == 1200
    assert [(child["name"], child["children"]) for child in nested["children"]] == [("hold_seat", [])]
    shown = json.loads(runid("show", nested["children"][0]["id"], "--json").stdout)
    assert list(shown) == ["record", "ancestors", "children", "events"]
    assert [above["id"] for above in shown["ancestors"]] == [trip.value]
    assert shown["events"][0]["type"] == "run.started"
    assert json.loads(runid("where", "--json").stdout)["runs"] == 2


def test_times_are_local_for_people_and_utc_in_json(registry: RunRegistry) -> None:
    with start_run("elsewhere") as run:
        pass
    started = registry.get(run.id).started_at
    assert started is not None
    there = started.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert f"{there:%Y-%m-%d %H:%M:%S}" in runid("ls", TZ="IST-5:30").stdout
    assert f"{there:%Y-%m-%d %H:%M:%S.%f} +0530" in runid("show", "@last", TZ="IST-5:30").stdout
    (record,) = json.loads(runid("ls", "--json", TZ="IST-5:30").stdout)
    assert record["started_at"] == f"{started:%Y-%m-%dT%H:%M:%S.%f}Z"


def test_an_empty_answer_is_still_one_document() -> None:
    assert json.loads(runid("ls", "--json").stdout) == []


def test_a_number_that_json_has_not_is_a_text() -> None:
    assert json.loads(encoded({"a": [float("nan"), float("-inf")]})) == {"a": ["NaN", "-Infinity"]}


def test_a_tree_deeper_than_the_stack_is_drawn_and_nested(registry: RunRegistry) -> None:
    depth, run_id = sys.getrecursionlimit() + 100, RunId.generate()
    for level in range(depth):
        registry.start(run_id, name=f"level {level}")
        run_id = RunId.generate(run_id)
    assert len(answer("tree", "@last").splitlines()) == depth
    document = answer("tree", "@last", "--json")
    assert document.count('"children": [') == depth
    assert document.endswith("]}" * depth + "\n")


def test_a_run_of_a_living_process_is_running_and_of_a_dead_one_lost(registry: RunRegistry) -> None:
    dead = run_program(
        """
        import os
        import agent_run_id as ari
        print(ari.start_run("abandoned").id, flush=True)
        os._exit(0)
        """
    ).strip()
    living = start_run("busy")
    lost = registry.get(dead)
    assert lost.last_event_at is not None
    heard = f"{lost.last_event_at.astimezone():%H:%M:%S}"
    assert f"☠ abandoned [{dead[:8]}] lost, last heard of {heard}, " in runid("tree", dead).stdout
    assert re.search(r"▶ busy \[\w{8}\] running for \d", runid("show", living.id.value).stdout)
    listed = runid("ls").stdout
    assert re.search(rf"{dead[:8]}  ☠ lost .* until {heard} .*abandoned", listed)
    assert re.search(r"▶ running .* (µs|ms|s)  .*busy", listed)
    living.end()


@given(st.timedeltas(min_value=timedelta(-5), max_value=timedelta(days=5000)))
def test_a_duration_is_told_in_the_unit_that_suits_it(elapsed: timedelta) -> None:
    text = duration(elapsed)
    found = re.fullmatch(r"(\d+) (µs|ms)|(\d+\.\d) s|(\d+) m (\d\d) s|(\d+) h (\d\d) m|\d+ d (\d\d) h", text)
    assert found is not None
    small, _, seconds, minutes, rest, hours, rest_of_hour, rest_of_day = found.groups()
    assert int(small or 0) < 1000
    assert float(seconds or 0) < 60
    assert all(int(figure or 0) < 60 for figure in (minutes, rest, rest_of_hour))
    assert int(hours or 0) < 48
    assert int(rest_of_day or 0) < 24


# Where -------------------------------------------------------------------------------------------------------------


def where(*arguments: str, **more: str) -> dict[str, Any]:
    return dict(json.loads(runid("where", "--json", *arguments, **more).stdout))


def test_where_names_the_directory_and_the_setting_that_chose_it(tmp_path: Path, registry: RunRegistry) -> None:
    start_run("one").end()
    told = where()
    assert (told["directory"], told["setting"]) == (registry.directory, "AGENT_RUN_DIR")
    assert (told["exists"], told["journals"], told["runs"]) == (True, 1, 1)
    assert Path(told["index"]).parent == Path(registry.directory)
    told = where("--dir", str(tmp_path))
    assert (told["directory"], told["setting"], told["runs"]) == (str(tmp_path), "--dir", 0)
    told = where(AGENT_RUN_DIR="", XDG_STATE_HOME=str(tmp_path), HOME=str(tmp_path))
    assert told["setting"] == "default"
    assert told["exists"] is False
    told = where(AGENT_RUN_DIR="off")
    assert (told["directory"], told["setting"]) == (None, "AGENT_RUN_DIR")
    configure(directory=registry.directory)
    assert json.loads(answer("where", "--json"))["setting"] == "configure"


def test_where_says_it_in_words_too(registry: RunRegistry) -> None:
    text = runid("where").stdout
    assert f"directory  {registry.directory}\n" in text
    assert "AGENT_RUN_DIR says so" in text
    assert "recording is off" in runid("where", AGENT_RUN_DIR="off").stdout


# How it ends -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["lss"], '"ls"'),
        (["help"], "Available commands: ls, tree, show, where."),
        (["ls", "--al"], "Did you mean --all?"),
        (["ls", "--limit", "many"], "--limit"),
        (["ls", "--limit", "0"], "from 1"),
        (["ls", "--status", "broken"], '"failed"'),
        (["ls", "surplus"], "surplus"),
        (["tree"], "REF"),
        (["show", "one", "two"], "two"),
        (["--json", "ls"], "command comes first"),
    ],
)
def test_what_is_not_understood_ends_with_2_and_says_what_to_type(arguments: list[str], hint: str) -> None:
    done = runid(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("runid: ")
    assert hint in done.stderr
    assert done.stderr.count("\n") == 1
    assert "--help` tells what can be typed" in done.stderr


@pytest.mark.parametrize("command", ["tree", "show"])
@pytest.mark.parametrize(
    "reference", ["@last", "0123abcd", "nonsense", "", "0b5ce1a4-5a5c-4b7e-9d2e-6f0c1a2b3c4d", "\x1b[31m"]
)
def test_what_is_not_found_ends_with_5(command: str, reference: str) -> None:
    done = runid(command, reference)
    assert (done.returncode, done.stdout) == (5, "")
    assert done.stderr.count("\n") == 1
    assert is_harmless(done.stderr)


def test_an_ambiguous_reference_ends_with_5_and_lists_the_candidates(registry: RunRegistry) -> None:
    ids = [RunId(f"abcdef00-0000-4000-8000-00000000000{digit}") for digit in "12"]
    for run_id in ids:
        registry.start(run_id)
    done = runid("show", "abcdef")
    assert done.returncode == 5
    assert all(run_id.value in done.stderr for run_id in ids)


def test_a_directory_that_cannot_be_read_ends_with_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for command in (("ls",), ("tree", "@last"), ("show", "@last"), ("where",)):
        done = runid(*command, "--dir", str(tmp_path / "file"))
        assert (done.returncode, done.stdout) == (1, "")
        assert str(tmp_path / "file") in done.stderr
        assert done.stderr.count("\n") == 1
    off = runid("ls", AGENT_RUN_DIR="off")
    assert off.returncode == 1
    assert "recording is off" in off.stderr


def test_a_missing_directory_is_an_empty_list_with_a_hint_how_to_record(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    done = runid("ls", "--dir", str(missing))
    assert (done.returncode, done.stdout) == (0, "")
    assert str(missing) in done.stderr
    assert "start_run" in done.stderr
    assert runid("tree", "@last", "--dir", str(missing)).returncode == 5
    assert not missing.exists()


def test_help_and_version_end_with_0_and_so_does_runid_alone() -> None:
    bare, told = runid(), runid("--help")
    assert (bare.returncode, bare.stdout) == (0, told.stdout)
    assert all(name in told.stdout for name in _COMMANDS)
    assert runid("--version").stdout == f"agent-run-id {version('agent-run-id')}\n"


@pytest.mark.parametrize("name", _COMMANDS)
def test_the_help_of_a_command_documents_its_json_and_begins_as_the_list_of_commands_says(name: str) -> None:
    room, text = _COMMANDS[name]
    command = getattr(import_module(f"agent_run_id.cli.{room}"), name)
    assert command.__doc__.startswith(f"{text}\n")
    told = runid(name, "--help")
    assert told.returncode == 0
    assert text in told.stdout
    assert "With --json: an" in told.stdout or "With --json: the" in told.stdout


def test_a_reader_that_goes_away_ends_it_silently(long_name: str) -> None:
    with start_run("long", parent=ROOT, input="text\n" * 100_000):  # more than a pipe holds
        pass
    for command in (("show", "@last"), ("ls",)):
        with subprocess.Popen(
            [sys.executable, "-m", "agent_run_id.cli", *command],
            env=environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            if command[0] == "show":
                assert process.stdout.readline().startswith("✓ long")
            process.stdout.close()
            assert process.stderr.read() == ""
        assert process.returncode == 141


def test_ctrl_c_ends_it_with_130_and_without_a_traceback() -> None:
    with start_run("long", input="text\n" * 100_000):
        pass
    # The handler is set, because whoever runs these tests may ignore the signal, and a child inherits that.
    program = (
        "import signal, sys\nfrom agent_run_id.cli import main\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\nsys.exit(main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, "show", "@last"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.read(1)  # it writes, and cannot end before somebody reads
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, b"")


def test_a_full_disk_ends_it_with_1_and_one_line() -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "agent_run_id.cli", "where"],
            env=environment(),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1


def test_without_standard_output_it_ends_with_0() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -m agent_run_id.cli where >&-', sys.executable],
        env=environment(),
        stderr=subprocess.PIPE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.parametrize("missing", [("cyclopts", "rich"), ("rich",)])
def test_without_the_extra_it_says_what_to_install_and_ends_with_2(missing: tuple[str, ...]) -> None:
    program = f"""
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {missing!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing())
from agent_run_id.cli import main
sys.exit(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program, "--help"], env=environment(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert 'pip install "agent-run-id[cli]"' in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_line_keeps_its_parts_and_says_them_in_order() -> None:
    line = Line("a\n", ("b", "name")) + Line("c")
    assert line.parts == (("a\\x0a", "plain"), ("b", "name"), ("c", "plain"))
    assert str(line) == "a\\x0abc"


def test_a_run_that_another_clock_saw_start_in_the_future_has_no_negative_age() -> None:
    assert duration(datetime(2020, 1, 1, tzinfo=UTC) - datetime(2021, 1, 1, tzinfo=UTC)) == "0 µs"
