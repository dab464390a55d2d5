"""`runid tree` and `runid show` of many runs: what fits on a screen comes first, and nothing odd is folded away."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import suppress

import pytest

from agent_run_id import ROOT, RunId, RunRegistry, start_run
from agent_run_id.cli import showing
from tests.commands import answer, environment, runid

MANY = 10_000
FAILED = (17, 4711, 4712, 9000)


def batch(items: int, failed: tuple[int, ...] = ()) -> RunId:
    """A run with items, of which some fail in what they call."""
    with start_run("nightly", kind="batch", parent=ROOT) as top:
        for number in range(items):
            with suppress(LookupError), start_run("invoice", key=f"invoice-{number}"):
                if number in failed:
                    with start_run("fetch", kind="tool"):
                        raise LookupError(f"no customer of {number}")
    return top.id


def test_ten_thousand_items_are_one_line_and_those_that_failed_are_told() -> None:
    top = batch(MANY, FAILED)
    lines = answer("tree", top.value).splitlines()
    assert lines[1] == f"└─ ✗ {MANY:,} × invoice: {MANY - len(FAILED):,} succeeded, {len(FAILED)} failed ▸"
    told = [line for line in lines if "✗ invoice [" in line]
    assert [f"key=invoice-{number} " in line for number, line in zip(FAILED, told, strict=False)] == [True] * 3
    assert [line.strip(" │└├─") for line in lines if "fetch" in line and "LookupError" in line]
    assert lines[-1].strip() == "└╌ … 1 more that did not simply succeed"
    assert len(answer("tree", top.value, "--all").splitlines()) == MANY + len(FAILED) + 1


def test_failed_shows_each_that_failed_with_what_leads_there() -> None:
    top = batch(40, (3, 5))
    lines = answer("tree", top.value, "--failed").splitlines()
    assert ["invoice-3" in lines[1], "fetch" in lines[2]] == [True, True]
    assert ["invoice-5" in lines[3], "fetch" in lines[4]] == [True, True]
    assert lines[5:] == ["└╌ … 38 more runs"]
    document = json.loads(runid("tree", top.value, "--failed", "--json").stdout)
    assert [child["key"] for child in document["children"]] == ["invoice-3", "invoice-5"]


def test_a_lost_run_is_one_that_went_wrong(registry: RunRegistry) -> None:
    """Its process is gone, so it is on the screen whatever came after it."""
    top = batch(20)
    program = "import os, sys; from agent_run_id import start_run; run = start_run('gone').__enter__(); os._exit(1)"
    token = registry.get(top).run_id.token
    subprocess.run([sys.executable, "-c", program], env=environment(AGENT_RUN_ID=token), check=False)
    assert "☠ gone" in answer("tree", top.value, "--failed")
    assert "went wrong below\n  ☠ gone" in answer("show", top.value)


@pytest.mark.parametrize("depth", [0, 1, 2])
def test_depth_limits_what_is_drawn_and_what_is_printed_as_json(depth: int) -> None:
    with start_run("a", parent=ROOT) as top, start_run("b"), start_run("c"), start_run("d"):
        pass
    drawn = answer("tree", top.id.value, "--depth", str(depth))
    assert [name in drawn for name in ("✓ a", "✓ b", "✓ c", "✓ d")] == [level <= depth for level in range(4)]
    document, levels = json.loads(answer("tree", top.id.value, "--depth", str(depth), "--json")), 0
    while document["children"]:
        (document,), levels = document["children"], levels + 1
    assert levels == depth
    refused = runid("tree", top.id.value, "--depth", "-1")
    assert (refused.returncode, refused.stdout) == (2, "")


def test_a_tree_of_two_thousand_levels_is_drawn_and_shown() -> None:
    runs = [start_run("level 0", parent=ROOT)]
    for level in range(1, 2000):
        runs.append(start_run(f"level {level}", parent=runs[-1].id))
    for run in reversed(runs):
        run.end(error="the last is broken" if run is runs[-1] else None)
    lines = answer("tree", runs[0].id.value, "--figures").splitlines()
    assert len(lines) == 2000
    assert max(map(len, lines)) < 400
    shown = answer("show", runs[-1].id.value)
    assert "… 1,987 more lines" in shown
    assert "  ✓ level 0 [" in shown
    assert "level 1998 [" in shown
    assert "went wrong below" in answer("show", runs[0].id.value)


def test_show_tells_the_beginning_and_the_end_and_all_tells_everything() -> None:
    lines = [f"line {number}" for number in range(100)]
    with start_run("long", parent=ROOT, input="\n".join(lines)) as run:
        for number in range(50):
            run.step(f"step {number}")
    shown, whole = answer("show", run.id.value), answer("show", run.id.value, "--all")
    told = [line.strip() for line in shown.splitlines() if line.startswith("  line") or "more lines" in line]
    assert told == [*lines[:8], "… 88 more lines", *lines[-4:], "… 38 more lines"]
    assert shown.endswith(f"not all of it: runid show {run.id.value[:8]} --all\n")
    assert all(f"  {line}\n" in whole for line in lines)
    assert all(f"  step {number}\n" in whole for number in range(50))
    assert "more lines" not in whole
    assert "--all" not in whole


def test_show_of_more_runs_than_can_be_looked_at_tells_the_same_of_what_went_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    top = batch(60, (50, 55))
    few = answer("show", top.value)
    monkeypatch.setattr(showing, "_MANY", 5)
    many = answer("show", top.value)
    part = few[few.index("went wrong below") : few.index("60 children")]
    assert part in many
    assert "62 runs below\n  58 succeeded, 4 failed\n  ✗ invoice [" in many
    assert "60 children" in answer("show", top.value, "--all")


def test_figures_tell_what_a_run_came_to_by_itself() -> None:
    with start_run("agent", parent=ROOT) as top:
        top.usage(model="small", input_tokens=10, output_tokens=1)
        with start_run("call", kind="llm") as call:
            call.usage(model="small", input_tokens=100, output_tokens=10)
    first, second = answer("tree", top.id.value, "--figures").splitlines()
    assert "110 → 11 tokens" in first
    assert ", itself 10 → 1 tokens" in first
    assert "· 1 below, itself " in first
    assert "below" not in second


def test_links_are_told() -> None:
    with start_run("cause", parent=ROOT) as cause:
        pass
    with start_run("effect", parent=ROOT, links=[cause.id, "ticket-4711"]) as effect:
        pass
    assert answer("tree", effect.id.value).rstrip().endswith(f"· ⇢ {cause.id.value[:8]} and 1 more")
