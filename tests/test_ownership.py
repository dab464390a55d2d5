"""The table of ownership: who may end, accept and resume a run, by what its owner is."""

from __future__ import annotations

import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

import agent_run_id as ari
from agent_run_id import liveness
from tests.journal_programs.programs import Program

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent_run_id import HandOff, RunRecord, RunRegistry

Owner = Literal["alive", "stopped", "dead", "elsewhere"]

OWNER = """
import sys
import agent_run_id as ari
run = ari.accept(sys.argv[1])
if sys.argv[2] in ("succeeded", "failed", "cancelled"):
    run.end(status=sys.argv[2])
elif sys.argv[2] == "paused":
    run.pause("a person")
print("ready", flush=True)
if sys.stdin.readline().strip() == "end":
    run.end(output="the owner's")
    print("ended", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def owned(
    registry: RunRegistry, monkeypatch: pytest.MonkeyPatch, owner: Owner, state: str = "running"
) -> Generator[tuple[HandOff[str], Program]]:
    """A run that another process has accepted, and what became of that process."""
    with ari.start_run("sender"):
        message = ari.hand_off("job", "payload")
    with Program(OWNER, message.to_json().decode(), state, directory=registry.directory) as program:
        assert program.hear() == "ready"
        if owner == "stopped":
            program.process.send_signal(signal.SIGSTOP)
        elif owner == "dead":
            program.kill()
        elif owner == "elsewhere":
            # Of a process on another machine nothing but its journal is seen, be its directory shared or not.
            monkeypatch.setattr(liveness, "host_name", lambda: "another-host")
        yield message, program
        if owner == "stopped":
            program.process.send_signal(signal.SIGCONT)


def below(registry: RunRegistry, message: HandOff[Any]) -> list[RunRecord]:
    return registry.children(message.run_id)


ACCEPTED: list[tuple[Owner, str, str, int, str | None]] = [
    # what the owner is, what the run is there, what accepting it gives, the attempt, what became of the one before
    ("alive", "running", "duplicate", 1, None),
    ("stopped", "running", "duplicate", 1, None),
    ("dead", "running", "own", 2, "lost"),
    ("elsewhere", "running", "own", 2, None),
    *((owner, "paused", "duplicate", 1, None) for owner in ("alive", "stopped", "dead", "elsewhere")),
    *((owner, "succeeded", "duplicate", 1, None) for owner in ("alive", "stopped", "dead", "elsewhere")),
    *((owner, "failed", "retry", 2, None) for owner in ("alive", "stopped", "dead", "elsewhere")),
    *((owner, "cancelled", "retry", 2, None) for owner in ("alive", "dead")),
]


@pytest.mark.parametrize(("owner", "state", "kind", "attempt", "before"), ACCEPTED)
def test_who_is_given_a_message_that_somebody_had(
    registry: RunRegistry,
    monkeypatch: pytest.MonkeyPatch,
    owner: Owner,
    state: str,
    kind: str,
    attempt: int,
    before: str | None,
) -> None:
    with owned(registry, monkeypatch, owner, state) as (message, _):
        run = ari.accept(message.to_json())
        record = registry.get(run.id)
        assert run.payload == "payload"
        assert (run.attempt, record.status, record.attempt) == (
            attempt,
            "running",
            attempt if kind != "duplicate" else 1,
        )
        if kind == "own":
            assert (run.id.token, run.duplicate_of, run.retry_of) == (message.run_id.token, None, None)
            assert [one.status for one in record.attempts] == [before, "running"]
            assert below(registry, message) == []
        elif kind == "retry":
            assert (run.id.parent_id, run.id.depth, run.retry_of) == (message.run_id.parent_id, 1, message.run_id)
            assert record.retry_of == message.run_id.token
            assert [one.status for one in registry.children(str(run.id.parent_id))] == [state, "running"]
        else:
            assert (run.id.parent_id, run.id.depth, run.duplicate_of) == (message.run_id.value, 2, message.run_id)
            assert [one.duplicate_of for one in below(registry, message)] == [message.run_id.token]
        assert registry.get(message.run_id).status == ("running" if kind == "own" else state)
        run.end()
        assert registry.get(run.id).status == "succeeded"


RESUMED: list[tuple[Owner, str, str, int]] = [
    ("alive", "running", "duplicate", 1),
    ("stopped", "running", "duplicate", 1),
    ("dead", "running", "own", 2),
    ("elsewhere", "running", "duplicate", 1),
    *((owner, "paused", "own", 1) for owner in ("alive", "stopped", "dead", "elsewhere")),
    *((owner, "succeeded", "duplicate", 1) for owner in ("alive", "dead")),
    *((owner, "failed", "duplicate", 1) for owner in ("alive", "dead")),
]


@pytest.mark.parametrize(("owner", "state", "kind", "attempt"), RESUMED)
@pytest.mark.parametrize("by_registry", [False, True])
def test_who_resumes_a_run(
    registry: RunRegistry,
    monkeypatch: pytest.MonkeyPatch,
    owner: Owner,
    state: str,
    kind: str,
    attempt: int,
    *,
    by_registry: bool,
) -> None:
    with owned(registry, monkeypatch, owner, state) as (message, _):
        run = registry.resume(message.run_id) if by_registry else ari.resume(message.run_id.token)
        record = registry.get(message.run_id)
        if kind == "own":
            assert (run.id.token, run.attempt, run.duplicate_of) == (message.run_id.token, attempt, None)
            assert (record.status, record.attempt) == ("running", attempt)
            run.end(output="mine")
            record = registry.get(message.run_id)
            assert (record.status, record.output, record.refused_ends) == ("succeeded", "mine", 0)
        else:
            assert (run.duplicate_of, run.id.parent_id) == (message.run_id, message.run_id.value)
            assert record.status == state
            run.end()
            assert registry.get(message.run_id).status == state


@pytest.mark.parametrize("owner", ["alive", "stopped", "dead", "elsewhere"])
def test_an_end_by_anybody_else_is_kept_and_refused(
    registry: RunRegistry, monkeypatch: pytest.MonkeyPatch, owner: Owner
) -> None:
    """By the sender, and by whoever knows the id."""
    with owned(registry, monkeypatch, owner) as (message, _):
        message.cancel()
        registry.finish(message.run_id, output="stolen")
        record = registry.get(message.run_id)
        assert record.status == ("lost" if owner == "dead" else "running")
        assert (record.refused_ends, record.output) == (2, None)
        assert [event.type for event in registry.events(message.run_id)].count("run.ended") == 2


def test_the_owner_ends_its_run(registry: RunRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(registry, monkeypatch, "alive") as (message, program):
        program.tell("end")
        assert program.hear() == "ended"
        record = registry.get(message.run_id)
        assert (record.status, record.output, record.refused_ends) == ("succeeded", "the owner's", 0)


def test_who_has_paused_may_end_until_somebody_resumes(registry: RunRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with owned(registry, monkeypatch, "alive", "paused") as (message, program):
        program.tell("end")
        assert program.hear() == "ended"
        assert registry.get(message.run_id).status == "succeeded"
    with owned(registry, monkeypatch, "alive", "paused") as (message, program):
        run = ari.resume(message.run_id)
        program.tell("end")
        assert program.hear() == "ended"
        record = registry.get(message.run_id)
        assert (record.status, record.output, record.refused_ends) == ("running", None, 1)
        run.end()
        assert registry.get(message.run_id).status == "succeeded"


def test_of_two_who_take_a_run_at_once_one_gets_it(registry: RunRegistry) -> None:
    message = ari.hand_off("job", "payload")
    program = """
import sys
import agent_run_id as ari
ari.start_run("warm").end()
print("ready", flush=True)
sys.stdin.readline()
run = ari.accept(sys.argv[1])
print("mine" if run.duplicate_of is None else "another's", flush=True)
sys.stdin.readline()
run.end()
"""
    both = [Program(program, message.to_json().decode(), directory=registry.directory) for _ in range(2)]
    with both[0], both[1]:
        assert [each.hear() for each in both] == ["ready", "ready"]
        for each in both:
            each.tell()
        assert sorted(each.hear() for each in both) == ["another's", "mine"]
        for each in both:
            each.finish()
    assert registry.counts(message.run_id).by_status == {"succeeded": 2}


@pytest.mark.parametrize("status", ["lost", "paused"])
def test_the_registry_resumes_what_never_changed_hands(registry: RunRegistry, status: str) -> None:
    """An agent that crashed goes on from where it had got."""
    pause = 'run.pause("sleep")' if status == "paused" else "run.step('half')"
    program = f"import agent_run_id as ari\nrun = ari.start_run('agent', key='k')\n{pause}\nprint(run.id.token)"
    with Program(program, directory=registry.directory) as crashed:
        token = crashed.finish().strip()
    assert registry.get(token).status == status
    with registry.resume(token) as run:
        run.step("the other half")
    record = registry.get(token)
    assert (record.status, record.attempt, record.key) == ("succeeded", 2 if status == "lost" else 1, "k")
    assert record.refused_ends == 0
    assert {segment.outcome for segment in record.segments} >= {status, "succeeded"}


def test_resuming_a_run_that_goes_on_takes_it_from_nobody(registry: RunRegistry) -> None:
    """Of a run that never changed hands `resume` knows nothing; what it says then does not count."""
    with Program(
        "import agent_run_id as ari, sys\nrun = ari.start_run('agent')\nprint(run.id.token, flush=True)\n"
        "sys.stdin.readline()\nrun.pause('later')",
        directory=registry.directory,
    ) as owner:
        token = owner.hear()
        thief = ari.resume(token)
        thief.end(output="stolen")
        record = registry.get(token)
        assert (record.status, record.output, record.refused_ends) == ("running", None, 1)
        owner.finish()
    assert registry.get(token).status == "paused"
    with ari.resume(token) as run:
        assert (run.duplicate_of, run.attempt) == (None, 1)
    assert registry.get(token).status == "succeeded"


FORKED = """
import os, sys
import agent_run_id as ari
run = ari.start_run("agent") if len(sys.argv) == 1 else ari.accept(sys.argv[1])
print(run.id.token, flush=True)
pid = os.fork()
if pid == 0:
    with run.pause("in the child"):
        pass
    run.pause("again")
    run.end(output="the child's")
    os._exit(0)
os.waitpid(pid, 0)
print("over", flush=True)
sys.stdin.readline()
run.end(output="the parent's")
"""


@pytest.mark.parametrize("accepted", [False, True])
@pytest.mark.open_runs
def test_a_forked_child_neither_ends_nor_pauses_the_run_of_its_parent(registry: RunRegistry, *, accepted: bool) -> None:
    message = ari.hand_off("job", "payload")
    given = [message.to_json().decode()] if accepted else []
    with Program(FORKED, *given, directory=registry.directory) as program:
        token, over = program.hear(), program.hear()
        assert over == "over"
        record = registry.get(token)
        assert (record.status, record.refused_ends) == ("running", 1)
        if accepted:
            assert ari.accept(message).first == "running"
        else:
            assert not list(Path(registry.directory).glob("claims/*.*"))
        program.finish()
    record = registry.get(token)
    assert (record.status, record.output) == ("succeeded", "the parent's")
