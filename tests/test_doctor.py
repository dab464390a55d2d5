"""The doctor: green where all is well, red where anything of ours does not hold, and never hurt by what it looks at."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from agent_run_id import Checkup, RunRegistry, child_env
from agent_run_id.cli.doctor import tell
from agent_run_id.cli.output import Output
from agent_run_id.diagnoses import Crossing, Finding, WallCheck
from agent_run_id.probing import Probe
from agent_run_id.walls.every import GROUPS, WALLS
from tests.commands import Screen, is_harmless, without
from tests.programs import run_program

if TYPE_CHECKING:
    from collections.abc import Mapping

LIMIT_S = 60.0
"""More than anything takes that does not hang."""


def doctor(*arguments: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """The real command, in a directory with modules to import."""
    return subprocess.run(
        [sys.executable, "-m", "agent_run_id.cli", "doctor", *arguments],
        cwd=cwd,
        env=child_env(**more),
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )


def probed(*groups: str, module: str, cwd: Path, limit: float = LIMIT_S) -> dict[str, WallCheck]:
    """What the walls of some groups come to where a module of this text is imported, by their names."""
    (cwd / "imported.py").write_text(module)
    with contextlib.chdir(cwd):
        probe = Probe(groups, ["imported"], limit)
        probe.run()
    return {check.name: check for check in probe.checks()}


# Green ----------------------------------------------------------------------------------------------------------------


def test_here_every_wall_comes_to_what_the_table_says_and_nothing_is_recorded(
    tmp_path: Path, registry: RunRegistry
) -> None:
    done = doctor("--json", cwd=tmp_path)
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    document = json.loads(done.stdout)
    jsonschema.validate(document, Checkup.model_json_schema(mode="serialization"))
    found = Checkup.model_validate(document)
    assert found.ok
    assert found.versions["python"] == ".".join(map(str, sys.version_info[:3]))
    assert [wall.name for wall in found.walls] == [wall.name.replace("`", "") for wall in WALLS]
    for check, wall in zip(found.walls, WALLS, strict=True):
        assert (check.plain, check.patched, check.explicit) == (wall.plain, wall.promised, "kept"), check
        crossed = {(crossing.way, crossing.loop) for crossing in check.crossings}
        here = [loop for loop in wall.loops if loop != "eager" or sys.version_info >= (3, 12)]
        loops = here if wall.awaits else here[:1]
        assert crossed == {(way, loop) for way in ("plain", "patched", "explicit") for loop in loops}
    assert registry.find() == []
    assert not (Path(registry.directory) / "journal").exists()


def test_a_command_of_its_own_runs_the_same_walls(tmp_path: Path) -> None:
    script = Path(sys.executable).with_name("runid")
    done = subprocess.run(
        [script, "doctor"], cwd=tmp_path, env=child_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    for group in GROUPS:
        assert re.search(rf"^  ✓ {group} ", done.stdout, flags=re.MULTILINE)
    assert done.stdout.splitlines()[-1].startswith("✓ all is well")


def test_a_program_that_is_in_a_run_and_patched_hears_the_same() -> None:
    said = run_program("""
        import agent_run_id as ari
        from agent_run_id.probing import Probe
        ari.patch_stdlib()
        with ari.start_run("mine"):
            probe = Probe(("programs",), (), 60.0)
            probe.run()
        print(*{check.health for check in probe.checks()})
    """)
    assert said == "ok\n"


def test_an_interpreter_that_cannot_be_started_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/no/such/python")
    probe = Probe(("queues",), (), LIMIT_S)
    probe.run()
    [check] = probe.checks()
    assert (check.health, check.explicit) == ("wrong", "failed")
    assert "'/no/such/python' cannot be started" in (check.crossings[0].why or "")


INSTRUMENTED = {
    "OpenTelemetry": """
        from opentelemetry.instrumentation.threading import ThreadingInstrumentor
        ThreadingInstrumentor().instrument()
        import threading
        assert hasattr(threading.Thread.start, "__wrapped__")
    """,
    "Logfire": """
        import logfire
        logfire.configure(send_to_logfire=False, console=False)
        from concurrent.futures import ThreadPoolExecutor
        assert "logfire" in ThreadPoolExecutor.submit.__code__.co_filename
    """,
}


@pytest.mark.parametrize("text", INSTRUMENTED.values(), ids=INSTRUMENTED)
def test_with_the_instrumentation_of_others_on_ours_keeps_all_runs_too(text: str, tmp_path: Path) -> None:
    module = "\n".join(line.strip() for line in text.splitlines())
    for check in probed("tasks", "threads", "processes", module=module, cwd=tmp_path).values():
        assert check.explicit == "kept", check
        assert check.health == "ok", check


# Red ------------------------------------------------------------------------------------------------------------------

SABOTAGE = """
import sys
from agent_run_id import binding

def call_here(fn, parent, /, *args, **kwargs):
    return fn(*args, **kwargs)

binding.call_in.__code__ = call_here.__code__

if __name__ == "__main__":
    from agent_run_id.cli import main
    sys.argv = ["runid", "doctor", "--import", "sabotage", "--json"]
    sys.exit(main())
"""


def test_where_bind_does_not_bind_the_walls_that_rely_on_it_are_red(tmp_path: Path) -> None:
    (tmp_path / "sabotage.py").write_text(SABOTAGE)
    done = subprocess.run(
        [sys.executable, "sabotage.py"], cwd=tmp_path, env=child_env(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    found = Checkup.model_validate_json(done.stdout)
    red = {wall.name for wall in found.walls if wall.health == "wrong"}
    by_bind = {"ThreadPoolExecutor.submit", "ProcessPoolExecutor, fork", "loop.run_in_executor", "greenlets"}
    assert by_bind <= red
    assert not red & {"threading.Thread", "queue.Queue to a worker thread", "asyncio.to_thread"}
    screen = io.StringIO()
    with contextlib.redirect_stdout(screen):
        tell(found, Output(), everything=False)
    told = screen.getvalue()
    assert "✗ threads" in told
    assert "✗ our own call does not keep the run" in told
    assert all(name in told for name in by_bind)
    assert "asyncio.to_thread" not in told


HANGS = """
import os, threading
from agent_run_id.walls import wall
from agent_run_id.walls.generators import GENERATORS

keeps = GENERATORS[1].opens
acts = {"hangs": lambda work: threading.Event().wait(), "dies": lambda work: os._exit(3), "fails": lambda work: {}[0]}
GENERATORS[1:1] = [
    wall.Wall(name, "kept", "", wall.blocking(act), keeps, awaits=False) for name, act in acts.items()
]
"""


def test_a_wall_that_hangs_dies_or_fails_is_red_and_the_others_are_crossed(tmp_path: Path) -> None:
    found = probed("generators", module=HANGS, cwd=tmp_path, limit=5.0)
    assert len(found) == len(GROUPS["generators"]) + 3
    reasons = {"hangs": "hung for 5 s: .*threading", "dies": "exited with status 3", "fails": "KeyError: 0"}
    for name, reason in reasons.items():
        check = found.pop(name)
        assert (check.explicit, check.plain, check.health) == ("failed", "kept", "wrong")
        assert re.match(reason, next(crossing.why or "" for crossing in check.crossings if crossing.way == "explicit"))
    assert {check.health for check in found.values()} == {"ok"}


def test_walls_that_all_hang_do_not_take_for_ever(tmp_path: Path) -> None:
    module = """
import threading
from agent_run_id.walls import wall
from agent_run_id.walls.generators import GENERATORS

hangs = wall.blocking(lambda work: threading.Event().wait())
GENERATORS[:] = [wall.Wall(f"hangs {n}", "kept", "", hangs, hangs, awaits=False) for n in range(50)]
"""
    found = probed("generators", module=module, cwd=tmp_path, limit=1.0)
    assert {check.explicit for check in found.values()} == {"failed"}
    reasons = [crossing.why or "" for check in found.values() for crossing in check.crossings]
    assert reasons[-1] == "not tried, because 4 others hung or crashed"


def test_a_store_with_something_wrong_is_red_and_one_with_notes_is_not(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir(mode=0o755)
    done = doctor("--dir", "runs", cwd=tmp_path)
    assert done.returncode == 0
    assert re.search(r"^  ! permissions +others may read .*0755", done.stdout, flags=re.MULTILINE)
    (tmp_path / "runs").chmod(0o777)
    done = doctor("--dir", "runs", cwd=tmp_path)
    assert done.returncode == 1
    assert re.search(r"^  ✗ permissions +others may change .*0777", done.stdout, flags=re.MULTILINE)
    assert done.stdout.splitlines()[-1].startswith("✗ wrong: 1 of the store")


def test_a_module_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    done = doctor("--import", "no_such_module", cwd=tmp_path)
    assert done.returncode == 1
    assert "no_such_module cannot be imported: ModuleNotFoundError" in done.stdout


def test_what_our_patch_makes_worse_is_red_and_what_somebody_elses_does_is_not() -> None:
    def health(plain: str, patched: str, promised: str) -> str:
        wall = {"expected": "lost", "promised": promised}
        found: Mapping[Any, Any] = {"plain": plain, "patched": patched, "explicit": "kept"}
        return Probe.health(wall, found)

    assert health("lost", "kept", "kept") == "ok"
    assert health("wrong", "kept", "kept") == "note"
    assert health("lost", "lost", "kept") == "wrong"
    assert health("lost", "lost", "lost") == "ok"
    assert health("lost", "wrong", "lost") == "wrong"
    assert health("wrong", "wrong", "lost") == "note"
    assert health("lost", "kept", "lost") == "ok"


# What is not installed ------------------------------------------------------------------------------------------------


def test_what_is_not_installed_is_said_to_be_missing_and_is_no_error(tmp_path: Path) -> None:
    missing = ("gevent", "greenlet", "joblib", "trio", "uvloop")
    module = f"import sys\nfor name in {missing!r}:\n    sys.modules[name] = None\n"
    found = probed(*GROUPS, module=module, cwd=tmp_path)
    assert {check.missing for check in found.values()} == {None, *missing}
    for check in found.values():
        assert (check.explicit is None) == (check.missing is not None), check
        assert check.health == ("ok" if check.missing is None else "note"), check
        assert {crossing.loop for crossing in check.crossings} <= {"asyncio", "eager"}


def test_without_the_extra_it_is_said_what_to_install(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", without(("cyclopts", "rich")), "doctor"],
        cwd=tmp_path,
        env=child_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert 'pip install "agent-run-id[cli]"' in done.stderr


# What it looks like ---------------------------------------------------------------------------------------------------


def checkup(text: str) -> Checkup:
    """Something of everything, with a text of somebody else's wherever there can be one."""
    crossings = (Crossing(way="explicit", loop="trio", verdict="failed", why=text),)
    kinds: dict[str, Any] = {"group": "threads", "write": "bind(fn)", "expected": "lost", "promised": "kept"}
    red = WallCheck(
        **kinds, name=text, missing=None, plain="wrong", patched="lost", explicit="failed", health="wrong",
        crossings=crossings,
    )  # fmt: skip
    away = WallCheck(
        **kinds, name="gevent", missing="gevent", plain=None, patched=None, explicit=None, health="note", crossings=()
    )
    store = tuple(Finding(subject=health, health=health, text=text, advice=text) for health in ("ok", "note", "wrong"))
    return Checkup(
        ok=False, took=timedelta(seconds=5), versions={"python": text}, imported=(text,), walls=(red, away), store=store
    )


def told(found: Checkup, screen: io.StringIO, *, everything: bool) -> str:
    with contextlib.redirect_stdout(screen):
        tell(found, Output(), everything=everything)
    return screen.getvalue()


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200), st.booleans())
def test_it_fits_a_terminal_and_nothing_that_was_found_controls_it(text: str, everything: bool) -> None:  # noqa: FBT001
    before = dict(os.environ)
    try:
        os.environ.update(NO_COLOR="1", COLUMNS="80", TERM="xterm")
        plain = told(checkup(text), Screen(), everything=everything)
    finally:
        os.environ.clear()
        os.environ.update(before)
    assert is_harmless(plain)
    assert max(map(cell_len, plain.splitlines())) <= 80
    assert is_harmless(told(checkup(text), io.StringIO(), everything=everything))


def test_what_is_odd_is_told_without_being_asked_for_and_the_rest_with_all() -> None:
    few, every = (told(checkup("something"), io.StringIO(), everything=everything) for everything in (False, True))
    assert "explicit on trio: something" in few
    assert "not installed" in every
    assert "✗ wrong: 1 of the walls, 1 of the store (5.0 s)" in few
    assert set(few.splitlines()) - set(every.splitlines()) == {"  ✓ 1 check found nothing"}
