"""``python -m agent_run_id.walls`` prints the table of the walls; with groups of them, it crosses these."""

from __future__ import annotations

import argparse
import os
import sys

__all__ = ["main"]


def main() -> None:
    """Do what the arguments say."""
    parser = argparse.ArgumentParser(prog="python -m agent_run_id.walls")
    parser.add_argument("groups", nargs="*")
    parser.add_argument("--skip", type=int, default=0)
    parser.add_argument("--limit", type=float, default=30.0)
    parser.add_argument("--import", dest="modules", action="append", default=[])
    parser.add_argument("--report", type=int, default=1)
    given = parser.parse_args()
    if not given.groups:
        from agent_run_id.walls.every import table

        print(table())  # noqa: T201 - that is what it is for
        return
    if given.modules:
        sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as for any program that is run here

    from agent_run_id.walls.crossing import cross_all

    cross_all(given.groups, skip=given.skip, limit=given.limit, modules=given.modules, report=given.report)


if __name__ == "__main__":
    main()
