"""How long does one wait for ``runid``? Whole processes, at a million runs, with an index that is up to date.

Usage: ``python benchmarks/command.py [--quick] [--rounds N] [--json FILE]``

The runs are those of ``index.py``: trees of a hundred, one of 10,000 and a batch of 10,000 items. The commands take
turns, beside an empty Python and one that imports what the command is made with; what is reported are medians. Then the
modules are listed that take longest to load.
"""

import argparse
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from index import BATCH, Corpus, batch, tree
from tables import about, show

import agent_run_id as ari

Row = dict[str, str]


def commands(large: str, items: str) -> dict[str, Sequence[str]]:
    """What is timed, by the name in the table."""
    runid = str(Path(sys.executable).with_name("runid"))
    asked = {
        "ls": ["ls"],
        "show, of a small tree": ["show", "@last"],
        "show, of 10,000 runs": ["show", large[:8]],
        "tree, of 10,000 items": ["tree", items],
        "find status:failed since:2h": ["find", "status:failed", "since:2h"],
        "find, two words": ["find", "timeout", "status:failed"],
        "events": ["events", large],
        "tail": ["tail"],
        "usage, of all": ["usage"],
        "stats": ["stats"],
    }
    return {
        "python -c pass": [sys.executable, "-c", "pass"],
        "python, importing cyclopts and pydantic": [sys.executable, "-c", "import cyclopts, pydantic"],
        **{f"runid {name}": [runid, *arguments] for name, arguments in asked.items()},
    }


def timed(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Seconds from the start of a command to its end."""
    begin = time.perf_counter()
    subprocess.run(command, env=env, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def measure(chosen: Mapping[str, Sequence[str]], env: Mapping[str, str], rounds: int) -> list[Row]:
    """Time all of them, by turns."""
    taken: dict[str, list[float]] = {name: [] for name in chosen}
    for _ in range(rounds):
        for name in random.sample(list(chosen), len(chosen)):
            taken[name].append(timed(chosen[name], env))
    return [
        {"command": name, "median s": f"{median(times):.2f}", "worst s": f"{max(times):.2f}"}
        for name, times in taken.items()
    ]


def loading(env: Mapping[str, str]) -> list[Row]:
    """The packages that take longest to load for ``runid ls``, each without what it loads of others."""
    command = [sys.executable, "-X", "importtime", "-m", "agent_run_id.cli", "ls"]
    done = subprocess.run(command, env=env, check=True, capture_output=True, text=True)
    taken: dict[str, int] = {}
    for own, name in re.findall(r"^import time: +(\d+) \| +\d+ \| +(\S+)$", done.stderr, re.MULTILINE):
        package = name.partition(".")[0]
        taken[package] = taken.get(package, 0) + int(own)
    longest = sorted(taken.items(), key=lambda item: -item[1])[:10]
    return [{"package": name, "ms": f"{own / 1e3:.0f}"} for name, own in longest]


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a twentieth of the runs")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    chosen = parser.parse_args()
    runs = 50_000 if chosen.quick else 1_000_000
    place = about("pydantic", "cyclopts")
    print(" · ".join(f"{key}: {value}" for key, value in place.items()), end="\n\n")
    with tempfile.TemporaryDirectory(dir=os.environ.get("BENCH_DIR")) as directory:
        ari.configure(directory=directory, retention_bytes=2**40)
        corpus = Corpus()
        large, items = tree(corpus, BATCH), batch(corpus, {5: "failed", 4711: "failed"})
        for _ in range((runs - 2 * BATCH) // 100):
            tree(corpus, 100, events=True)
        env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        env["AGENT_RUN_DIR"] = directory
        asked = commands(large, items)
        for command in asked.values():  # which makes the index, and the words
            timed(command, env)
        rows = measure(asked, env, chosen.rounds)
        show(rows)
        slow = loading(env)
        show(slow)
    if chosen.json:
        chosen.json.write_text(json.dumps({"about": place, "commands": rows, "loading": slow}, indent=2) + "\n")


if __name__ == "__main__":
    main()
