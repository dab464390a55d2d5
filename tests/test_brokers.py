"""Hand-over across processes, over what people run: the programs of `examples/queues`, against real servers.

What is expected of the record is the same over each: one run from the sender through every worker that had it.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import conftest
import pytest

import agent_run_id as ari
from tests import servers
from tests.brokers import COUNTING, EXAMPLES, IMPATIENT, TRANSPORTS, Transport
from tests.journal_programs.programs import OURS, Program
from tests.test_docs import DOCS, fences

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from agent_run_id import HandOff, RunId, RunRecord, RunRegistry


@pytest.fixture
def transport(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Transport]:
    transport: Transport = request.param(tmp_path)
    yield transport
    transport.delete()


over_each = pytest.mark.parametrize("transport", TRANSPORTS, indirect=True)


def sent(transport: Transport, *, times: int = 1) -> HandOff[str]:
    """A message that was sent within a run."""
    with ari.start_run("plan a trip", kind="agent"), ari.hand_off("book a trip", "Oslo", key="Oslo") as message:
        for _ in range(times):
            transport.send(message)
    return message


def lineage(record: RunRecord) -> tuple[str, str | None, str, int]:
    return record.run_id.token, record.parent_id, record.root_id, record.depth


def assert_one_node_of_two_attempts(registry: RunRegistry, run_id: RunId) -> None:
    record = registry.get(run_id)
    (parent,) = registry.ancestors(run_id)
    assert (record.name, record.key, record.status, record.attempt) == ("book a trip", "Oslo", "succeeded", 2)
    assert lineage(record) == (run_id.token, parent.id, parent.id, 1)
    assert [child.id for child in registry.children(parent.id)] == [record.id]
    assert [(attempt.number, attempt.status) for attempt in record.attempts] == [(1, "lost"), (2, "succeeded")]
    assert [(part.status, part.outcome) for part in record.segments] == [
        ("queued", "accepted"),
        ("running", "lost"),
        ("running", "succeeded"),
    ]
    hung, done = registry.children(run_id)
    assert [(child.name, child.status) for child in (hung, done)] == [
        ("hang", "lost"),
        ("do attempt 2", "succeeded"),
    ]
    for child in (hung, done):
        assert lineage(child) == (f"{child.id}.{record.id}.{parent.id}.2", record.id, parent.id, 2)
    assert (record.process, hung.process) != (None, None)
    assert record.process == done.process != hung.process


# A worker dies --------------------------------------------------------------------------------------------------------


@over_each
def test_a_job_whose_worker_is_killed_goes_on_with_the_next_one_as_one_node(
    transport: Transport, registry: RunRegistry
) -> None:
    message = sent(transport)
    with transport.worker("hang_once", directory=registry.directory, soon=True) as first:
        first.hear()
        assert registry.get(message.run_id).status == "running"
        first.kill()
        assert registry.get(message.run_id).status == "lost"
    with transport.worker("hang_once", directory=registry.directory, soon=True) as second:
        second.finish()
    assert_one_node_of_two_attempts(registry, message.run_id)
    assert transport.left() == 0


PROCESSES = f"""
import pickle, sys
sys.path[:0] = [{str(EXAMPLES.parent.parent)!r}, {str(EXAMPLES)!r}]
from collections import deque
import processes
from tests import queue_handlers
queue = deque()
processes.send(queue, pickle.loads(bytes.fromhex(sys.argv[1])))
processes.work(queue, getattr(queue_handlers, sys.argv[2]), 2)
"""


def test_a_program_gives_what_a_killed_process_of_its_own_had_to_the_next(registry: RunRegistry) -> None:
    with ari.start_run("plan a trip"), ari.hand_off("book a trip", "Oslo", key="Oslo") as message:
        pass
    with Program(PROCESSES, pickle.dumps(message).hex(), "hang_once", directory=registry.directory) as program:
        os.kill(int(program.hear().split()[1]), signal.SIGKILL)
        program.finish()
    assert_one_node_of_two_attempts(registry, message.run_id)


@pytest.mark.parametrize("transport", COUNTING, indirect=True)
def test_the_broker_counts_for_workers_that_share_no_directory(
    transport: Transport, registry: RunRegistry, tmp_path: Path
) -> None:
    message = sent(transport)
    with transport.worker("hang_once", directory=str(tmp_path / "first"), soon=True) as first:
        first.hear()
        first.kill()
    with transport.worker("hang_once", directory=str(tmp_path / "second"), soon=True) as second:
        second.finish()
    with ari.RunRegistry(tmp_path / "second") as theirs:
        record = theirs.get(message.run_id)
        assert (record.status, record.attempt, record.run_id.token) == ("succeeded", 2, message.run_id.token)
        assert [child.name for child in theirs.children(message.run_id)] == ["do attempt 2"]
    assert registry.get(message.run_id).status == "queued", "as far as the sender's machine knows"


# It fails, it comes twice, it never comes -----------------------------------------------------------------------------


def assert_a_retry_beside_what_failed(registry: RunRegistry, run_id: RunId) -> None:
    (parent,) = registry.ancestors(run_id)
    failed, retry = registry.children(parent.id)
    assert lineage(failed) == (run_id.token, parent.id, parent.id, 1)
    assert (failed.status, failed.attempt, failed.retry_of) == ("failed", 1, None)
    assert lineage(retry) == (f"{retry.id}.{parent.id}.{parent.id}.1", parent.id, parent.id, 1)
    assert (retry.status, retry.attempt, retry.retry_of) == ("succeeded", 2, run_id.token)
    assert [child.name for child in registry.children(failed.id)] == ["do attempt 1"]
    assert [child.name for child in registry.children(retry.id)] == ["do attempt 2"]


@over_each
def test_a_job_that_failed_is_tried_again_beside_the_attempt_that_failed(
    transport: Transport, registry: RunRegistry
) -> None:
    message = sent(transport)
    with transport.worker("fail_once", count=2, directory=registry.directory) as worker:
        worker.finish()
    assert_a_retry_beside_what_failed(registry, message.run_id)
    assert transport.left() == 0


def test_a_program_tries_again_what_failed_in_a_process_of_its_own(registry: RunRegistry) -> None:
    with ari.start_run("plan a trip"), ari.hand_off("book a trip", "Oslo") as message:
        pass
    with Program(PROCESSES, pickle.dumps(message).hex(), "fail_once", directory=registry.directory) as program:
        program.finish()
    assert_a_retry_beside_what_failed(registry, message.run_id)


def assert_a_duplicate_below(registry: RunRegistry, run_id: RunId) -> None:
    record = registry.get(run_id)
    assert (record.status, record.attempt, record.duplicate_of) == ("succeeded", 1, None)
    duplicate, done = sorted(registry.children(run_id), key=lambda child: child.duplicate_of is None)
    assert lineage(duplicate) == (f"{duplicate.id}.{record.id}.{record.root_id}.2", record.id, record.root_id, 2)
    assert (duplicate.status, duplicate.duplicate_of) == ("succeeded", run_id.token)
    assert (done.name, done.duplicate_of) == ("do attempt 1", None)
    assert [child.depth for child in registry.children(duplicate.id)] == [3]


@over_each
def test_a_message_that_was_sent_twice_is_done_again_below_the_one_who_is_at_it(
    transport: Transport, registry: RunRegistry
) -> None:
    message = sent(transport, times=2)
    with transport.worker("wait", directory=registry.directory) as first:
        first.hear()
        with transport.worker("do", directory=registry.directory) as second:
            second.finish()
        first.finish()
    assert_a_duplicate_below(registry, message.run_id)
    assert transport.left() == 0


@pytest.mark.parametrize("transport", IMPATIENT, indirect=True)
def test_what_a_living_worker_has_had_for_too_long_is_done_again_below_it(
    transport: Transport, registry: RunRegistry
) -> None:
    message = sent(transport)
    with transport.worker("wait", directory=registry.directory, soon=True) as first:
        first.hear()
        with transport.worker("do", directory=registry.directory, soon=True) as second:
            second.finish()
        first.finish()
    assert_a_duplicate_below(registry, message.run_id)


@over_each
def test_a_message_that_nobody_takes_stays_queued(transport: Transport, registry: RunRegistry) -> None:
    """Also when its sender is gone."""
    record = registry.get(transport.send_elsewhere(directory=registry.directory))
    assert (record.status, record.attempts) == ("queued", ())
    assert [part.status for part in record.segments] == ["queued"]
    assert registry.children(record.parent_id or "")[0].id == record.id


# The examples ---------------------------------------------------------------------------------------------------------


def run_example(name: str, queue: str, directory: str) -> str:
    env = {variable: value for variable, value in os.environ.items() if variable not in OURS}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(EXAMPLES / f"{name}.py")],
        env={**env, "AGENT_RUN_DIR": directory, "QUEUE": queue, "NO_COLOR": "1", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_it_is_the_tree_of_the_page(printed: str) -> None:
    (shown,) = (text for language, text in fences(DOCS / "queues.md") if language == "console")
    shown = shown.partition("\n")[2]
    assert conftest.Names().difference(shown, printed) is None, printed


@over_each
def test_each_example_prints_the_tree_of_the_page(transport: Transport, registry: RunRegistry) -> None:
    assert_it_is_the_tree_of_the_page(run_example(transport.name, transport.queue, registry.directory))
    assert transport.left() == 0


def test_so_does_the_one_with_processes(registry: RunRegistry) -> None:
    assert_it_is_the_tree_of_the_page(run_example("processes", "", registry.directory))


def test_every_example_is_on_the_page_as_it_is() -> None:
    shown: dict[str, str] = {}
    for _, text in [*fences(DOCS / "queues.md"), *fences(DOCS / "brokers.md")]:
        first, _, rest = text.partition("\n\n")
        if first.startswith((conftest.NOT_RUN, conftest.SAVED_AS)):
            shown[first.rpartition(" ")[2].strip("`").removeprefix("examples/queues/")] = rest
    files = {path.name: path.read_text(encoding="utf-8") for path in EXAMPLES.glob("*.py")}
    assert shown == files


# The servers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("in_ci", "outcome"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
def test_a_server_that_is_missing_skips_a_test_and_fails_it_in_ci(
    in_ci: str, outcome: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://localhost:1")
    monkeypatch.setenv("CI", in_ci)
    with pytest.raises(outcome, match=r"needs redis, and nothing answers at localhost:1 .* set REDIS_URL"):
        servers.require("redis")
