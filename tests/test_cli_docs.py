"""The pages about the command that are made from the command, and what a shell is given to complete it."""

from __future__ import annotations

import subprocess

import pytest

from agent_run_id.cli.app import COMMANDS
from tests import command_reference, terminal_sessions
from tests.commands import runid


def test_the_reference_is_what_the_command_says_of_itself() -> None:
    page = command_reference.PAGE.read_text(encoding="utf-8")
    assert page == command_reference.made(), "make command-reference"
    assert all(f"\n## runid {name}\n" in page for name in (*COMMANDS, "exec"))


def test_what_is_shown_of_terminals_is_what_they_show() -> None:
    """To the letter: the runs have the same ids and times every time."""
    for path, text in terminal_sessions.made().items():
        assert path.read_text(encoding="utf-8") == text, "make terminal-sessions"
    page = (terminal_sessions.DOCS / "terminal.md").read_text(encoding="utf-8")
    narrow, wide = page.split("## 80 columns")[1].split("## 200 columns")
    assert max(len(line) for line in narrow.splitlines()) <= 80 < max(len(line) for line in wide.splitlines()) <= 200


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_is_given_every_command_and_option(shell: str) -> None:
    script = runid("completion", shell).stdout
    for word in (*COMMANDS, "exec", "exit-status", "older-than"):
        assert word in script
    if shell == "bash":
        checked = [
            "bash",
            "-c",
            'source /dev/stdin; complete -p runid; COMP_WORDS=(runid tr); COMP_CWORD=1; _runid; echo "${COMPREPLY[@]}"',
        ]
        done = subprocess.run(checked, input=script, capture_output=True, text=True, check=True)
        assert done.stdout.splitlines() == ["complete -F _runid runid", "tree"]
        assert done.stderr == ""
    assert runid("completion", "tcsh").returncode == 2
