"""The command `runid`: what was recorded, in a terminal; and programs as runs.

Nothing here is loaded before it is known that the extra ``cli`` is installed.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

_EXTRA = ("cyclopts", "rich")


def main() -> int:
    """Run the command with the arguments of this process, and give its exit status."""
    try:
        if sys.argv[1:2] == ["exec"]:  # needs nothing of what the others load, and no extra
            from agent_run_id.cli.exec import execute

            return execute(sys.argv[2:])
        if sys.argv[1:2] != ["doctor"]:  # which looks at programs as they are
            # One that some other library has for pydantic takes a tenth of a second to load, and serves nobody here.
            os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
        try:
            from agent_run_id.cli.app import run

            return run(sys.argv[1:])
        except ModuleNotFoundError as error:
            if error.name is None or error.name.partition(".")[0] not in _EXTRA:
                raise
            print('runid needs an extra: pip install "agent-run-id[cli]"', file=sys.stderr)  # noqa: T201
            return 2
    except KeyboardInterrupt:
        return _abandoned(130)
    except BrokenPipeError:  # as in `runid ls | head -1`
        return _abandoned(141)


def _abandoned(status: int) -> int:
    from agent_run_id.cli.output import abandon

    abandon()
    return status
