"""Trees as text: what `tree_text` gives is accepted, what is drawn is, and any change is refused by its name."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import InvalidTreeTextError, RunContext, RunId, RunRecord, RunRegistry, Tree, start_run
from agent_run_id.rendering import SYMBOLS
from agent_run_id.schema import DecisionRecord, ErrorRecord
from agent_run_id.testing import assert_tree, tree_text, trees
from agent_run_id.testing.differences import difference
from agent_run_id.testing.lines import line_of
from agent_run_id.testing.outline import read_outline
from agent_run_id.tree import grow
from tests.families import record

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.testing.outline import Expected

strange_names = st.none() | st.text() | st.sampled_from(
    [
        "", " ", "a  b", "failed", "search failed", "search [x]", "[x]", "x3", "×3", "key=1", "error~1", "f(x=1)",
        "...", "… 3 more", "✓ a", "✓", "?", "⊘", "✗ a [0a1b2c3d] failed", "├─ a", "│", "◆ a", "⋯50 a", "(not recorded)",
        "'a", '"a"',
        "a\nb", "a\tb", "\x1b[31m", "\u202e", "\u2028", "\U000e0041", "a\\nb", "unknown", "работа", "x=1 y", "a 'b'",
    ]
)  # fmt: skip


def refused(tree: Tree | RunRegistry, text: str, **how: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        assert_tree(tree, text, **how)
    return str(raised.value)


# The law --------------------------------------------------------------------------------------------------------------


@given(tree=trees(name=strange_names), decisions=st.booleans())
def test_what_is_told_of_a_tree_and_what_is_drawn_of_it_is_accepted(tree: Tree, *, decisions: bool) -> None:
    for text in (tree_text(tree, decisions=decisions), tree.render()):
        assert_tree(tree, text)
        assert_tree(tree, text, any_order=True)
        assert_tree(tree, "\n" + "\n".join(f"        {line}" for line in text.split("\n")) + "\n    ")


@given(trees(name=strange_names), st.data())
def test_any_one_run_that_is_another_or_elsewhere_or_missing_is_refused_and_named(
    tree: Tree, data: st.DataObject
) -> None:
    text, nodes = tree_text(tree), list(tree)
    node = data.draw(st.sampled_from(nodes))
    others = [other for other in nodes if other not in list(node) and node not in other.children]
    kinds = ["name", "status", *["missing"] * (node is not tree), *["parent"] * bool(others and node is not tree)]
    kind = data.draw(st.sampled_from(kinds))
    changes: dict[str, Any] = {}
    if kind == "name":
        changes["name"] = data.draw(strange_names.filter(lambda name: name != node.record.name))
    elif kind == "status":
        changes["status"] = data.draw(st.sampled_from([s for s in SYMBOLS if s != node.record.status]))
    elif kind == "parent":
        above = data.draw(st.sampled_from(others)).record
        changes |= {"parent_id": above.id, "root_id": tree.record.id, "depth": above.depth + 1}
    changed = node.record.model_copy(update=changes)
    records = [changed if other is node else other.record for other in nodes]
    if kind == "missing":
        records.remove(changed)
    another = grow(records[0], records[1:])
    message = refused(another, text)
    assert line_of(node.record) in message
    assert line_of(changed) in message
    if kind != "parent":  # among siblings that are all alike, in any order, it may be the same tree
        assert "expected" in refused(another, text, any_order=True)


@given(trees(complete=True), st.data())
def test_siblings_in_another_order_are_accepted_where_any_order_is(tree: Tree, data: st.DataObject) -> None:
    def shuffled(node: Tree, depth: int) -> list[str]:
        below = [shuffled(child, depth + 1) for child in data.draw(st.permutations(node.children))]
        return [f"{' ' * depth}{line_of(node.record)}", *itertools.chain.from_iterable(below)]

    text = "\n".join(shuffled(tree, 0))
    assert_tree(tree, text, any_order=True)
    indented = [(len(line) - len(line.lstrip()), line.strip()) for line in text.split("\n")]
    kept = [(tree_depth, line_of(node.record)) for node, tree_depth in walked(tree)]
    assert (difference(read_outline(text), [tree], any_order=False) is None) == (indented == kept)


def walked(tree: Tree, depth: int = 0) -> list[tuple[Tree, int]]:
    return [(tree, depth), *itertools.chain.from_iterable(walked(child, depth + 1) for child in tree.children)]


Outline = list[Any]
"""Lines with those below them; a text alone is whatever else there is."""
outlines: st.SearchStrategy[Outline] = st.lists(
    st.recursive(
        st.just("...") | st.tuples(st.sampled_from(["a", "b", "a key=1"]), st.just([])),
        lambda inner: st.tuples(st.sampled_from(["a", "b", "a key=1"]), st.lists(inner, max_size=3)),
        max_leaves=6,
    ),
    max_size=3,
)
small_trees = trees(
    name=st.sampled_from("ab"), key=st.sampled_from([None, "1"]), status=st.just("succeeded"), max_runs=6, complete=True
)


def written(outline: Outline, depth: int = 0) -> str:
    lines = []
    for line in outline:
        text, below = (line, []) if line == "..." else line
        lines += [f"{'  ' * depth}{text}", *filter(None, [written(below, depth + 1)])]
    return "\n".join(lines)


def fits(lines: Sequence[Expected], nodes: Sequence[Tree], *, any_order: bool) -> bool:
    """As plainly as can be: one after the other is taken for one after the other."""
    if not lines:
        return not nodes
    line, *rest = lines
    if line.run is None:
        return any(
            fits(rest, left, any_order=any_order)
            for size in range(len(nodes) + 1)
            for left in (itertools.combinations(nodes, size) if any_order else [nodes[size:]])
        )
    return any(
        line.meets(node)
        and fits(line.children, node.children, any_order=any_order)
        and fits(rest, [*nodes[:place], *nodes[place + 1 :]], any_order=any_order)
        for place, node in enumerate(nodes if any_order else nodes[:1])
    )


@given(outline=outlines, tree=small_trees, any_order=st.booleans())
def test_a_text_is_accepted_exactly_if_every_line_can_be_taken_for_a_run_of_its_own(
    outline: Outline, tree: Tree, *, any_order: bool
) -> None:
    lines = read_outline(written([("a", outline)]))
    accepted = difference(lines, [tree], any_order=any_order) is None
    assert accepted == fits(lines, [tree], any_order=any_order)


@given(outline=outlines, tree=small_trees, any_order=st.booleans())
def test_where_it_is_refused_every_run_and_every_line_is_marked_or_not_once(
    outline: Outline, tree: Tree, *, any_order: bool
) -> None:
    text = written(outline)
    message = difference(read_outline(text), [tree], any_order=any_order)
    if message is None or "…" in message:
        return
    marks = [line[0] for line in message.split("\n")[1:]]
    assert marks.count(" ") + marks.count("-") == sum("..." not in line for line in text.split("\n") if line)
    assert marks.count("+") > 0 or marks.count("-") > 0
    if "..." not in text:
        assert marks.count(" ") + marks.count("+") == len(tree)


# What a person writes -------------------------------------------------------------------------------------------------


def a_trip(**search: Any) -> Tree:
    error = ErrorRecord(type="TimeoutError", message="no answer in 5 s")
    decision = DecisionRecord(id="d", question="what now", chosen="give up", why="it is late", outcome="well")
    return grow(
        record(0, name="plan a trip", kind="agent", decisions=(decision,)),
        [
            record(1, 0, **{"name": "search", "kind": "tool", "status": "failed", "error": error, **search}),
            record(2, 0, name="book", output={"n": [1, None]}, user_id="ann", tags=("eu", "x y"), attempt=2),
            record(3, 0, name="book"),
        ],
    )


@pytest.mark.parametrize(
    "search",
    [
        "search failed", "search [tool] failed", 'search failed error="TimeoutError: no answer in 5 s"', "✗ search",
        'search failed error~"no answer"', "search failed error~Timeout [tool]", '"search" failed', "'search' failed",
        "✗ search failed",
    ],
)  # fmt: skip
def test_only_what_is_said_is_compared(search: str) -> None:
    for book in ('book output={"n": [1, null]}', "book user_id=ann attempt=2", 'book tags=["eu", "x y"]', "book"):
        assert_tree(
            a_trip(),
            f"""
            plan a trip
              {search}
              {book}
              book
            """,
        )


@pytest.mark.parametrize(
    ("search", "why"),
    [
        ("search", "status"), ("search [llm] failed", "kind"), ("seek failed", "name"), ("search lost", "status"),
        ("search failed key=1", "key"), ("search failed error=TimeoutError", "error"),
        ("search failed output=1", "output"),
        ("search failed error~disk attempt=2", "error, attempt"), ("search failed summary~x", "summary"),
    ],
)  # fmt: skip
def test_whatever_is_said_is_compared_and_the_message_says_what_is_different(search: str, why: str) -> None:
    message = refused(a_trip(), f"plan a trip\n  {search}\n  book\n  book")
    assert message.split("\n") == [
        "the runs are not as expected (1 different; - is expected, + is recorded):",
        "  plan a trip",
        f"-     {search}",
        next(line for line in message.split("\n") if line.startswith("+     search [tool] failed")),
        "      book",
        "      book",
    ]
    assert message.count(f"← different: {why}\n") == 1


def test_missing_additional_and_other_runs_are_marked() -> None:
    assert refused(a_trip(key="oslo"), "plan a trip\n  lunch\n    soup\n  search failed key=bergen\n  book") == (
        "the runs are not as expected (2 missing, 1 not expected, 1 different; - is expected, + is recorded):\n"
        "  plan a trip\n"
        "-     lunch  ← missing\n"
        "-         soup  ← missing\n"
        "-     search failed key=bergen\n"
        '+     search [tool] failed key=oslo error="TimeoutError: no answer in 5 s"  ← different: key\n'
        "+     book  ← not expected\n"
        "      book"
    )


def test_what_is_as_expected_far_from_a_difference_is_counted() -> None:
    tree = grow(record(0), [record(n, 0) for n in range(1, 40)])
    message = refused(tree, tree_text(tree).replace("    20", "    twenty"))
    assert message.split("\n")[1:4] == ["  0", "  … 17 as expected", "      18"]
    assert message.split("\n")[-1] == "  … 17 as expected"
    assert "+     20  ← different: name" in message


def test_what_differs_without_end_is_cut() -> None:
    message = refused(grow(record(0), [record(n, 0) for n in range(1, 900)]), "0")
    assert message.count("\n") < 210
    assert message.endswith("… and 700 more lines")


def test_three_dots_are_whatever_else_there_is_and_times_are_several_such_runs() -> None:
    tree = a_trip()
    for accepted in ("...", "...\n  book\n  ...", "search failed\n  ...", "...\n  book ×2", "search failed\n  book x2"):
        assert_tree(tree, f"plan a trip\n  {accepted}")
    for not_accepted in ("...\n  lunch", "book ×2", "...\n  book ×3", "...\n  search failed", "...\n  ...\n  book ×3"):
        assert "plan a trip" in refused(tree, f"plan a trip\n  {not_accepted}")
    assert_tree(tree, "plan a trip\n  book\n  ...", any_order=True)
    assert "missing" in refused(tree, "plan a trip\n  a ×9\n    b ×99\n      c ×99")


def test_runs_that_were_left_out_where_a_tree_was_drawn_are_whatever_else_there_is() -> None:
    tree = a_trip()
    assert_tree(tree, tree.render(max_children=1))
    assert_tree(tree, tree.render(max_depth=0))


@pytest.mark.parametrize("line", ["◆ what now", "◆ what now → give up", "◆ what now → give up: it is late ⇒ well"])
def test_decisions_are_compared_where_they_are_said(line: str) -> None:
    assert_tree(a_trip(), f"plan a trip\n    {line}\n    ...")
    message = refused(a_trip(), f"plan a trip\n    {line}!\n    ...")
    assert f"-     {line}!\n+     ◆ what now → give up: it is late ⇒ well  ← decided" in message
    assert "1 missing" in refused(a_trip(), f"plan a trip\n    {line}\n    ...\n    lunch")
    assert "+     ◆" in refused(a_trip(), f"plan a trip\n    {line}\n    {line}\n    ...")


def test_a_chain_of_ten_thousand_runs_is_compared_like_any_other() -> None:
    """Nothing recurses."""
    depth = 2_000
    tree = grow(record(0), [record(n, n - 1, name="same") for n in range(1, depth)])
    text = tree_text(tree)
    assert_tree(tree, text)
    assert "missing" in refused(tree, f"{text}\n{' ' * 4 * depth}more")


# Whole registries -----------------------------------------------------------------------------------------------------


def test_a_registry_is_compared_with_all_its_trees_in_the_order_they_started(registry: RunRegistry) -> None:
    assert_tree(registry, "")
    with start_run("one"), start_run("below"):
        pass
    with start_run("two", parent=RunId.generate()) as two:
        pass
    assert_tree(registry, "one\n  below\ntwo")
    assert_tree(registry, "two\none\n  below", any_order=True)
    assert "- two  ← missing" in refused(registry, "two\none\n  below")
    assert tree_text(registry) == "one\n    below\ntwo"
    assert_tree(registry.tree(two.id), "two")


def test_a_run_that_hangs_from_its_root_is_not_also_a_tree_of_its_own(registry: RunRegistry) -> None:
    with start_run("root") as root:
        start_run("below", parent=RunId.generate(RunId.generate(root.id))).end()
    assert_tree(registry, "root\n  (not recorded) unknown\n    below")


def test_a_run_whose_start_was_not_recorded_has_a_line_too(registry: RunRegistry) -> None:
    above = RunId.generate()
    with RunContext(above), start_run("child"):
        pass
    text = tree_text(registry.tree(above))
    assert text == "(not recorded) unknown\n    child"
    assert_tree(registry.tree(above), text)
    assert_tree(registry, "child")


def test_what_is_neither_a_registry_nor_a_tree_is_refused_with_what_is(registry: RunRegistry) -> None:
    records: Any = registry.find()
    with pytest.raises(TypeError, match="capture_runs"):
        assert_tree(records, "")


# Texts that are not understood ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a b=1", "line 1, 'a b=1': 'b=' is not understood"),
        ("a\n\n  b\n c", "line 4, 'c': it is indented like no line above it"),
        ("  a\nb", "line 2, 'b': it stands further to the left"),
        ("failed", "begins with the name of a run"),
        ("a failed lost", "one status, not failed and lost"),
        ("✗ a lost", "one status, not failed and lost"),
        ("a output={", "output= is no JSON"),
        ("a key=", "nothing stands behind key"),
        ('"a', "the quotes"),
        ('"a"b', "the quotes"),
        ("'\\x'", "JSON or Python"),
        ("a\n  ...\n    c", "nothing can stand"),
        ("a [x] foo", "'foo' is not understood"),
        ("a [x] [y]foo", "'[y]foo' is not understood"),
        ("a attempt~1", "'attempt~' is not understood"),
        ("◆ a", "below the line of its run"),
        ("a\n◆ b", "below the line of its run"),
        ("...\n  ◆ b", "below the line of its run"),
        ("a\n⋯50 b", "tree_text"),
        ("a ×9999\n  b ×9999\n    c ×9999", "more than 1,000,000 runs"),
    ],
)
def test_a_text_that_is_not_understood_is_an_error_that_says_which_line_and_why(
    text: str, message: str, registry: RunRegistry
) -> None:
    with pytest.raises(InvalidTreeTextError) as raised:
        assert_tree(registry, text)
    assert isinstance(raised.value, ValueError)
    assert message in str(raised.value)


@given(st.text("ab [](){}=~×x3'\"\\◆…. \n├─└│✓✗key"))
def test_whatever_the_text_it_is_read_or_refused_with_the_line(text: str) -> None:
    told = "line "
    try:
        read_outline(text)
    except InvalidTreeTextError as error:
        told = str(error)
    assert told.startswith("line ")


@given(strange_names, st.sampled_from([None, "task", "tool", "a b", "[x]", "]", '"', ""]), st.none() | st.text())
def test_a_line_that_is_told_is_read_again(name: str | None, kind: str | None, key: str | None) -> None:
    told = record(0, name=name, kind=kind, key=key, error=ErrorRecord(message="x" * 300), status="failed")
    assert "\n" not in line_of(told)
    assert_tree(grow(told, []), line_of(told))
    if key is not None:
        other: RunRecord = told.model_copy(update={"key": f"{key}!"})
        assert "different: key" in refused(grow(other, []), line_of(told))
