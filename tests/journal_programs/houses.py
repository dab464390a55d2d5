"""Folders to keep house in: worlds as whole folders of journals, and housekeeping that does all it can at once."""

from __future__ import annotations

import contextlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry, housekeeping
from agent_run_id.index import database
from agent_run_id.settings import Retention
from tests.journal_programs.journals import T0, encode, event, held, write_journal
from tests.journal_programs.worlds import World, everything, worlds

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

FOR_EVER = Retention(None, None)
AT_ONCE = {"_MIN_JOURNALS": 2, "_MIN_BUNDLES": 2, "_SETTLED_S": -1}
"""Fold whatever there is, and take for settled what was folded."""


@contextlib.contextmanager
def eager(**constants: Any) -> Generator[pytest.MonkeyPatch]:
    """Housekeeping that waits neither for many files nor for the disk."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**AT_ONCE, **constants}.items():
            patch.setattr(housekeeping, name, value)
        yield patch


def keep(directory: Path, retention: Retention = FOR_EVER) -> None:
    """Keep house now, as a reader does that nobody was before."""
    (directory / ".housekeeping").unlink(missing_ok=True)
    housekeeping.keep_house(str(directory), retention)


def files(directory: Path) -> list[Path]:
    """All there is in the folder, also what no reader sees."""
    return sorted((directory / "journal").iterdir())


def bundles(directory: Path) -> list[Path]:
    return [path for path in files(directory) if "-bundle-" in path.name and not path.name.startswith(".")]


def size_of(directory: Path) -> int:
    return sum(path.stat().st_size for path in files(directory))


def name_of(process: str, segment: int = 1, *, pid: int = 7) -> str:
    """The name a journal has, without its end."""
    return f"20231114T221320Z-{pid}-{process}.{segment:04}"


def dead(directory: Path, count: int, *, first: int = 1, age_s: float = 0, size: int = 0) -> list[Path]:
    """The journals of processes that are over, one run in each; `age_s` seconds old, and of about `size` bytes."""
    made = []
    for number in range(first, first + count):
        process = f"{number:032x}"
        run = {"v": 1, "type": "run.started", "run": f"{number:08x}-0000-4000-8000-000000000000", "time": T0, "seq": 1}
        path = write_journal(directory, [{**run, "name": "x" * size}], name=name_of(process), process=process)
        age(path, age_s)
        made.append(path)
    return made


def age(path: Path, seconds: float) -> None:
    """Let a file be as old as this, and no older than others are that are made after it."""
    status = path.stat()
    os.utime(path, (status.st_atime, status.st_mtime - seconds))


# What a reader finds --------------------------------------------------------------------------------------------------


def quiet(registry: RunRegistry) -> RunRegistry:
    """A registry that leaves the housekeeping to the test."""
    registry._index._keep_house_at = float("inf")
    return registry


def rebuilt(directory: Path) -> dict[str, Any]:
    """Everything that an index holds that is built now."""
    with quiet(RunRegistry(directory)) as registry:
        registry._index._connection = database._in_memory()
        return everything(registry)


class Watched:
    """`os`, as a module sees it that is watched: told before each of these calls, and after it."""

    def __init__(self, watch: Callable[[str, Path | str], object], *calls: str) -> None:
        self._watch = watch
        self._calls = calls

    def __getattr__(self, name: str) -> Any:
        what = getattr(os, name)
        if name not in self._calls:
            return what

        def watched(path: Any, *args: Any, **options: Any) -> Any:
            self._watch(f"before {name}", path)
            result = what(path, *args, **options)
            self._watch(f"after {name}", path)
            return result

        return watched


# Folders of all kinds -------------------------------------------------------------------------------------------------

SOMEBODY = RunId("11111111-1111-4111-8111-111111111111")
GARBAGE = st.sampled_from(
    [b"garbage\n", b"\n", b"\xff\xfe\x00\n", b"[1]\n", b'{"v":1,"type":"run.st\n', b"\0" * 64 + b"\n"]
)
TAILS = [b"", b'{"v":1,"type":"run.st', b"garbage", b"\xff\xfe"]
WHOLE_TAIL = encode(event(98, "run.step", SOMEBODY)).rstrip()
ELSEWHERE: dict[str, dict[str, Any]] = {"another host": {"host": "elsewhere"}, "another boot": {"boot": "before"}}
HEADLESS: list[bytes] = [
    b"",
    b"garbage\n",
    encode(event(1, "run.started", SOMEBODY, name="of nobody")),
    encode({"v": 1, "type": "process.started", "process": 7, "segment": 1}),
    encode({"v": 1, "type": "process.started", "process": "b" * 32, "segment": 0})
    + encode(event(2, "run.step", SOMEBODY)),
    b"\xef\xbb\xbf" + encode({"v": 1, "type": "process.started", "process": "c" * 32, "segment": 1}),
]


@dataclass(frozen=True)
class Folder:
    """The journals of a world, and what befell them."""

    world: World
    headers: dict[str, dict[str, Any]]
    contents: tuple[tuple[bytes, ...], ...]
    copies: tuple[int, ...]
    headless: tuple[bytes, ...]

    def write(self, directory: Path, locks: contextlib.ExitStack) -> None:
        """Write it, with the locks that the living hold."""
        for part, lines in zip(self.world.parts, self.contents, strict=True):
            name = name_of(part.process, part.segment)
            header = self.headers.get(part.process, {})
            path = write_journal(
                directory, lines, name=name, process=part.process, **{"segment": part.segment, **header}
            )
            if part.alive and part.segment == 1:
                locks.enter_context(held(path))
        for place, path in enumerate(files(directory)):
            if place in self.copies:
                shutil.copy(path, path.with_name(f"copy of {path.name}"))
        for place, content in enumerate(self.headless):
            (directory / "journal" / f"headless {place}.jsonl").write_bytes(content)


@st.composite
def folders(draw: st.DrawFn, *, copied: bool = True) -> Folder:
    """Journals of the living, the dead and those of whom nothing is known; whole, torn, copied and headless."""
    world = draw(worlds(consistent=True))
    processes = {part.process: part for part in world.parts}
    headers = {
        process: ELSEWHERE[where]
        for process, part in processes.items()
        if not part.alive and (where := draw(st.sampled_from([None, None, None, *ELSEWHERE]))) is not None
    }
    contents = []
    for part in world.parts:
        lines = list(part.lines)
        for garbage in draw(st.lists(GARBAGE, max_size=2)):
            lines.insert(draw(st.integers(0, len(lines))), garbage)
        is_newest = processes[part.process] is part
        contents.append((*lines, draw(st.sampled_from([*TAILS, *[WHOLE_TAIL] * is_newest]))))
    copies = draw(st.lists(st.integers(0, len(contents) - 1), max_size=2, unique=True)) if copied else []
    headless = draw(st.lists(st.sampled_from(HEADLESS), max_size=2, unique=True))
    return Folder(world, headers, tuple(contents), tuple(copies), tuple(headless))
