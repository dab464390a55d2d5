"""Readers: processes that open the registry again and again while it is written, and look whether it makes sense."""

from __future__ import annotations

import json
import os
import random
import select
import time
import traceback

from agent_run_id import RunRegistry
from tests.crash.hurry import hurry


class Reader:
    """What one reader has seen so far."""

    def __init__(self, directory: str, seed: int, pipe: int) -> None:
        self._directory = directory
        self._rng = random.Random(seed)  # noqa: S311
        self._pipe = pipe
        self._settled: dict[str, str] = {}
        self._counts: dict[str, int] = {}

    def say(self, what: str, *words: object) -> None:
        """Tell the harness."""
        data = f"{' '.join(map(str, (what, *words)))}\n".encode()
        while data:
            data = data[os.write(self._pipe, data) :]

    def read(self) -> None:
        """Open the registry, ask it a few times, and close it."""
        with RunRegistry(self._directory) as registry:
            for _ in range(self._rng.randint(1, 4)):
                self._look(registry)
                self._count(registry)
                self.say("pass")

    def pause(self) -> float:
        """How long to do nothing, in seconds."""
        return self._rng.uniform(0, 0.03)

    def _look(self, registry: RunRegistry) -> None:
        chance = self._rng.random()
        if chance < 0.2:
            found = registry.find(limit=None)
        elif chance < 0.6:
            found = registry.find(limit=60)
        else:
            found = registry.find(status=self._rng.choice(("lost", "running")), limit=200)
        now = time.monotonic()
        lost: list[str] = []
        for record in found:
            name, status = str(record.name), str(record.status)
            before = self._settled.get(name)
            if before not in (None, status):
                raise AssertionError(f"the run {name} was {before}, and is {status} now")
            if status == "running":
                continue
            self._settled[name] = status
            if status == "lost" and before is None:
                lost.append(name)
        if lost:
            # Whoever was alive by now, after the answer, should not be in it.
            self.say("lost", now, *lost)
        if found and chance > 0.8:
            record = self._rng.choice(found)
            self._not_fewer(f"run {record.name}", len(registry.events(record.id)))

    def _count(self, registry: RunRegistry) -> None:
        rows = registry._index.read(
            "SELECT p.id AS process, count(*) AS count FROM recorded e"
            " JOIN processes p ON p.pk = e.process GROUP BY p.id"
        )
        found = {f"process {row['process']}": row["count"] for row in rows}
        for what in self._counts.keys() - found.keys():
            if what.startswith("process"):
                found[what] = 0
        for what, count in found.items():
            self._not_fewer(what, count)

    def _not_fewer(self, what: str, count: int) -> None:
        before = self._counts.get(what, 0)
        if count < before:
            raise AssertionError(f"the {what} had {before} events, and has {count} now")
        self._counts[what] = count


def be_reader(directory: str, seed: int, pipe: int, stop: int) -> None:
    """Read until `stop` is closed; what goes wrong is told to the harness."""
    reader = Reader(directory, seed, pipe)
    hurry()
    try:
        while not select.select([stop], [], [], 0)[0]:
            reader.read()
            time.sleep(reader.pause())  # or writers would do little but wait for a processor
    except BaseException:
        reader.say("failed", json.dumps(traceback.format_exc()))
