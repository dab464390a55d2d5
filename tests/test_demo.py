"""The demo: what a newcomer sees first, and whether its own check can fail."""

from __future__ import annotations

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import agent_run_id as ari

if TYPE_CHECKING:
    from agent_run_id import RunRegistry

EXAMPLES = Path(__file__).parent.parent / "examples"

# What the agent does, run by run: by whom it was called, and how it ended. Siblings in alphabetical order, since tasks
# start in any order.
HAPPENED = [
    "plan_trip succeeded",
    "plan_trip > draw_map lost",
    "plan_trip > flights succeeded",
    "plan_trip > flights > fare_lookup succeeded",
    "plan_trip > flights > fare_lookup > ask_airline succeeded",
    "plan_trip > flights > fare_lookup > ask_airline succeeded",
    "plan_trip > flights > hold_seat failed",
    "plan_trip > flights > hold_seat succeeded",
    "plan_trip > flights > send_letter succeeded",
    "plan_trip > hotels succeeded",
    "plan_trip > hotels > completion succeeded",
    "plan_trip > hotels > search_hotels succeeded",
    "plan_trip > hotels > shortest_walk succeeded",
    "plan_trip > plan_days cancelled",
    "plan_trip > plan_days > completion succeeded",
    "plan_trip > plan_days > completion succeeded",
    "plan_trip > trains cancelled",
    "plan_trip > trains > ask_railway cancelled",
]

# The workers that were there before: none of what they did for a trip is under them.
IN_THE_OFFICE = ["travel_office succeeded", "travel_office > clerk succeeded"]

_RUN = re.compile(
    r"^(?P<rest>[│├└─ ]*)[✓✗⊘☠▶?] (?P<name>\w+) \[[0-9a-f]{8}\] (?:\w+ )?(?P<status>succeeded|failed|cancelled|lost)\b"
)


def run_demo(directory: Path, *arguments: str, broken: str = "") -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("AGENT_RUN")}
    return subprocess.run(
        [sys.executable, str(EXAMPLES / "trip_planner.py"), "--dir", str(directory), *arguments],
        env={**env, "DEMO_BREAK": broken, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"},
        cwd=directory.parent,
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def trees_in(printed: str) -> list[list[str]]:
    """The runs of every printed tree, which begins below a rule."""
    return [runs_in(section) for section in re.split(r"^── .*$", printed, flags=re.MULTILINE)[1:]]


def runs_in(printed: str) -> list[str]:
    """Every run of a printed tree: the names from the root down, and the status."""
    runs, above = [], [""] * 10
    for line in printed.splitlines():
        if shown := _RUN.match(line):
            depth = len(shown["rest"]) // 3
            above[depth] = shown["name"]
            runs.append(f"{' > '.join(above[: depth + 1])} {shown['status']}")
    return sorted(runs)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_tree_shows_every_run_under_its_caller(backend: str, tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "runs", "--backend", backend)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    assert trees_in(demo.stdout) == [sorted(HAPPENED), sorted(IN_THE_OFFICE)]
    assert demo.stderr == ""
    assert "◆ plane or train? → plane: a seat is held, the railway is silent ⇒ seat 14C, Casa do Tejo" in demo.stdout
    assert re.search(r"plan_trip .* · 39 → 35 tokens$", demo.stdout, re.MULTILINE), "what all runs used, counted once"


def test_both_backends_are_shown_and_the_demo_can_be_repeated(tmp_path: Path) -> None:
    for _ in range(2):
        demo = run_demo(tmp_path / "runs")
        assert demo.returncode == 0, demo.stdout + demo.stderr
        assert trees_in(demo.stdout) == [sorted(HAPPENED), sorted(HAPPENED), sorted(IN_THE_OFFICE)]
        assert demo.stderr == ""


@pytest.mark.parametrize(
    ("broken", "missing"),
    [
        ("thread", "search_hotels, called by hotels, succeeded"),
        ("subprocess", "fare_lookup, called by flights, succeeded"),
        ("http", "completion, called by plan_days, succeeded"),
    ],
)
def test_a_dropped_hand_over_is_noticed(broken: str, missing: str, tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "runs", "--backend", "asyncio", broken=broken)
    assert demo.returncode == 1, demo.stdout + demo.stderr
    assert f"only in the notebook: {missing}" in demo.stdout
    assert "the tree is not what the workers wrote down" in demo.stdout


@pytest.mark.parametrize(
    ("broken", "name", "caller", "worker"),
    [("pool", "shortest_walk", "hotels", "travel_office"), ("queue", "send_letter", "flights", "clerk")],
)
def test_a_hand_over_dropped_before_an_older_worker_is_noticed_on_both_sides(
    broken: str, name: str, caller: str, worker: str, tmp_path: Path
) -> None:
    """The worker takes the job for its own: a wrong parent, which is worse than none."""
    demo = run_demo(tmp_path / "runs", broken=broken)
    assert demo.returncode == 1, demo.stdout + demo.stderr
    assert demo.stdout.count(f"only in the notebook: {name}, called by {caller}, succeeded") == 2
    assert demo.stdout.count(f"only in the tree:     {name}, called by {worker}, succeeded") == 2


def test_a_wrong_parent_and_a_wrong_status_are_noticed(
    registry: RunRegistry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    check_tree = importlib.import_module("check_tree")
    with ari.start_run("top") as top, ari.start_run("agent"), ari.start_run("tool"):
        pass
    notebook = tmp_path / "notebook.tsv"
    notebook.write_text("tool\tagent\tsucceeded\nagent\ttop\tsucceeded\ntop\t-\tsucceeded\n", encoding="utf-8")
    assert check_tree.differences(registry.tree(top.id), notebook) == []
    notebook.write_text("tool\ttop\tsucceeded\nagent\ttop\tfailed\ntop\t-\tsucceeded\n", encoding="utf-8")
    assert sorted(check_tree.differences(registry.tree(top.id), notebook)) == [
        "only in the notebook: agent, called by top, failed",
        "only in the notebook: tool, called by top, succeeded",
        "only in the tree:     agent, called by top, succeeded",
        "only in the tree:     tool, called by agent, succeeded",
    ]


def test_the_command_it_prints_shows_the_run_that_failed(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "runs", "--backend", "asyncio")
    [command] = re.findall(r"^    (.*runid show .*)$", demo.stdout, re.MULTILINE)
    shown = subprocess.run(
        shlex.split(command), cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300, check=False
    )
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert "hold_seat" in shown.stdout
    assert "TAP closed the connection" in shown.stdout


def test_a_directory_that_is_not_a_demos_is_left_alone(tmp_path: Path) -> None:
    letter = tmp_path / "letter.txt"
    letter.write_text("dear Ada", encoding="utf-8")
    demo = run_demo(tmp_path)
    assert demo.returncode == 2
    assert "give an empty directory or a new one" in demo.stderr
    assert list(tmp_path.iterdir()) == [letter]


def test_a_hand_over_that_does_not_exist_cannot_be_dropped(tmp_path: Path) -> None:
    demo = run_demo(tmp_path / "runs", broken="telepathy")
    assert demo.returncode == 2
    assert "DEMO_BREAK is one of thread, subprocess, http, pool, queue, not 'telepathy'" in demo.stderr
