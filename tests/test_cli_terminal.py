"""The command `runid` on a terminal and in a pipe: nothing recorded controls the one or is cut in the other."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_run_id import ROOT, child_env, start_run
from agent_run_id.cli.output import STYLES
from agent_run_id.rendering import Role, clean
from agent_run_id.testing import capture_runs
from tests.commands import Screen, answer, environment, is_harmless, runid, runid_on_terminal
from tests.hostile_runs import record_everywhere
from tests.programs import run_program

PAINT = re.compile(r"\x1b\[[0-9;]*m")
COMMANDS = (
    ("ls",), ("ls", "--all"), ("find", "since:1h"), ("tree", "@last"), ("tree", "@last", "--figures", "--all"),
    ("show", "@last"), ("tail",), ("tail", "@last", "-n", "3"), ("watch", "@last"),
)  # fmt: skip

# What terminals obey, what hides, what turns lines around, what rich would interpret; and any other text.
hostile_texts = st.text(
    st.one_of(
        st.characters(categories=["Cc", "Cf", "Cs", "Zl", "Zp"]),
        st.sampled_from("\x1b\x9b[]m31;\r\n\t\x00\x7f\u202e\u2066[red]:smile/\\"),
        st.characters(),
    ),
    max_size=30,
)


# Nothing recorded controls a terminal --------------------------------------------------------------------------------


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
            for part in document.splitlines() if command[0] in ("tail", "watch") else [document]:
                json.loads(part)
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
        """,
        env=child_env(PYDANTIC_DISABLE_PLUGINS="1"),  # that of Logfire, which is here for a test, loads it
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


def test_a_reader_that_goes_away_in_the_middle_ends_it_silently() -> None:
    with start_run("long", parent=ROOT, input="text\n" * 100_000):  # more than a pipe holds
        pass
    with subprocess.Popen(
        [sys.executable, "-m", "agent_run_id.cli", "show", "@last", "--all"],
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("✓ long")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 141
