"""The registry: a run has its place in the tree, also below runs that nobody recorded."""

from __future__ import annotations

import gc
import shutil
import tempfile
import weakref
from datetime import timedelta
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRecord, RunRegistry, start_run
from agent_run_id.testing import assert_tree
from tests.journal_programs.journals import T0, crafted, event, started
from tests.journal_programs.worlds import forests


@settings(max_examples=40)
@given(forests(), st.data())
def test_lineage_user_and_session_come_from_the_nearest_run_above_that_says_so(
    runs: tuple[RunId, ...], data: st.DataObject
) -> None:
    """Wherever the record is asked for; and a run made under a bare id is in the tree of that id's own start."""
    own = [
        data.draw(
            st.fixed_dictionaries({}, optional={"user_id": st.sampled_from("uvw"), "session_id": st.sampled_from("st")})
        )
        for _ in runs
    ]
    by_id = {run.value: (run, said) for run, said in zip(runs, own, strict=True)}

    def above(run: RunId) -> list[RunId]:
        return [] if run.parent_id is None else [by_id[run.parent_id][0], *above(by_id[run.parent_id][0])]

    def expected(run: RunId) -> dict[str, Any]:
        chain = [run, *above(run)]
        said = [by_id[one.value][1] for one in chain]
        return {
            "id": run.value,
            "parent_id": run.parent_id,
            "root_id": chain[-1].value,
            "depth": len(chain) - 1,
            **{f: next((s[f] for s in said if f in s), None) for f in ("user_id", "session_id")},
        }

    with tempfile.TemporaryDirectory() as temporary:
        lines = [started(run, **said) for run, said in zip(runs, own, strict=True)]
        crafted(Path(temporary), data.draw(st.permutations(lines)))
        with RunRegistry(temporary) as registry:

            def shown(record: RunRecord) -> dict[str, Any]:
                return {name: getattr(record, name) for name in expected(runs[0])}

            for run in runs:
                assert shown(registry.get(run)) == expected(run)
                assert [shown(record) for record in registry.ancestors(run)] == [expected(one) for one in above(run)]
                for child in registry.children(run):
                    assert shown(child) == expected(by_id[child.id][0])
                tree = registry.tree(run)
                assert not any(node.detached for node in tree)
                for node in tree:
                    assert shown(node.record) == expected(by_id[node.record.id][0])
                below = {one.value for one in runs if run in above(one)}
                assert {node.record.id for node in tree} == {run.value} | below
                user = expected(run)["user_id"]
                if user is not None:
                    found = registry.find(user_id=user)
                    assert {record.id for record in found} == {
                        one.value for one in runs if expected(one)["user_id"] == user
                    }


def test_children_are_in_the_order_they_started(tmp_path: Path) -> None:
    """By time, then by process, then by sequence: of two that began in the same microsecond the first is first."""
    parent = RunId.generate()
    runs = sorted((RunId.generate(parent) for _ in range(6)), key=str, reverse=True)
    crafted(tmp_path, [started(parent), *(started(run, name=f"a{n}", time=T0 + 5) for n, run in enumerate(runs[:3]))])
    later = [started(run, name=f"b{n}", time=T0 + 5 - n // 2) for n, run in enumerate(runs[3:])]
    crafted(tmp_path, later, name="two", process="f" * 32)
    with RunRegistry(tmp_path) as registry:
        expected = ["b2", "a0", "a1", "a2", "b0", "b1"]
        assert [child.name for child in registry.children(parent)] == expected
        assert [node.record.name for node in registry.tree(parent).children] == expected


def test_runs_from_a_machine_whose_clock_is_wrong_have_their_place_and_say_so(tmp_path: Path) -> None:
    parent = RunId.generate()
    child = RunId.generate(parent)
    below = RunId.generate(child)
    crafted(tmp_path, [started(parent, name="parent", user_id="u", time=T0)])
    late = [started(child, name="child", time=T0 - 90_000_000), started(below, name="below", time=T0 - 89_000_000)]
    crafted(tmp_path, late, name="two", process="b" * 32)
    with RunRegistry(tmp_path) as registry:
        tree = registry.tree(parent)
        assert [(node.record.name, node.record.user_id, node.skew) for node in tree] == [
            ("parent", "u", None),
            ("child", "u", timedelta(seconds=90)),
            ("below", "u", None),
        ]
        assert "· ⇤ 1 m 30 s" in str(tree)


def test_events_are_in_the_order_their_process_recorded_them_whatever_its_clock_did(tmp_path: Path) -> None:
    run = RunId.generate()
    steps = [event(0, "run.step", run, name=str(n), time=T0 + t) for n, t in enumerate([5, -400, 3, -400, 9])]
    crafted(tmp_path, [started(run), *steps])
    crafted(tmp_path, [event(0, "run.step", run, name="other", time=T0 + 7)], name="two", process="b" * 32)
    with RunRegistry(tmp_path) as registry:
        found = registry.events(run)
        assert [e.data["name"] for e in found if e.process_id != "b" * 32] == [run.short(), "0", "1", "2", "3", "4"]
        assert [e.data["name"] for e in found][-2:] == ["other", "4"]
        assert {e.run_id for e in found} == {run.value}


def test_a_parent_that_was_never_recorded_is_shown_as_such(registry: RunRegistry) -> None:
    unseen = RunId.generate()
    first, second = (start_run(name, parent=unseen, user_id="u") for name in ("first", "second"))
    first.end()
    with second:
        start_run("below").end()
    record = registry.get(unseen)
    assert (record.status, record.name, record.started_at, record.process) == (None, None, None, None)
    tree = registry.tree(unseen)
    assert_tree(
        tree,
        """
        (not recorded) unknown
            first
            second
                below
        """,
    )
    assert [(node.record.depth, node.detached) for node in tree] == [(0, False), (1, False), (1, False), (2, False)]
    assert {found.name for found in registry.find(root_only=True)} == {"first", "second"}
    assert {found.name for found in registry.find()} == {"first", "second", "below"}
    assert [above.id for above in registry.ancestors(first.id)] == [unseen.value]
    assert registry.events(unseen) == []
    assert "(not recorded)" in str(tree)


def test_a_run_below_one_that_was_never_recorded_is_in_the_tree_of_its_root(registry: RunRegistry) -> None:
    with start_run("root") as root:
        unseen = RunId.generate(RunId.generate(root.id))
        with start_run("below", parent=unseen) as below:
            start_run("further below").end()
    tree = registry.tree(root.id)
    assert_tree(
        tree,
        """
        root
            (not recorded) unknown
                below
                    further below
        """,
    )
    assert registry.get(below.id).root_id == root.id.value
    assert registry.get(below.id).depth == 3
    assert len([node for node in tree if node.detached]) == 1
    assert [record.name for record in registry.find(root_only=True)] == ["below", "root"]


def test_what_descends_from_a_bare_id_is_in_the_tree_that_its_own_start_tells(tmp_path: Path) -> None:
    """Also where a run in between was never recorded."""
    top = RunId.generate()
    known = RunId.generate(top)
    bare = RunId(known.value)
    child, unseen = RunId.generate(bare), RunId.generate(bare)
    below = RunId.generate(unseen)
    crafted(tmp_path, [started(below, name="below"), started(child, name="child")])
    crafted(tmp_path, [started(known, name="known"), started(top, name="top")], name="two", process="b" * 32)
    with RunRegistry(tmp_path) as registry:
        for run, depth in ((child, 2), (below, 3)):
            assert (registry.get(run).root_id, registry.get(run).depth) == (top.value, depth)
        tree = registry.tree(top)
        assert {node.record.name: node.record.depth for node in tree if node.record.name} == {
            "top": 0,
            "known": 1,
            "child": 2,
            "below": 3,
        }
        assert {node.record.root_id for node in tree} == {top.value}


def test_the_depth_below_a_bare_id_counts_what_its_start_knew_but_nobody_recorded(tmp_path: Path) -> None:
    """The start of the id names a parent at depth 2 and a root, of which there is no record."""
    root = RunId.generate()
    known = RunId.generate(RunId.generate(RunId.generate(root)))
    child = RunId.generate(RunId(known.value))
    crafted(tmp_path, [started(child, name="child"), started(known, name="known")])
    with RunRegistry(tmp_path) as registry:
        assert (registry.get(child).root_id, registry.get(child).depth) == (root.value, 4)
        assert registry.get(child).run_id.token == f"{child}.{known}.{root}.4"
        assert [(n.record.name, n.record.depth) for n in registry.tree(known)] == [("known", 3), ("child", 4)]


def test_runs_that_claim_to_be_above_each_other_are_shown_all_the_same(tmp_path: Path) -> None:
    one, two, three = RunId.generate(), RunId.generate(), RunId.generate()
    ring = [(one, two), (two, three), (three, one)]
    crafted(tmp_path, [started(RunId.from_token(f"{run}.{above}.{above}.1"), name="ring") for run, above in ring])
    with RunRegistry(tmp_path) as registry:
        assert len(registry.find()) == 3
        for run in (one, two, three):
            assert len(registry.tree(run)) == 3
            assert len(registry.ancestors(run)) == 2
            assert str(registry.tree(run))


def test_a_chain_of_thousands_of_runs_can_be_asked_anything(tmp_path: Path) -> None:
    chain = [RunId.generate()]
    for _ in range(5_000):
        chain.append(RunId.generate(chain[-1]))
    crafted(tmp_path, [started(run, time=T0 + n, **({} if n else {"user_id": "u"})) for n, run in enumerate(chain)])
    with RunRegistry(tmp_path) as registry:
        assert (registry.get(chain[-1]).depth, registry.get(chain[-1]).user_id) == (5_000, "u")
        assert len(registry.ancestors(chain[-1])) == 5_000
        tree = registry.tree(chain[0])
        assert len(tree) == 5_001
        assert str(tree).count("\n") == 5_000
        assert [record.id for record in registry.find(limit=3, order="oldest")] == [run.value for run in chain[:3]]
        assert len(registry.find(limit=3, user_id="u")) == 3


def test_a_tree_tells_all_when_its_registry_is_closed(tmp_path: Path) -> None:
    """Records are made when somebody looks at them, of what was read when the tree was."""
    top, below = RunId.generate(), [RunId.generate() for _ in range(3)]
    crafted(tmp_path, [started(top, user_id="u")], name="top", process="a" * 32, program="agent")
    for number, run in enumerate(below):
        child = RunId.from_token(f"{run.value}.{top.value}.{top.value}.1")
        program = f"worker-{number}"
        crafted(tmp_path, [started(child, input=number)], name=program, process=str(number) * 32, program=program)
    with RunRegistry(tmp_path) as registry:
        tree = registry.tree(top)
        records = {run.value: registry.get(run) for run in [top, *below]}
    shutil.rmtree(tmp_path)
    assert {node.record.id: node.record for node in tree} == records
    assert {node.record.process.program for node in tree.children if node.record.process} == {
        "worker-0", "worker-1", "worker-2",
    }  # fmt: skip
    assert tree.children[0].record is tree.children[0].record


def test_a_tree_does_not_keep_the_database_open(tmp_path: Path) -> None:
    top = RunId.generate()
    crafted(tmp_path, [started(top), started(RunId.generate(parent=top))])
    with RunRegistry(tmp_path) as registry:
        index, tree = weakref.ref(registry._index), registry.tree(top)
    del registry
    gc.collect()
    assert index() is None
    assert len([node.record for node in tree]) == 2
