"""The law of hand-over: whatever messages, workers and crashes do, each run is in exactly the state of a model."""

from __future__ import annotations

import contextlib
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import agent_run_id as ari
from agent_run_id import RunId, RunRegistry
from tests.journal_programs.simulated import Simulated

if TYPE_CHECKING:
    from agent_run_id import HandOff, Pause, Run

ENDINGS = ("succeeded", "failed", "cancelled")


@dataclass(eq=False)
class Node:
    """What the index must show of a run."""

    run_id: RunId
    status: str
    attempt: int = 1
    refused: int = 0
    holder: Hand | None = None
    duplicate_of: RunId | None = None
    retry_of: RunId | None = None
    attempts: list[str | None] = field(default_factory=list[str | None])

    @property
    def is_held(self) -> bool:
        """Whether it goes on in a process that lives."""
        return self.status == "running" and self.holder is not None and self.holder.process.alive


@dataclass(eq=False)
class Hand:
    """A process that has a run, or had it, by one handle."""

    process: Simulated
    run: Run
    node: Node
    ended: bool = False
    pause: Pause | None = None


@dataclass(eq=False)
class Work:
    """What is known under one id: the node that is at it now, which a failure makes another."""

    node: Node
    taken: bool = False
    message: HandOff[Any] | None = None
    sender: Hand | None = None


class HandOver(RuleBasedStateMachine):
    """Three processes at a time; who dies is replaced."""

    works = Bundle("works")
    hands = Bundle("hands")

    def __init__(self) -> None:
        super().__init__()
        self._temporary = tempfile.TemporaryDirectory()
        self.directory = Path(self._temporary.name)
        self.processes = [Simulated(self.directory) for _ in range(3)]
        self.nodes: list[Node] = []
        self.registry = RunRegistry(self.directory)

    def teardown(self) -> None:
        with self._temporary, contextlib.ExitStack() as ends:
            for process in self.processes:
                ends.callback(process.die)
            with self.registry:
                self.check(self.registry)
            for path in self.directory.glob("index*"):
                path.unlink()
            with RunRegistry(self.directory) as registry:
                self.check(registry)

    # What happens -----------------------------------------------------------------------------------------------------

    @rule(target=works, place=st.integers(0, 2))
    def hand_off(self, place: int) -> Work:
        process = self.processes[place]
        with process.at_work():
            message = ari.hand_off("job", place)
        assert message._run is not None
        node = self.add(Node(message.run_id, "queued"))
        return Work(node, message=message, sender=Hand(process, message._run, node))

    @rule(target=works, place=st.integers(0, 2))
    def start(self, place: int) -> Work:
        """One that nobody handed off; it may wait."""
        process = self.processes[place]
        with process.at_work():
            run = ari.start_run("run")
        node = self.add(Node(run.id, "running", attempts=[None]))
        node.holder = Hand(process, run, node)
        return Work(node)

    @rule(target=hands, work=works)
    def holder_of(self, work: Work) -> Hand:
        """Of what was only started, the handle that it was started with."""
        return work.node.holder or Hand(self.processes[0], ari.NoRun(), work.node, ended=True)

    @rule(work=works)
    def cancel(self, work: Work) -> None:
        sender = work.sender
        if work.message is None or sender is None or not sender.process.alive or sender.ended:
            return
        with sender.process.at_work():
            work.message.cancel()
        sender.ended = True
        if work.node.run_id == work.message.run_id and not work.node.attempts:
            work.node.status = "cancelled"
        else:
            first = next(node for node in self.nodes if node.run_id == work.message.run_id)
            first.refused += 1

    @rule(target=hands, work=works, place=st.integers(0, 2), as_json=st.booleans())
    def accept(self, work: Work, place: int, *, as_json: bool) -> Hand:
        process, node, message = self.processes[place], work.node, work.message
        if message is None:
            return Hand(process, ari.NoRun(), node, ended=True)
        with process.at_work():
            run = ari.accept(message.to_json() if as_json else message)
        assert run.payload == message.payload
        if not work.taken:
            self.take(work, process, run, again=False)
        elif node.status == "lost":
            self.take(work, process, run, again=True)
        elif node.status in ("failed", "cancelled"):
            retry = self.add(Node(run.id, "running", node.attempt + 1, retry_of=node.run_id, attempts=[None]))
            assert (run.id.parent_id, run.id.depth) == (node.run_id.parent_id, node.run_id.depth)
            retry.holder = Hand(process, run, retry)
            work.node = retry
        else:
            return self.duplicate(node, process, run)
        assert (run.attempt, run.duplicate_of, run.retry_of) == (work.node.attempt, None, work.node.retry_of)
        assert work.node.holder is not None
        return work.node.holder

    @rule(target=hands, work=works, place=st.integers(0, 2))
    def resume(self, work: Work, place: int) -> Hand:
        process, node = self.processes[place], work.node
        if work.message is None and not work.taken and node.status != "paused":
            # Never changed hands: only who has read what was recorded can tell.
            if node.status != "lost":
                return Hand(process, ari.NoRun(), node, ended=True)
            with process.at_work():
                run = self.registry.resume(node.run_id)
            self.take(work, process, run, again=True)
            return work.node.holder or Hand(process, run, node)
        with process.at_work():
            run = ari.resume(node.run_id if work.message is None else work.message.run_id.token)
        if not work.taken or node.status == "paused":
            self.take(work, process, run, again=False)
        elif node.status == "lost":
            self.take(work, process, run, again=True)
        else:
            return self.duplicate(node, process, run)
        assert (run.attempt, run.duplicate_of) == (node.attempt, None)
        return work.node.holder or Hand(process, run, node)

    @rule(hand=hands, reason=st.sampled_from(["", "a person"]))
    def pause(self, hand: Hand, reason: str) -> None:
        if not hand.process.alive or isinstance(hand.run, ari.NoRun):
            return
        with hand.process.at_work():
            pause = hand.run.pause(reason)
        if not hand.ended and hand.pause is None:
            hand.pause = pause
            if hand.node.holder is hand:
                hand.node.status = "paused"

    @rule(hand=hands)
    def go_on(self, hand: Hand) -> None:
        if not hand.process.alive or hand.pause is None:
            return
        with hand.process.at_work():
            hand.pause.__exit__(None, None, None)
        if not hand.ended and hand.node.holder is hand:
            hand.node.status = "running"
            hand.pause = None

    @rule(hand=hands, status=st.sampled_from(ENDINGS))
    def end(self, hand: Hand, status: Any) -> None:
        if not hand.process.alive or isinstance(hand.run, ari.NoRun):
            return
        with hand.process.at_work():
            hand.run.end(status=status)
        if hand.ended:
            return
        hand.ended = True
        if hand.node.holder is hand:
            hand.node.status = status
            hand.node.attempts[-1] = status
        else:
            hand.node.refused += 1

    @rule(place=st.integers(0, 2))
    def crash(self, place: int) -> None:
        process = self.processes[place]
        process.die()
        self.processes[place] = Simulated(self.directory)
        for node in self.nodes:
            if node.status == "running" and node.holder is not None and node.holder.process is process:
                node.status = "lost"

    # The model --------------------------------------------------------------------------------------------------------

    def add(self, node: Node) -> Node:
        self.nodes.append(node)
        return node

    def take(self, work: Work, process: Simulated, run: Run, *, again: bool) -> None:
        """The node is in the hands of a process from now on."""
        node = work.node
        assert run.id == node.run_id
        if work.sender is not None and work.sender.ended and not node.attempts:
            node.refused += 1  # it was taken back too late
        if again:
            node.attempt += 1
            node.attempts[-1] = "lost"
        if again or not node.attempts:
            node.attempts.append(None)
        work.taken = True
        node.status = "running"
        node.holder = Hand(process, run, node)

    def duplicate(self, node: Node, process: Simulated, run: Any) -> Hand:
        assert run.duplicate_of == node.run_id
        assert (run.id.parent_id, run.id.root_id) == (node.run_id.value, node.run_id.root_id)
        child = self.add(Node(run.id, "running", duplicate_of=node.run_id, attempts=[None]))
        child.holder = Hand(process, run, child)
        return child.holder

    @invariant()
    @precondition(lambda self: len(self.nodes) % 3 == 0)
    def every_run_is_as_the_model_says(self) -> None:
        self.check(self.registry)

    def check(self, registry: RunRegistry) -> None:
        for node in self.nodes:
            record = registry.get(node.run_id)
            shown = (record.status, record.attempt, record.refused_ends, record.run_id.token)
            assert shown == (node.status, node.attempt, node.refused, node.run_id.token)
            assert record.duplicate_of == (None if node.duplicate_of is None else node.duplicate_of.token)
            assert record.retry_of == (None if node.retry_of is None else node.retry_of.token)
            if node.holder is not None and record.process is not None:
                assert record.process.id == node.holder.process.id
            if record.attempts:
                expected = [None if status is None else status for status in node.attempts[:-1]]
                assert [attempt.status for attempt in record.attempts] == [*expected, node.status]
        assert registry.stats().runs == len(self.nodes)


def test_whatever_happens_each_run_is_in_the_state_of_the_model() -> None:
    run_state_machine_as_test(HandOver, settings=settings(max_examples=60, stateful_step_count=30))


def test_a_retry_that_is_taken_over_from_the_dead_is_a_retry_still() -> None:
    """What the law above found of its own model, once in many thousands of examples."""
    story = HandOver()
    try:
        work: Any = story.hand_off(place=0)
        story.end(story.accept(work, place=0, as_json=True), status="failed")
        story.accept(work, place=1, as_json=True)
        story.crash(place=1)
        story.accept(work, place=2, as_json=True)
        assert work.node.retry_of is not None
    finally:
        story.teardown()
