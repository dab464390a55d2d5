"""``runid diff``: what differs, for people and for scripts, which must know a difference from trouble."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from rich.cells import cell_len

from agent_run_id import ROOT, RunId, start_run
from agent_run_id.testing import capture_runs
from tests.commands import Screen, answer, is_harmless, runid, runid_on_terminal
from tests.hostile_runs import record_everywhere
from tests.journal_programs.journals import T0, crafted, event
from tests.test_cli_terminal import PAINT, hostile_texts

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_run_id import RunRegistry


def batch(name: str, **statuses: str) -> RunId:
    """A batch, and what became of its items, by their keys."""
    with start_run(name, kind="batch", parent=ROOT) as run:
        for key, status in statuses.items():
            item = start_run("pay", kind="job", key=key)
            item.end(error="no such account" if status == "failed" else None)
    return run.id


@pytest.fixture
def two() -> tuple[str, str]:
    one = batch("monday", a="succeeded", b="failed", c="succeeded", d="succeeded")
    other = batch("tuesday", a="failed", b="succeeded", c="succeeded", e="succeeded")
    return one.value, other.value


def test_what_is_told_is_what_the_comparison_renders(two: tuple[str, str], registry: RunRegistry) -> None:
    done = runid("diff", *two)
    assert done.stdout == f"{registry.diff(*two).render()}\n"
    for told in ("newly failed: 1", "fixed: 1", "missing: 1", "new: 1", "2 alike"):
        assert told in done.stdout
    assert (done.returncode, done.stderr) == (1, "")


def test_the_exit_status_tells_equal_from_different_from_trouble(two: tuple[str, str], tmp_path: Path) -> None:
    same = batch("wednesday", a="succeeded", b="failed", c="succeeded", d="succeeded").value
    assert runid("diff", two[0], same).returncode == 0
    assert runid("diff", two[0], two[1]).returncode == 1
    (tmp_path / "file").touch()
    trouble = {
        2: [(*two, "--dir", str(tmp_path / "file")), (*two, "--factor", "0.5"), (*two, "--limit", "0"), (two[0],)],
        5: [(two[0], "ffffffff"), ("@last", "@last", "--dir", str(tmp_path / "missing"))],
    }
    for status, lines in trouble.items():
        for arguments in lines:
            done = runid("diff", *arguments)
            assert (done.returncode, done.stdout) == (status, "")
            assert done.stderr.count("\n") == 1
    assert runid("diff", *two, AGENT_RUN_DIR="off").returncode == 2


@pytest.mark.parametrize("factor", ["nan", "0", "-1"])
def test_a_factor_that_would_turn_faster_into_slower_is_refused(two: tuple[str, str], factor: str) -> None:
    done = runid("diff", *two, f"--factor={factor}")
    assert done.returncode == 2
    assert "It takes a number from 1, as in --factor 2." in done.stderr


def test_the_document_is_the_comparison_and_has_all_whatever_the_limit(
    two: tuple[str, str], registry: RunRegistry
) -> None:
    done = runid("diff", *two, "--json", "--limit", "1")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.returncode == 1
    assert done.stdout.isascii()
    assert found == json.loads(json.dumps(registry.diff(*two).to_dict()))
    assert list(found) == ["root", "first", "items", "changed", "only_a", "only_b", "alike", "repeated_keys"]
    assert found["items"] == {
        "newly_failed": ["a"], "fixed": ["b"], "slower": [], "faster": [], "missing": ["d"], "new": ["e"],
    }  # fmt: skip


def test_what_differs_by_nature_makes_no_difference_if_one_says_so() -> None:
    ids = []
    for number in "12":
        with start_run("job", parent=ROOT, input=f"/tmp/work-{number}/in.txt") as run:
            ids.append(run.id.value)
    assert runid("diff", *ids).returncode == 1
    assert runid("diff", *ids, "--ignore-volatile").returncode == 0


def slow(directory: Path, *lengths: int) -> Iterator[str]:
    """Batches of one item that took so many seconds."""
    lines = []
    for number, length in enumerate(lengths, 1):
        root = RunId(f"{number:08x}-0000-4000-8000-000000000000")
        item = RunId.from_token(f"{number:08x}-0000-4000-8000-000000000001.{root}.{root}.1")
        lines += [event(0, "run.started", root, name="batch"), event(0, "run.started", item, name="pay", key="a")]
        ends = {"status": "succeeded", "elapsed": length * 1_000_000}
        lines += [event(0, "run.ended", run, time=T0 + length * 1_000_000, **ends) for run in (item, root)]
        yield root.value
    crafted(directory, lines)


def test_what_took_longer_is_told_by_its_factor_and_is_no_difference(tmp_path: Path) -> None:
    one, other = slow(tmp_path, 2, 5)
    done = runid("diff", one, other, "--dir", str(tmp_path))
    assert "slower: 1\n  pay key=a [00000001]: 2.0 s → 5.0 s" in done.stdout
    assert done.returncode == 0
    assert "slower" not in runid("diff", one, other, "--factor", "3", "--dir", str(tmp_path)).stdout


def test_of_many_differences_as_many_are_told_as_one_wants(tmp_path: Path) -> None:
    """In a batch of ten thousand items."""
    lines = []
    for number in (1, 2):
        root = RunId(f"{number:08x}-0000-4000-8000-000000000000")
        lines.append(event(0, "run.started", root, name="batch"))
        for place in range(10_000):
            item = RunId.from_token(f"{number:08x}-0000-4000-8001-{place:012x}.{root}.{root}.1")
            status = "failed" if number == 2 and place % 100 == 0 else "succeeded"
            lines.append(event(0, "run.started", item, name="pay", key=f"invoice-{place}"))
            lines.append(event(0, "run.ended", item, status=status, elapsed=5))
    crafted(tmp_path, lines)
    done = runid(
        "diff", "00000001-0000-4000-8000-0", "00000002-0000-4000-8000-0", "--dir", str(tmp_path), "--limit", "3"
    )
    assert "newly failed: 100\n" in done.stdout
    assert done.stdout.count("  pay key=") == 3
    assert "  … and 97 more\n" in done.stdout
    assert "9,901 alike" in done.stdout
    assert done.returncode == 1


@given(hostile_texts)
@settings(max_examples=30)
def test_nothing_recorded_controls_a_terminal_or_leaves_its_line(text: str) -> None:
    with capture_runs() as registry:
        record_everywhere(text)
        with start_run("other", parent=ROOT) as other:
            pass
        other_root = next(root.record.id for root in registry.roots() if root.record.id != other.id.value)
        pair = (other_root, other.id.value)
        plain = answer("diff", *pair, status=1)
        assert is_harmless(plain)
        assert PAINT.sub("", answer("diff", *pair, status=1, FORCE_COLOR="1")) == plain
        shown = answer("diff", *pair, file=Screen(), status=1, NO_COLOR="1", COLUMNS="60")
        assert is_harmless(shown)
        assert max(map(cell_len, shown.splitlines())) <= 60
        assert is_harmless(answer("diff", *pair, "--json", status=1))


def test_on_a_terminal_it_is_fitted_and_painted_and_in_a_pipe_whole() -> None:
    ids = []
    for word in ("first", "second"):
        with start_run(word, parent=ROOT, input="a long input " * 4 + word) as root:
            start_run("a step that has a rather long name, as some have", key=word).end()
        ids.append(root.id.value)
    wide, narrow = (runid_on_terminal(columns, "diff", *ids).splitlines() for columns in (200, 60))
    assert max(cell_len(PAINT.sub("", line)) for line in narrow) <= 60
    assert len(narrow) > len(wide) == len(runid("diff", *ids).stdout.splitlines())
    assert any("\x1b[" in line for line in wide)
