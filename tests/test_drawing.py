"""Drawing: a tree as lines, as much of it as is asked for, and what is left out is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from agent_run_id.drawing import draw
from agent_run_id.tree import grow
from tests.families import T0, families, record, seconds

if TYPE_CHECKING:
    from agent_run_id import RunRecord, Tree


def drawn(text: str) -> list[str]:
    """The lines of a drawn tree without the ids of its runs and how long they took."""
    return [line.replace(" [" + "0000000", "").replace("]", "") for line in text.split("\n")]


def a_tree() -> Tree:
    failed = [record(n, 4, status="failed") for n in (5, 6)]
    return grow(record(0), [record(1, 0), record(2, 1), record(3, 1), record(4, 0), *failed])


def test_a_tree_is_drawn_with_its_branches() -> None:
    assert drawn(str(a_tree())) == [
        "✓ 00 succeeded",
        "├─ ✓ 11 succeeded",
        "│  ├─ ✓ 22 succeeded",
        "│  └─ ✓ 33 succeeded",
        "└─ ✓ 44 succeeded",
        "   ├─ ✗ 55 failed",
        "   └─ ✗ 66 failed",
    ]


def test_what_is_left_out_is_counted_and_so_is_what_failed_of_it() -> None:
    tree = a_tree()
    assert drawn(tree.render(max_depth=1)) == [
        "✓ 00 succeeded",
        "├─ ✓ 11 succeeded",
        "│  └╌ … 2 runs",
        "└─ ✓ 44 succeeded",
        "   └╌ … 2 runs, 2 failed",
    ]
    assert drawn(tree.render(max_children=1)) == [
        "✓ 00 succeeded",
        "├─ ✓ 11 succeeded",
        "│  ├─ ✓ 22 succeeded",
        "│  └╌ … 1 more run",
        "└╌ … 3 more runs, 2 failed",
    ]
    assert drawn(tree.render(max_depth=0)) == ["✓ 00 succeeded", "└╌ … 6 runs, 2 failed"]
    assert drawn(tree.filter(lambda node: node.record.name == "6").render()) == [
        "✓ 00 succeeded",
        "├─ ✓ 44 succeeded",
        "│  ├─ ✗ 66 failed",
        "│  └╌ … 1 more run, failed",
        "└╌ … 3 more runs",
    ]


@given(families(), st.none() | st.integers(0, 4), st.none() | st.integers(0, 3))
def test_every_run_is_drawn_or_counted_once(
    records: list[RunRecord], max_depth: int | None, max_children: int | None
) -> None:
    rows = [
        str(row.line) for row in draw(grow(records[0], records[1:]), max_depth=max_depth, max_children=max_children)
    ]
    counted = sum(int(line.split()[1]) for line in rows if line.startswith("…"))
    assert sum(not line.startswith("…") for line in rows) + counted == len(records)


def test_a_run_whose_clock_disagrees_is_marked() -> None:
    tree = grow(record(0), [record(1, 0, started_at=T0 - seconds(1.5)), record(2, 0)])
    assert drawn(str(tree))[1:] == ["├─ ✓ 11 succeeded · ⇤ 1.5 s", "└─ ✓ 22 succeeded"]


def test_a_deep_chain_begins_anew_on_the_left_behind_the_number_of_its_level() -> None:
    tree = grow(record(0), [*(record(n, n - 1) for n in range(1, 120)), record(120, 49)])
    lines = str(tree).split("\n")
    assert lines[49].startswith(" " * 3 * 48 + "└─ ✓ 49 ")
    assert [lines[n].split("✓")[0] for n in (50, 51)] == ["⋯50 ├─ ", "⋯50 │  └─ "]
    assert [lines[n].split("✓")[0] for n in (100, 101)] == ["⋯100 └─ ", "⋯100    └─ "]
    assert lines[-1].startswith("⋯50 └─ ✓ 120 ")


def test_runs_that_are_alike_are_one_line_where_the_first_of_them_was() -> None:
    """Alike are those of one kind with names that differ in numbers only, directly below one other."""
    pages = [record(n, 0, name=f"page {n}", status="failed" if n in (3, 5) else "succeeded") for n in range(2, 8)]
    tree = grow(record(0), [record(1, 0, name="plan"), *pages, record(8, 0, name="end"), record(9, 3, name="inside")])
    assert [line.split(" [")[0] for line in tree.render(fold=4).splitlines()] == [
        "✓ 0",
        "├─ ✓ plan",
        "├─ ✗ 6 × page #: 4 succeeded, 2 failed ▸",
        "│  ├─ ✗ page 3",
        "│  │  └─ ✓ inside",
        "│  └─ ✗ page 5",
        "└─ ✓ end",
    ]
    assert tree.render(fold=6) == tree.render()


@given(families(), st.integers(1, 4))
def test_a_folded_line_counts_each_of_those_it_stands_for(records: list[RunRecord], fold: int) -> None:
    tree = grow(records[0], records[1:])
    rows = [str(row.line) for row in draw(tree, fold=fold)]
    folded = [row for row in rows if row.endswith("▸")]
    if not folded:
        assert rows == [str(row.line) for row in draw(tree)]
    assert len(rows) <= len(records) + 2 * len(folded)  # a line for those alike, and one for how many more are odd
    for row in folded:
        counts = [int(part.split()[0]) for part in row.rpartition(": ")[2].removesuffix(" ▸").split(", ")]
        assert sum(counts) == int(row.split()[1]) > fold
