"""Claims: who has a run, when files go, disks fill and somebody takes what is not theirs."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import agent_run_id as ari
from agent_run_id import claims, holding
from tests.journal_programs.programs import Program, run_program
from tests.journal_programs.simulated import Simulated

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id import RunRegistry
    from agent_run_id.claims import Claim

DAY = 86_400


def folder_of(registry: RunRegistry) -> Path:
    return Path(registry.directory) / "claims"


def age(path: Path, seconds: float) -> None:
    then = path.lstat().st_mtime - seconds
    os.utime(path, (then, then), follow_symlinks=False)


def age_all(registry: RunRegistry, seconds: float) -> None:
    for path in folder_of(registry).iterdir():
        age(path, seconds)


def sweep(registry: RunRegistry) -> None:
    for _ in range(2):  # what points to a chain may be looked at before that goes
        claims.sweep(registry.directory, age_s=30 * DAY, most=None)


@pytest.fixture
def processes(registry: RunRegistry) -> Iterator[list[Simulated]]:
    found = [Simulated(registry.directory) for _ in range(4)]
    yield found
    for process in found:
        process.die()


# Owners ---------------------------------------------------------------------------------------------------------------

ROTATES = """
import os, sys, time
import agent_run_id as ari
from agent_run_id.journal import current_journal
ari.configure(retention_bytes=1_000_000)
run = ari.accept(sys.argv[1])
first = os.path.join(sys.argv[2], "journal", current_journal().name())
while os.path.exists(first):
    run.step("x" * 10_000)
late = ari.accept(sys.argv[3])
print("ready", flush=True)
sys.stdin.readline()
run.end()
"""


@pytest.mark.open_runs
def test_an_owner_whose_first_journal_is_gone_is_alive(registry: RunRegistry) -> None:
    """Retention takes it, too, once the process has gone on in another."""
    before, after = ari.hand_off("job", 1), ari.hand_off("job", 2)
    given = (before.to_json().decode(), registry.directory, after.to_json().decode())
    with Program(ROTATES, *given, directory=registry.directory) as program:
        assert program.hear() == "ready"
        assert ari.accept(before).duplicate_of == before.run_id
        assert ari.accept(after).duplicate_of == after.run_id
        program.kill()
    assert (ari.accept(before).attempt, ari.accept(after).attempt) == (2, 2)


@pytest.mark.open_runs
def test_nobody_is_robbed_because_nothing_can_be_opened(
    registry: RunRegistry, processes: list[Simulated], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ari.hand_off("job", 1)
    with processes[0].at_work():
        ari.accept(message)
    monkeypatch.setattr(claims, "owner_of", lambda path: os.open("/nonexistent/of/descriptors", os.O_RDONLY))
    monkeypatch.setattr(claims, "_journals_of", lambda folder, process: Path("/nonexistent").iterdir())
    assert ari.accept(message).first == "running"


@pytest.mark.open_runs
def test_a_pipe_in_the_place_of_a_journal_keeps_nobody_waiting(registry: RunRegistry) -> None:
    message = ari.hand_off("job", 1)
    ari.accept(message)
    process = next(path for path in folder_of(registry).iterdir() if "." not in path.name)
    process.unlink()
    os.mkfifo(Path(registry.directory) / "journal" / "pipe")
    process.symlink_to("pipe")
    assert ari.accept(message).attempt == 2


@pytest.mark.open_runs
def test_a_claim_of_a_later_version_is_somebody_s_who_cannot_be_seen(registry: RunRegistry) -> None:
    message = ari.hand_off("job", 1)
    folder_of(registry).mkdir()
    (folder_of(registry) / f"{message.run_id}.1").symlink_to("handed on:in:another way")
    run = ari.accept(message)
    assert (run.attempt, run.duplicate_of) == (2, None)


# Thieves --------------------------------------------------------------------------------------------------------------


def test_what_was_seen_of_a_thief_does_not_count_against_the_owner(
    registry: RunRegistry, processes: list[Simulated]
) -> None:
    """Two resume, one after the death of the other, what goes on where it was started."""
    with processes[0].at_work():
        run = ari.start_run("agent")
    with processes[1].at_work():
        ari.resume(run.id)
    processes[1].die()
    with processes[2].at_work():
        ari.resume(run.id).end(output="stolen")
    record = registry.get(run.id)
    assert (record.status, record.output, record.refused_ends) == ("running", None, 1)
    with processes[0].at_work():
        run.end(output="mine")
    assert registry.get(run.id).output == "mine"


@pytest.mark.open_runs
def test_a_run_that_is_over_is_not_gone_on_with_when_its_claims_are_forgotten(registry: RunRegistry) -> None:
    with ari.start_run("agent") as run:
        run.pause("a person")
    ari.resume(run.id).end()
    age_all(registry, 2 * DAY)
    sweep(registry)
    assert registry.resume(run.id).first == "succeeded"
    with ari.start_run("plain") as plain:
        assert registry.resume(plain.id).first == "running"
    assert registry.resume(plain.id).duplicate_of == plain.id
    assert registry.get(plain.id).refused_ends == 0


def test_who_resumes_just_before_a_wait_begins_has_nothing(
    registry: RunRegistry, processes: list[Simulated], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And who resumes after it has the run, though the other claims to have it, too."""
    with processes[0].at_work():
        run = ari.start_run("agent")
    take = claims.take

    def overtaken(directory: str, key: str, claim: Claim) -> bool:
        if claim.state == "paused" and claim.number == 1:
            with processes[1].at_work():
                early.append(ari.resume(run.id))
        return take(directory, key, claim)

    early: list[ari.Accepted[None]] = []
    monkeypatch.setattr(claims, "take", overtaken)
    with processes[0].at_work():
        run.pause("a person")
    assert len(early) == 1
    with processes[2].at_work():
        late = ari.resume(run.id)
    record = registry.get(run.id)
    assert record.process is not None
    assert (record.status, record.process.id) == ("running", processes[2].id)
    with processes[1].at_work():
        early[0].end(output="early")
    with processes[2].at_work():
        late.end(output="late")
    assert (registry.get(run.id).output, registry.get(run.id).refused_ends) == ("late", 1)


def test_where_all_claims_were_removed_the_last_change_of_hands_is_the_last(
    registry: RunRegistry, processes: list[Simulated]
) -> None:
    message = ari.hand_off("job", 1)
    with processes[0].at_work():
        ari.accept(message).pause("once")
    with processes[1].at_work():
        ari.resume(message.run_id).pause("twice")
    shutil.rmtree(folder_of(registry))
    with processes[2].at_work(), pytest.MonkeyPatch.context() as patch:
        now = time.time()
        patch.setattr(time, "time", lambda: now + 7)
        run = ari.resume(message.run_id)
        assert run.duplicate_of is None
        run.end(output="last")
    record = registry.get(message.run_id)
    assert (record.status, record.output, record.refused_ends) == ("succeeded", "last", 0)


# Disks ----------------------------------------------------------------------------------------------------------------


@pytest.mark.open_runs
def test_a_claim_that_cannot_be_changed_goes(registry: RunRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a message that comes again would be told for ever that somebody is at it."""
    message = ari.hand_off("job", 1)
    run = ari.accept(message)
    with monkeypatch.context() as patch:
        patch.setattr(os, "replace", lambda old, new: fail(OSError("full")))
        run.end(status="failed")
    again = ari.accept(message)
    assert (again.duplicate_of, again.first) == (None, None)


@pytest.mark.open_runs
def test_a_pointer_that_cannot_be_made_costs_the_claim_nothing(
    registry: RunRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ari.hand_off("job", 1)
    ari.accept(message).end(status="failed")
    symlink = os.symlink
    with monkeypatch.context() as patch:
        full = OSError("full")
        patch.setattr(os, "symlink", lambda to, at: fail(full) if to.startswith("at:") else symlink(to, at))
        retry = ari.accept(message)
    retry.end(status="failed")
    assert ari.accept(message).retry_of == retry.id


def fail(error: OSError) -> None:
    raise error


def test_where_links_never_can_be_made_work_goes_on(registry: RunRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    message = ari.hand_off("job", 1)
    monkeypatch.setattr(os, "symlink", lambda to, at: fail(FileNotFoundError(at)))
    monkeypatch.setattr(holding, "_TRIES", 3)
    with ari.accept(message) as run, run.pause("x"):
        pass
    assert registry.get(message.run_id).status == "succeeded"


@pytest.mark.open_runs
def test_a_retry_whose_process_died_before_it_said_so_is_still_one(
    registry: RunRegistry, processes: list[Simulated], monkeypatch: pytest.MonkeyPatch
) -> None:
    message = ari.hand_off("job", 1)
    ari.accept(message).end(status="failed")
    with processes[0].at_work():
        held = holding.accept(processes[0].journal, message.run_id, None)
    processes[0].die()
    run = ari.accept(message, name="job")
    assert (run.id, run.attempt, run.retry_of) == (held.run_id, 3, message.run_id)
    record = registry.get(run.id)
    assert (record.name, record.retry_of, record.status) == ("job", message.run_id.token, "running")


# What nobody will ask about any more ----------------------------------------------------------------------------------


@pytest.mark.open_runs
def test_chains_go_as_a_whole_when_nobody_will_ask(registry: RunRegistry) -> None:
    """The last claim of a chain decides; and what points to it goes with it."""
    message, other = ari.hand_off("job", 1), ari.hand_off("job", 2)
    for handed in (message, other):
        ari.accept(handed).end(status="failed")
    retry = ari.accept(message)
    retry.pause("the boss")
    ari.accept(other).end()
    age_all(registry, 25 * 3600)
    sweep(registry)
    left = {path.name.partition(".")[0] for path in folder_of(registry).iterdir()}
    assert left == {message.run_id.value, retry.id.value, next(name for name in left if len(name) == 32)}
    assert ari.accept(message).duplicate_of == retry.id
    assert ari.resume(retry.id).duplicate_of is None
    assert ari.accept(other).attempt == 1  # nobody remembers
    age_all(registry, 40 * DAY)
    sweep(registry)
    assert {len(path.name) for path in folder_of(registry).iterdir()} <= {32}


@pytest.mark.open_runs
def test_the_link_of_a_process_goes_when_that_is_dead(registry: RunRegistry) -> None:
    message = ari.hand_off("job", 1)
    run_program(f"import agent_run_id as ari\nari.accept({message.to_json()!r})", directory=registry.directory)
    ari.accept(ari.hand_off("job", 2))
    assert len([path for path in folder_of(registry).iterdir() if len(path.name) == 32]) == 2
    age_all(registry, 2 * DAY)
    sweep(registry)
    assert len([path for path in folder_of(registry).iterdir() if len(path.name) == 32]) == 1


@pytest.mark.open_runs
def test_a_process_that_lives_long_leaves_few(registry: RunRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "_REMEMBERED", 5)
    messages = [ari.hand_off("job", place) for place in range(20)]
    for message in messages:
        with ari.accept(message) as run, run.pause("x"):
            pass
    assert len(list(folder_of(registry).glob("*.1"))) == 5
    assert ari.accept(messages[-1]).first == "succeeded"


def test_a_writer_looks_at_some_and_at_others_the_next_time(registry: RunRegistry) -> None:
    for _ in range(40):
        ari.accept(ari.hand_off("job", 1)).end()
    age_all(registry, 2 * DAY)
    for _ in range(2000):
        claims.sweep(registry.directory, age_s=30 * DAY, most=4)
    assert not list(folder_of(registry).glob("*.1"))
