"""Run a small program in an interpreter of its own, as a user would."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

from agent_run_id import child_env

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["run_program"]


def run_program(source: str, *arguments: str, env: Mapping[str, str] | None = None, check: bool = True) -> str:
    """Run `source` with this interpreter and give its standard output; its standard error is in the failure."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(source), *arguments],
        env=dict(child_env() if env is None else env),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if check and done.returncode != 0:
        raise AssertionError(f"the program exited with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return done.stdout
