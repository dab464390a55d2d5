"""The scrub: every recorded text passes it first, and what it cannot handle is not recorded."""

from __future__ import annotations

import json
import pathlib
import re
from typing import Any

import pytest
from hypothesis import given, settings

from agent_run_id import RunRegistry, start_run
from agent_run_id.events import MAX_TEXT, set_scrub
from tests.hostile_values import Handed, HostileText, Model, Point, hostile_values, recorded


class Scrubbing:
    def __init__(self, scrub: Any) -> None:
        self._scrub = scrub

    def __enter__(self) -> None:
        set_scrub(self._scrub)

    def __exit__(self, *exc_info: object) -> None:
        set_scrub(None)


def test_every_recorded_text_passes_the_scrub(registry: RunRegistry) -> None:
    """Names, keys, values, errors, and what is made of objects: nowhere is the secret left."""

    class HunterError(Exception):
        pass

    class Shown:
        def __repr__(self) -> str:
            return "hunter2"

    with Scrubbing(lambda text: text.replace("hunter2", "***")):
        run = start_run(
            "hunter2",
            kind="hunter2",
            input={"hunter2": ["hunter2", {"k": ("hunter2",)}], "b": b"hunter2", "o": Shown(), "p": Point("hunter2")},
            key="hunter2",
            user_id="hunter2",
            session_id="hunter2",
            summary="hunter2",
            tags=["hunter2"],
            attributes={"hunter2": "hunter2", "path": pathlib.Path("hunter2"), "model": Model(anything="hunter2")},
            links=["hunter2"],
        )
        run.step("hunter2", hunter2="hunter2", error=ValueError("hunter2"))
        run.decide("hunter2", options=["hunter2"], chosen="hunter2", why="hunter2").outcome("hunter2")
        run.usage(model="hunter2", call_id="hunter2", cost=1.0, currency="hunter2")
        run.update(output="hunter2", summary="hunter2", tags="hunter2", attributes={"hunter2": 1})
        error = HunterError("hunter2")
        error.__cause__ = ExceptionGroup("hunter2", [ValueError("hunter2")])
        run.end(output=HostileText("hunter2"), error=error)
    events = registry.events(run.id)
    text = json.dumps([event.data for event in events])
    assert "hunter2" not in text
    assert text.count("***") > 25


@pytest.mark.parametrize("scrub", [lambda text: 1 / 0, lambda text: None, lambda text: text.encode()])
def test_what_the_scrub_cannot_handle_is_not_recorded(scrub: Any) -> None:
    with Scrubbing(scrub):
        found = recorded(a="secret", b=["secret"], c={"secret": "secret"}, d=ValueError("secret"), e=Point("secret"))
    assert "secret" not in json.dumps(found)
    assert found["a"].startswith("<not recorded: scrub ")


def test_a_scrub_that_removes_what_looks_like_a_key_leaves_journals_readable(registry: RunRegistry) -> None:
    """The id of a process is 32 hexadecimal digits, as many a key is; without it none could be told from another."""
    digits = re.compile(r"[0-9a-f]{16,}|[0-9a-f-]{36}")
    with Scrubbing(lambda text: digits.sub("[removed]", text)), start_run("run", input="0123456789abcdef" * 2) as run:
        pass
    record = registry.get(run.id)
    assert (record.status, record.input) == ("succeeded", "[removed]")
    assert record.process is not None
    assert len(bytes.fromhex(record.process.id)) == 16
    assert record.process.state == "alive"


def test_a_scrub_that_fails_leaves_the_tree_of_runs(registry: RunRegistry) -> None:
    """It fails closed: what the program said is not recorded, that there were runs and how they ended is."""
    with Scrubbing(lambda text: 1 / 0), start_run("outer") as outer, start_run("inner"):
        outer.decide("secret", options=[], chosen="secret", why="secret").outcome("secret")
    tree = registry.tree(outer.id)
    assert [node.record.status for node in tree] == ["succeeded", "succeeded"]
    assert tree.record.process is not None
    assert tree.record.process.state == "alive"


@settings(max_examples=50)
@given(hostile_values)
def test_with_a_scrub_any_value_becomes_a_line_of_json(handed: Handed) -> None:
    with Scrubbing(lambda text: "*" * len(text)):
        found = recorded(a=[handed.value])
    texts = [found["a"]]
    while texts:
        top = texts.pop()
        if isinstance(top, dict):
            texts.extend([*top.keys(), *top.values()])
        elif isinstance(top, list):
            texts.extend(top)
        elif isinstance(top, str):
            ours = {"NaN", "Infinity", "-Infinity", "type", "message"}
            assert set(top) <= {"*"} or top in ours or "cut: " in top or "-" in top


def test_a_secret_at_the_cut_is_scrubbed_before_it_is_cut() -> None:
    with Scrubbing(lambda text: text.replace("hunter2", "*******")):
        found = recorded(a="x" * (MAX_TEXT - 4) + "hunter2" + "y" * 100_000)
    assert "hunt" not in found["a"]
    assert "cut: " in found["a"]
