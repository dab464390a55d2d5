"""The registry: every question about runs, answered from whatever was recorded of them."""

from __future__ import annotations

import os
import tempfile
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import ROOT, RunContext, RunId, RunNotFound, RunRecord, RunRegistry, StoreError, child_env, start_run
from tests.journal_programs.journals import event, held, journals_of, write_journal
from tests.journal_programs.programs import Program, run_program
from tests.journal_programs.worlds import World, everything, forests, worlds
from tests.programs import run_program as run_child

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T0 = 1_700_000_000_000_000


def crafted(directory: Path, lines: Sequence[dict[str, Any]], **header: Any) -> Path:
    return write_journal(directory, [{**line, "seq": seq} for seq, line in enumerate(lines, 1)], **header)


def started(run_id: RunId, **fields: Any) -> dict[str, Any]:
    return event(0, "run.started", run_id, **{"name": run_id.short(), **fields})


# Look-up --------------------------------------------------------------------------------------------------------------

FORMS: dict[str, Callable[[RunId], RunId | str]] = {
    "a RunId": lambda run: run,
    "a bare RunId": lambda run: RunId(run.value),
    "its text": str,
    "its token": lambda run: run.token,
    "without hyphens": lambda run: run.value.replace("-", ""),
    "upper case": lambda run: run.value.upper(),
    "a URN": lambda run: f"urn:uuid:{run.value}",
    "in braces": lambda run: f"{{{run.value}}}",
    "its short form": lambda run: run.short(),
    "with white space": lambda run: f" {run.short()}\n",
    "four characters": lambda run: run.value[:4],
    "up to a hyphen": lambda run: run.value[:9],
    "beyond a hyphen": lambda run: run.value[:12],
    "an odd number of digits": lambda run: run.value.replace("-", "")[:13],
    "all but one character": lambda run: run.value[:-1],
    "upper case beginning": lambda run: run.value[:13].upper(),
}


@pytest.mark.parametrize("form", list(FORMS))
def test_a_run_is_found_by_its_id_in_any_form_or_by_how_it_begins(form: str, tmp_path: Path) -> None:
    root = RunId("abcdef01-2345-4789-8abc-def012345678")
    child = RunId.from_token(f"12345678-9abc-4ef0-8234-56789abcdef0.{root}.{root}.1")
    other = RunId("abcdee01-2345-4789-8abc-def012345678")
    crafted(tmp_path, [started(root), started(child)])
    with RunRegistry(tmp_path) as registry:
        for run in (root, child):
            assert registry.get(FORMS[form](run)).run_id.token == run.token
    crafted(tmp_path, [started(other)], name="two", process="b" * 32)
    with RunRegistry(tmp_path) as registry:
        assert registry.get(FORMS[form](child)).id == child.value
        if form == "four characters":
            with pytest.raises(RunNotFound):
                registry.get(FORMS[form](root))
        else:
            assert registry.get(FORMS[form](root)).id == root.value


@pytest.mark.parametrize(
    "reference",
    ["", " ", "-", "zzzz", "abcd%", "____", "@first", "abcd-", str(uuid.UUID(int=5)), str(uuid.UUID(int=0)),
     "0" * 40, "é", "\0", "a.b.c.d", "12345678-9abc-4ef0-8234-56789abcdef0.x.y.1", RunId(str(uuid.UUID(int=9)))],
    ids=repr,
)  # fmt: skip
def test_what_is_no_run_is_not_found(reference: Any, tmp_path: Path) -> None:
    """It is a `LookupError` that says what was looked for."""
    crafted(tmp_path, [started(RunId("12345678-9abc-4ef0-8234-56789abcdef0"))])
    with RunRegistry(tmp_path) as registry:
        for ask in (registry.get, registry.children, registry.ancestors, registry.tree, registry.events):
            with pytest.raises(LookupError) as caught:
                ask(reference)
            assert isinstance(caught.value, RunNotFound)
            assert caught.value.reference == str(reference)
            assert caught.value.candidates == ()


def test_a_beginning_of_several_runs_names_them(tmp_path: Path) -> None:
    runs = [RunId(f"abcd{number:04x}-0000-4000-8000-000000000000") for number in range(7)]
    crafted(tmp_path, [started(run) for run in reversed(runs)])
    with RunRegistry(tmp_path) as registry, pytest.raises(RunNotFound, match="could be any of 7 runs") as caught:
        registry.get("ABCD00")
    assert caught.value.candidates == tuple(run.value for run in runs)
    assert runs[0].value in str(caught.value)


def test_the_last_is_the_root_that_started_latest(registry: RunRegistry) -> None:
    with pytest.raises(RunNotFound):
        registry.get("@last")
    with start_run("first", parent=ROOT):
        pass
    with start_run("second", parent=ROOT):
        start_run("a child")
    assert registry.get("@last").name == "second"
    assert registry.tree("@last").record.name == "second"
    start_run("under a run nobody recorded", parent=RunId.generate())
    assert registry.get("@last").name == "under a run nobody recorded"


def test_a_record_tells_everything_that_was_recorded(registry: RunRegistry) -> None:
    other = RunId.generate()
    before = datetime.now(UTC)
    with start_run(
        "name", kind="agent", input={"a": [1]}, key="k", user_id="u", session_id="s", summary="z", tags=["t"],
        attributes={"x": None, "y": 2.5}, links=[other, "name of another"],
    ) as run:  # fmt: skip
        run.decide("q", options=["a", "b"], chosen="a", why="w", confidence=0.5).outcome("o")
        run.usage(model="m", input_tokens=1, cost=0.25, call_id="c")
        run.update(output=1, tags=["u"], attributes={"y": 3})
        run.end(output=None, error=ValueError("e"))
    record = registry.get(run.id)
    assert (record.name, record.kind, record.input, record.status) == ("name", "agent", {"a": [1]}, "failed")
    assert (record.key, record.user_id, record.session_id, record.summary) == ("k", "u", "s", "z")
    assert (record.tags, record.attributes, record.output) == (("t", "u"), {"x": None, "y": 3}, None)
    assert record.links == (other.token, "name of another")
    assert record.error is not None
    assert (record.error.type, record.error.message) == ("ValueError", "e")
    [decision] = record.decisions
    assert (decision.question, decision.options, decision.chosen, decision.why) == ("q", ("a", "b"), "a", "w")
    assert (decision.confidence, decision.outcome) == (0.5, "o")
    [usage] = record.usage
    assert (usage.model, usage.input_tokens, usage.output_tokens, usage.cost, usage.currency) == (
        "m",
        1,
        None,
        0.25,
        "USD",
    )
    assert record.started_at is not None
    assert record.ended_at is not None
    assert before - timedelta(milliseconds=1) <= record.started_at <= record.ended_at <= datetime.now(UTC)
    assert record.elapsed is not None
    assert record.elapsed >= timedelta(0)
    assert record.process is not None
    assert (record.process.pid, record.process.state) == (os.getpid(), "alive")
    assert RunRecord.model_validate_json(record.model_dump_json()) == record


def test_what_another_process_recorded_a_moment_ago_is_there(registry: RunRegistry) -> None:
    """Also while it runs."""
    program = """
import sys
from agent_run_id import current_run_id, start_run
for line in sys.stdin:
    with start_run(line.strip()) as run:
        print(run.id.token, flush=True)
        sys.stdin.readline()
    print("ended", flush=True)
"""
    with start_run("parent") as parent:
        env = child_env()
        with Program(program, directory=registry.directory, env={"AGENT_RUN_ID": env["AGENT_RUN_ID"]}) as child:
            for name in ("one", "two"):
                child.tell(name)
                run = RunId.from_token(child.hear())
                assert registry.get(run).status == "running"
                assert registry.get(run).name == name
                child.tell()
                child.hear()
                assert registry.get(run).status == "succeeded"
            child.finish()
        assert [found.name for found in registry.children(parent.id)] == ["one", "two"]


# Place in the tree ----------------------------------------------------------------------------------------------------


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
    with second:
        start_run("below").end()
    record = registry.get(unseen)
    assert (record.status, record.name, record.started_at, record.process) == (None, None, None, None)
    tree = registry.tree(unseen)
    assert [(node.record.name, node.record.depth, node.detached) for node in tree] == [
        (None, 0, False),
        ("first", 1, False),
        ("second", 1, False),
        ("below", 2, False),
    ]
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
    assert {node.record.name for node in tree if node.record.name} == {"root", "below", "further below"}
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


# Search ---------------------------------------------------------------------------------------------------------------

FILTERS: dict[str, Callable[[RunRecord, Any], bool]] = {
    "status": lambda record, value: record.status == value,
    "kind": lambda record, value: record.kind == value,
    "name": lambda record, value: record.name == value,
    "key": lambda record, value: record.key == value,
    "user_id": lambda record, value: record.user_id == value,
    "session_id": lambda record, value: record.session_id == value,
    "tag": lambda record, value: value in record.tags,
}
CHOICES = {
    "status": ["running", "lost", "succeeded", "failed", "cancelled"],
    "kind": ["agent", "tool", "none"],
    "name": ["run 0", "run 1", "run"],
    "key": ["k1", "k2"],
    "user_id": ["ann", "bob", "eve"],
    "session_id": ["s1", "s2"],
    "tag": ["t1", "t2", "t"],
}


@settings(max_examples=25)
@given(worlds(), st.data())
def test_what_is_found_is_what_meets_every_condition(world: World, data: st.DataObject) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        for place, part in enumerate(world.parts):
            write_journal(Path(temporary), part.lines, name=str(place), process=part.process, segment=part.segment)
        with RunRegistry(temporary) as registry:
            everyone = registry.find(limit=None)
            for _ in range(10):
                given: dict[str, Any] = data.draw(
                    st.fixed_dictionaries({}, optional={name: st.sampled_from(of) for name, of in CHOICES.items()})
                )
                limit = data.draw(st.none() | st.integers(0, 4))
                expected = [
                    record.id for record in everyone if all(FILTERS[name](record, of) for name, of in given.items())
                ]
                assert [record.id for record in registry.find(**given, limit=limit)] == expected[:limit]
                oldest = registry.find(**given, limit=limit, order="oldest")
                assert [record.id for record in oldest] == expected[::-1][:limit]


def test_by_default_the_hundred_latest_are_found(registry: RunRegistry) -> None:
    for number in range(103):
        start_run(str(number)).end()
    assert [record.name for record in registry.find()] == [str(number) for number in range(102, 2, -1)]
    assert len(registry.find(limit=None)) == 103
    assert [record.name for record in registry.find(limit=2, order="oldest")] == ["0", "1"]


def test_only_roots_are_found_when_only_roots_are_wanted(registry: RunRegistry) -> None:
    for name in ("one", "two"):
        with start_run(name), start_run("child"):
            pass
    assert [record.name for record in registry.find(root_only=True)] == ["two", "one"]


# Recording through it -------------------------------------------------------------------------------------------------


def test_a_run_that_is_started_here_is_recorded_in_the_directory_of_the_registry(
    registry: RunRegistry, tmp_path: Path
) -> None:
    """Not where the process records otherwise; with the id it was given."""
    run_id = RunId.generate()
    with RunRegistry(tmp_path) as other:
        run = other.start(
            run_id,
            name="n",
            kind="agent",
            user_id="u",
            session_id="s",
            summary="z",
            input=[1],
            key="k",
            attributes={"x": 1},
        )
        assert run.id.token == run_id.token
        assert other.get(run_id).status == "running"
        run.step("step")
        other.finish(run_id, output={"done": True})
        record = other.get(run_id)
        assert (record.status, record.output, record.input) == ("succeeded", {"done": True}, [1])
        assert (record.name, record.kind, record.key, record.summary) == ("n", "agent", "k", "z")
        assert (record.user_id, record.session_id, record.attributes) == ("u", "s", {"x": 1})
        assert [e.type for e in other.events(run_id)] == ["run.started", "run.step", "run.ended"]
    assert registry.find() == []


def test_the_id_everybody_began_with_is_enough(tmp_path: Path) -> None:
    """A bare id, made anywhere and read from a text; its children know their parent."""
    run_id = RunId.from_string(str(uuid.uuid4()).upper())
    with RunRegistry(tmp_path) as registry:
        registry.start(run_id, user_id="u", summary="task")
        with RunContext(run_id):
            child = registry.start(RunId.generate(parent=run_id), name="child")
        child.end(error="boom")
        registry.finish(run_id, status="cancelled")
        assert [(n.record.name, n.record.status, n.record.user_id) for n in registry.tree(run_id)] == [
            ("run", "cancelled", "u"),
            ("child", "failed", "u"),
        ]


def test_only_the_first_end_counts_and_only_a_status_there_is(tmp_path: Path) -> None:
    run_id = RunId.generate()
    with RunRegistry(tmp_path) as registry:
        registry.start(run_id)
        with pytest.raises(ValueError, match="succeeded, failed, cancelled"):
            registry.finish(run_id, status="lost")  # type: ignore[arg-type]
        registry.finish(run_id, error=KeyError("k"))
        registry.finish(run_id, status="succeeded")
        record = registry.get(run_id)
        assert (record.status, record.error and record.error.type, record.refused_ends) == ("failed", "KeyError", 0)


def test_another_process_cannot_end_a_run(registry: RunRegistry) -> None:
    """It is told nothing; the registry refuses its end and counts it."""
    with start_run("mine") as run:
        run_child(f"""
            import agent_run_id
            agent_run_id.RunRegistry().finish(agent_run_id.RunId("{run.id}"), status="failed")
        """)
        assert (registry.get(run.id).status, registry.get(run.id).refused_ends) == ("running", 1)
    assert (registry.get(run.id).status, registry.get(run.id).refused_ends) == ("succeeded", 1)


def test_reading_records_nothing(registry: RunRegistry) -> None:
    with start_run("run") as run:
        pass
    sizes = {path: path.stat().st_size for path in journals_of(registry.directory)}
    everything(registry)
    registry.find(user_id="u", tag="t")
    assert {path: path.stat().st_size for path in journals_of(registry.directory)} == sizes
    assert registry.get(run.id).name == "run"


# Which directory ------------------------------------------------------------------------------------------------------


def test_by_default_it_reads_where_the_process_records(tmp_path: Path) -> None:
    program = """
from agent_run_id import RunRegistry, start_run
start_run("run").end()
with RunRegistry() as registry:
    print(registry.directory, len(registry.find()))
"""
    assert run_program(program, directory=tmp_path).split() == [str(tmp_path), "1"]


def test_where_recording_is_off_there_is_nothing_to_read_by_default() -> None:
    program = """
from agent_run_id import RunRegistry, StoreError
try:
    RunRegistry()
except StoreError as error:
    print(error)
"""
    assert "give RunRegistry a directory" in run_program(program)
    assert issubclass(StoreError, OSError)


def test_a_relative_directory_stays_where_it_was(tmp_path: Path) -> None:
    program = """
import os, sys
from agent_run_id import RunId, RunRegistry
os.chdir(sys.argv[1])
registry = RunRegistry("runs")
os.chdir("/")
registry.start(RunId.generate(), name="run")
print(registry.directory, len(registry.find()))
"""
    assert run_program(program, str(tmp_path)).split() == [str(tmp_path / "runs"), "1"]


def test_a_registry_goes_on_in_a_forked_child(tmp_path: Path) -> None:
    program = """
import os
from agent_run_id import RunRegistry, start_run
registry = RunRegistry()
with start_run("parent") as parent:
    registry.find()
    if os.fork() == 0:
        with start_run("child") as child:
            print(registry.get(child.id).status, registry.get(parent.id).status, flush=True)
        print(registry.get(child.id).status, flush=True)
        os._exit(0)
    os.wait()
    print(sorted(record.status for record in registry.find()))
registry.close()
print(sorted(record.status for record in registry.find()))
"""
    assert run_program(program, directory=tmp_path).splitlines() == [
        "running running",
        "succeeded",
        "['running', 'succeeded']",
        "['succeeded', 'succeeded']",
    ]


def test_a_run_of_another_host_is_running_as_long_as_nobody_says_otherwise(tmp_path: Path) -> None:
    """Its process cannot be seen from here: neither its life nor its death."""
    run = RunId.generate()
    path = crafted(tmp_path, [started(run)], host="elsewhere")
    with RunRegistry(tmp_path) as registry:
        for _ in range(2):
            record = registry.get(run)
            assert record.status == "running"
            assert record.process is not None
            assert record.process.state == "unknown"
            assert "last heard of" in str(registry.tree(run))
        with held(path):
            assert registry.get(run).status == "running"


# Size -----------------------------------------------------------------------------------------------------------------


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
