"""The index against a plain model of it: whatever happens to journals, it holds what those that are left say."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry
from tests.journal_programs.indexes import NAME
from tests.journal_programs.journals import event, held, write_journal
from tests.journal_programs.model import Model
from tests.journal_programs.worlds import Part, World, worlds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id import RunRecord


def write(directory: Path, part: Part, name: str, locks: contextlib.ExitStack) -> Path:
    path = write_journal(directory, part.lines, name=name, process=part.process, segment=part.segment)
    if part.alive and part.segment == 1:
        locks.enter_context(held(path))
    return path


def shown(record: RunRecord) -> dict[str, Any]:
    found = record.model_dump()
    if found["process"] is not None:
        found["process"] = {name: found["process"][name] for name in ("id", "state")}
    return found


def agrees(registry: RunRegistry, model: Model) -> None:
    """Everything that can be asked of every run is what the model says."""
    registry.find()
    named = [key.hex() for (key,) in registry._index.read("SELECT id FROM runs ORDER BY id")]
    assert [run.replace("-", "") for run in model.runs] == named
    for run in model.runs:
        ref = RunId(run)
        assert shown(registry.get(ref)) == model.record(run)
        assert [shown(child) for child in registry.children(ref)] == list(map(model.record, model.children(run)))
        assert [shown(above) for above in registry.ancestors(ref)] == list(map(model.record, model.lineage(run)))
        tree = {node.record.id: shown(node.record) for node in registry.tree(ref)}
        assert tree == {below: model.record(below) for below in model.below(run)}
        told = [(e.process_id, e.seq, e.type, e.data) for e in registry.events(ref)]
        assert told == [(e.process, e.seq, e.type, e.data) for e in model.said[run]]
        assert registry.counts(ref).by_status == model.counts(run)
        assert registry.counts(ref).runs == sum(model.counts(run).values())
    assert [record.id for record in registry.find(limit=None)] == model.started()
    roots = registry.roots(limit=None)
    assert [found.record.id for found in roots] == model.roots()
    assert [found.counts.by_status for found in roots] == list(map(model.counts, model.roots()))


def rebuilt_agrees(directory: Path, model: Model) -> None:
    for suffix in ("", "-wal", "-shm"):
        (directory / f"{NAME}{suffix}").unlink(missing_ok=True)
    with RunRegistry(directory) as registry:
        agrees(registry, model)


def some_of(data: st.DataObject, parts: Sequence[Part]) -> list[Part]:
    return [part for part in parts if data.draw(st.booleans())]


@settings(max_examples=60)
@given(worlds(), st.data())
def test_an_index_holds_what_the_journals_say_in_any_order_copied_or_lost(world: World, data: st.DataObject) -> None:
    """Also where no start was seen, and where a process is known by a later file of it alone."""
    parts = some_of(data, world.parts) if data.draw(st.booleans()) else list(world.parts)
    names = data.draw(st.permutations([f"{place:02}" for place in range(len(parts))]))
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        for part, name in zip(parts, names, strict=True):
            path = write(Path(temporary), part, name, locks)
            if data.draw(st.booleans()):
                shutil.copy(path, path.with_name(f"{data.draw(st.sampled_from('0z'))}-{path.name}"))
        with RunRegistry(temporary) as registry:
            agrees(registry, Model(parts))


@settings(max_examples=60)
@given(worlds(consistent=True), st.data())
def test_an_index_that_is_kept_holds_what_one_holds_that_is_made_anew(world: World, data: st.DataObject) -> None:
    """Journals come one after another, in any order, and go again; somebody looks now and then.

    But the file whose lock a living process holds is there before its others.
    """
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        directory = Path(temporary)
        there: dict[Path, Part] = {}
        with RunRegistry(directory) as registry:
            parts = data.draw(st.permutations(world.parts))
            for place, part in enumerate(sorted(parts, key=lambda part: not (part.alive and part.segment == 1))):
                there[write(directory, part, f"{place:02}", locks)] = part
                if data.draw(st.booleans()):
                    agrees(registry, Model(there.values()))
            for path in list(there):
                if data.draw(st.booleans()):
                    path.unlink()
                    del there[path]
                    if data.draw(st.booleans()):
                        registry.find()
            agrees(registry, Model(there.values()))
        rebuilt_agrees(directory, Model(there.values()))


@settings(max_examples=40)
@given(worlds(), st.data())
def test_an_index_that_grew_line_by_line_holds_what_the_journals_say(world: World, data: st.DataObject) -> None:
    """The lines of all processes come in any order between them, and readers see them come."""
    with tempfile.TemporaryDirectory() as temporary, contextlib.ExitStack() as locks:
        directory = Path(temporary)
        paths = [
            write(directory, Part(part.process, part.segment, part.segment == 1, ()), f"{place:02}", locks)
            for place, part in enumerate(world.parts)
        ]
        left = [list(part.lines) for part in world.parts]
        seen: list[list[bytes]] = [[] for _ in left]

        def model() -> Model:
            return Model(
                Part(part.process, part.segment, part.segment == 1, tuple(lines))
                for part, lines in zip(world.parts, seen, strict=True)
            )

        with RunRegistry(directory) as registry:
            registry.find()
            for place in data.draw(st.permutations([n for n, lines in enumerate(left) for _ in lines])):
                line = left[place].pop(0)
                with paths[place].open("ab") as file:
                    file.write(line)
                seen[place].append(line)
                if data.draw(st.booleans()):
                    registry.find()
            agrees(registry, model())


def test_a_run_whose_start_is_missing_is_known_by_those_below_it(tmp_path: Path) -> None:
    """Between a root that is here and a run that is here two were lost: what is known of them says so."""
    root, middle, above, run = (RunId(f"{digit * 8}-0000-4000-8000-000000000000") for digit in "1234")
    seen = RunId.from_token(f"{run}.{above}.{root}.3")
    step = RunId.from_token(f"{middle}.{root}.{root}.1")
    lines = [event(1, "run.started", root, name="top", user_id="ann"), event(2, "run.started", seen, name="below")]
    write_journal(tmp_path, [*lines, event(3, "run.step", step, name="heard")])
    with RunRegistry(tmp_path) as registry:
        record = registry.get(above)
        assert (record.name, record.status, record.started_at, record.parent_id) == (None, None, None, None)
        assert (record.root_id, record.depth, record.user_id) == (root.value, 2, "ann")
        assert [found.id for found in registry.ancestors(run)] == [above.value, root.value]
        assert [node.record.id for node in registry.tree(above)] == [above.value, run.value]
        assert registry.counts(above).runs == 1
        tree = registry.tree(root)
        assert [(node.record.id, node.detached) for node in tree.children] == [
            (middle.value, False),
            (above.value, True),
        ]
        assert [found.data["name"] for found in registry.events(middle)] == ["heard"]


def test_a_run_that_never_started_is_in_the_tree_of_the_root_of_its_root(tmp_path: Path) -> None:
    """It knows the one above it by a bare id, which says nothing of what is above that, and nobody beside it starts."""
    root, middle, run = (RunId(f"{digit * 8}-0000-4000-8000-000000000000") for digit in "123")
    started = RunId.from_token(f"{middle}.{root}.{root}.1")
    silent = RunId.from_token(f"{run}.{middle}.{middle}.1")
    lines = [event(1, "run.started", root), event(2, "run.started", started), event(3, "run.step", silent)]
    write_journal(tmp_path, lines)
    with RunRegistry(tmp_path) as registry:
        assert [node.record.id for node in registry.tree(root)] == [root.value, middle.value, run.value]
        assert registry.counts(root).runs == 2
