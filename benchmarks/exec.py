"""What does ``runid exec`` cost? A program as a run, beside the program alone, below `env`, and an empty Python.

Usage: ``python benchmarks/exec.py [--quick] [--json FILE]``

The program is ``true``, which does nothing, so what is measured is all that is around it. The commands take turns, in
an order that changes; what is reported are medians, what each adds to the program alone, and the ratio to an empty
Python, which is what any wrapper written in Python costs at the least. What a wrapper adds does not depend on how long
the program takes. The bytecode of the library is in its cache, as after any installation.
"""

import argparse
import compileall
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles

from tables import about, show

import agent_run_id as ari

Row = dict[str, str]


def commands() -> dict[str, Sequence[str]]:
    """What is timed, by the name in the table."""
    true, env = shutil.which("true") or "true", shutil.which("env") or "env"
    runid = str(Path(sys.executable).with_name("runid"))
    return {
        "the program alone": [true],
        "env": [env, true],
        "sh -c": ["/bin/sh", "-c", f"{true}; exit $?"],
        "python -c pass": [sys.executable, "-c", "pass"],
        "python, importing the library": [sys.executable, "-c", "import agent_run_id"],
        "runid exec, recording off": [runid, "exec", "--", true],
        "runid exec": [runid, "exec", "--", true],
        "runid exec runid exec": [runid, "exec", "--", runid, "exec", "--", true],
    }


def timed(command: Sequence[str], env: Mapping[str, str]) -> float:
    """Milliseconds from the start of a command to its end."""
    begin = time.perf_counter()
    subprocess.run(command, env=env, check=True)
    return (time.perf_counter() - begin) * 1e3


def measure(rounds: int, directory: str) -> list[Row]:
    """Time all of them, by turns."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    env["AGENT_RUN_DIR"] = directory
    chosen = commands()
    taken: dict[str, list[float]] = {name: [] for name in chosen}
    for turn in range(rounds + 2):
        names = list(chosen)
        random.shuffle(names)
        for name in names:
            took = timed(chosen[name], {**env, "AGENT_RUN_DIR": "off"} if name.endswith("off") else env)
            if turn >= 2:  # the first ones find nothing in any cache
                taken[name].append(took)
    alone, python = median(taken["the program alone"]), median(taken["python -c pass"])
    return [
        {
            "command": name,
            "ms": f"{median(figures):.1f}",
            "quartiles": "{0:.1f} to {2:.1f}".format(*quantiles(figures)),
            "adds ms": f"{median(figures) - alone:.1f}",
            "times an empty Python": f"{median(figures) / python:.2f}",
        }
        for name, figures in taken.items()
    ]


def main() -> None:
    """Measure, print, and keep the figures if asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="shorter, noisier")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    chosen = parser.parse_args()
    place = about()
    print(" · ".join(f"{key}: {value}" for key, value in place.items()), end="\n\n")
    compileall.compile_dir(Path(ari.__file__).parent, quiet=1)
    with tempfile.TemporaryDirectory() as directory:
        rows = measure(20 if chosen.quick else 200, directory)
    show(rows)
    if chosen.json:
        chosen.json.write_text(json.dumps({"about": place, "commands": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
