"""Processes: children that join the run that started them."""

from __future__ import annotations

import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import BoundProcess, BoundProcessPoolExecutor, RunContext, RunId, child_env, configure, start_run
from agent_run_id.carriers import environ
from agent_run_id.testing import run_ids
from tests.programs import run_program
from tests.strategies import broken_tokens

if TYPE_CHECKING:
    from agent_run_id import RunRegistry

TELL = """
import agent_run_id
run_id = agent_run_id.current_run_id()
print(run_id.token if run_id else None)
"""


@given(run_ids())
def test_the_environment_carries_the_lineage(run_id: RunId) -> None:
    with RunContext(run_id):
        env = child_env()
    found = environ.extract(env)
    named = found.run_id or found.link  # at the limit of depth nothing can be its child
    assert named is not None
    assert named.token == run_id.token
    ours = dict.fromkeys(("AGENT_RUN_ID", "AGENT_RUN_DIR", "TRACEPARENT", "TRACESTATE"), "")
    assert env | ours == dict(os.environ) | ours


@given(broken_tokens() | st.text(st.characters(codec="utf-8")))
def test_a_malformed_token_is_absent(text: str) -> None:
    found = environ.extract({environ.VARIABLE: text})
    assert found.run_id is None or found.run_id.token == text


def test_our_own_environment_is_never_changed() -> None:
    before = dict(os.environ)
    with RunContext(RunId.generate()):
        child_env(AGENT_EXTRA="1")
    assert dict(os.environ) == before


def test_a_base_is_copied_and_more_is_added() -> None:
    base = {"PATH": "/bin", environ.VARIABLE: RunId.generate().token}
    with RunContext(RunId.generate()) as scope:
        env = child_env(base, LANG="C")
    assert scope.run_id is not None
    assert (env["PATH"], env["LANG"], env[environ.VARIABLE]) == ("/bin", "C", scope.run_id.token)
    assert base[environ.VARIABLE] != scope.run_id.token


def test_outside_any_run_nothing_stale_is_passed_on() -> None:
    assert environ.VARIABLE not in child_env({environ.VARIABLE: RunId.generate().token})


def test_a_child_joins_by_importing_and_its_runs_are_ours(registry: RunRegistry) -> None:
    with start_run("parent") as parent:
        assert run_program(TELL).strip() == parent.id.token
        run_program("import agent_run_id; agent_run_id.start_run('child').end()")
    (child,) = registry.children(parent.id)
    assert (child.name, child.status, child.depth, child.root_id) == ("child", "succeeded", 1, parent.id.value)


def test_a_child_of_a_child_nests() -> None:
    program = """
        import subprocess, sys, agent_run_id as ari
        with ari.start_run("middle") as run:
            command = [sys.executable, "-c", sys.argv[1]]
            inner = subprocess.run(command, env=ari.child_env(), stdout=subprocess.PIPE, text=True)
        print(run.id.token, inner.stdout.strip())
    """
    with RunContext(RunId.generate()) as top:
        middle, inner = run_program(program, TELL).split()
    assert top.run_id is not None
    assert RunId.from_token(middle).parent_id == top.run_id.value
    assert inner == middle


def test_a_malformed_variable_hurts_no_child() -> None:
    env = {**child_env(), environ.VARIABLE: "nonsense"}
    assert run_program(TELL, env=env).strip() == "None"


def test_a_thread_of_the_child_starts_outside() -> None:
    program = """
        import threading, agent_run_id
        seen = []
        thread = threading.Thread(target=lambda: seen.append(agent_run_id.current_run_id()))
        thread.start(); thread.join()
        print(seen[0])
    """
    with RunContext(RunId.generate()):
        assert run_program(program).strip() == "None"


@pytest.mark.anyio
async def test_anyio_processes_join_too() -> None:
    import anyio

    with RunContext(RunId.generate(parent=RunId.generate())) as scope:
        done = await anyio.run_process([sys.executable, "-c", TELL], env=child_env())
    assert scope.run_id is not None
    assert done.stdout.decode().strip() == scope.run_id.token


def test_a_configured_directory_goes_along(tmp_path: Path) -> None:
    from agent_run_id import settings

    before = settings.configured_directory()
    configure(directory=tmp_path)
    try:
        assert child_env()["AGENT_RUN_DIR"] == str(tmp_path)
        assert child_env(AGENT_RUN_DIR="off")["AGENT_RUN_DIR"] == "off"
    finally:
        configure(directory=before)


def test_what_a_plain_subprocess_of_a_joined_process_gets_is_an_ancestor() -> None:
    program = """
        import subprocess, sys, agent_run_id as ari
        with ari.start_run("inside"):
            print(subprocess.run([sys.executable, "-c", sys.argv[1]], stdout=subprocess.PIPE, text=True).stdout.strip())
    """
    with RunContext(RunId.generate()) as scope:
        seen = run_program(program, TELL).strip()
    assert scope.run_id is not None
    assert seen == scope.run_id.token


def test_a_plain_subprocess_of_ours_is_not_in_any_run() -> None:
    env = {name: value for name, value in os.environ.items() if name != environ.VARIABLE}
    with RunContext(RunId.generate()):
        done = subprocess.run([sys.executable, "-c", TELL], env=env, stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout.strip() == "None"


def record_in_a_child() -> None:
    start_run("in the child").end()


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_bound_processes_and_pools_record_where_this_process_does(method: str, registry: RunRegistry) -> None:
    context = multiprocessing.get_context(method)
    with start_run("parent") as parent:
        process = BoundProcess(target=record_in_a_child, context=context)
        process.start()
        process.join()
        with BoundProcessPoolExecutor(1, mp_context=context) as pool:
            pool.submit(record_in_a_child).result()
    assert [run.name for run in registry.children(parent.id)] == ["in the child"] * 2


def test_a_journal_says_which_run_its_process_joined_and_whose_child_it_is(registry: RunRegistry) -> None:
    """So that a reader can tell a child of the run from one that only inherited the environment of such a child."""
    program = """
        import os, subprocess, sys, agent_run_id as ari
        ari.start_run(sys.argv[1]).end()
        if sys.argv[1] == "direct":
            subprocess.run([sys.executable, "-c", sys.argv[2], "inherited"])
    """
    with start_run("parent") as parent:
        run_program(program, "direct", textwrap.dedent(program))
    heads = {}
    for path in Path(registry.directory, "journal").glob("*.jsonl"):
        head, *events = (json.loads(line) for line in path.read_text().splitlines())
        heads[events[0]["name"]] = head
    assert [heads[name].get("joined") for name in ("parent", "direct", "inherited")] == [None, *[parent.id.token] * 2]
    assert heads["direct"]["parent_pid"] == heads["parent"]["pid"] == os.getpid()
    assert heads["inherited"]["parent_pid"] == heads["direct"]["pid"]
