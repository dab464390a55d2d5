"""Many writers and many readers at once: nothing is ever locked, and what was acknowledged is there exactly once.

`AGENT_RUN_STRESS_S` says for how many seconds; a few by default, so that it can be run with all other tests.
"""

from __future__ import annotations

import contextlib
import os
from collections import Counter
from typing import TYPE_CHECKING

from agent_run_id import RunRegistry
from tests.journal_programs.programs import Program

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = float(os.environ.get("AGENT_RUN_STRESS_S", "3"))
WRITERS, READERS = 8, 4

# Of every eight rounds, one is that of a process that is forked and ends at once, so that there is much to fold.
WRITES = """
import os, signal, sys, time
import agent_run_id as ari
import agent_run_id.housekeeping as house
import agent_run_id.journal_file as room
signal.alarm(int(float(sys.argv[1])) + 60)
house._EVERY_S, house._MIN_JOURNALS, house._MIN_BUNDLES, house._SETTLED_S = 0.2, 16, 4, 0.5
room.SEGMENT_BYTES, room._LOOK_US = 200_000, 100_000
def work(number):
    with ari.start_run(f"{os.getpid()} {number}") as run:
        run.step("step")
    return 3
print("ready", flush=True)
sys.stdin.readline()
deadline = time.monotonic() + float(sys.argv[1])
number = events = 0
while time.monotonic() < deadline:
    number += 1
    if number % 8:
        events += work(number)
    else:
        pid = os.fork()
        if pid == 0:
            work(number)
            os._exit(ari.accounts().dropped)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        events += 3
    time.sleep(float(sys.argv[1]) / 600)  # or in a minute there would be more than a reader gets through
print(os.getpid(), number, events, ari.accounts().dropped, flush=True)
"""

READS = """
import signal, sys, time
from agent_run_id import RunRegistry, RunNotFound, index
import agent_run_id.housekeeping as house
signal.alarm(int(float(sys.argv[2])) + 60)
house._EVERY_S, house._MIN_JOURNALS, house._MIN_BUNDLES, house._SETTLED_S = 0.2, 16, 4, 0.5
index._KEEP_HOUSE_S = 0.2
directory = sys.argv[1]
print("ready", flush=True)
sys.stdin.readline()
deadline = time.monotonic() + float(sys.argv[2])
seen = rounds = 0
while time.monotonic() < deadline:
    with RunRegistry(directory) as registry:
        for _ in range(5):
            found = registry.find(limit=None)
            assert len(found) >= seen, (len(found), seen)
            seen = len(found)
            if found:
                assert [event.seq for event in registry.events(found[0].id)]
            rounds += 1
print(rounds, flush=True)
"""


def test_eight_writers_and_four_readers_lose_and_lock_nothing(tmp_path: Path) -> None:
    """Nor does any reader ever see fewer runs than before."""
    directory = tmp_path / "runs"
    with contextlib.ExitStack() as stack:
        writers = [stack.enter_context(Program(WRITES, str(SECONDS), directory=directory)) for _ in range(WRITERS)]
        readers = [stack.enter_context(Program(READS, str(directory), str(SECONDS))) for _ in range(READERS)]
        for program in (*writers, *readers):
            assert program.hear() == "ready"
        for program in (*writers, *readers):
            program.tell()
        reports = [writer.hear().split() for writer in writers]
        rounds = [int(reader.hear()) for reader in readers]
        for program in (*writers, *readers):
            program.finish()
            assert program.complaints() == ""
    assert min(rounds) > 0
    assert [dropped for *_, dropped in reports] == ["0"] * WRITERS
    count = sum(int(number) for _, number, _, _ in reports)
    with RunRegistry(directory) as registry:
        names = Counter(record.name for record in registry.find(limit=None))
        [(events,)] = registry._index.read("SELECT count(*) FROM recorded")
        statuses = {record.status for record in registry.find(limit=None)}
    assert len(names) == count
    assert set(names.values()) == {1}
    assert events == sum(int(number) for _, _, number, _ in reports)
    assert statuses == {"succeeded"}
