"""A tool that is a program of its own, and that will not live to finish: it draws a map, slowly."""

from __future__ import annotations

import sys

import agent_run_id as ari


def main() -> None:
    city = sys.argv[1]
    with ari.start_run("draw_map", kind="tool", input=city) as run:
        run.step("loading tiles", tiles=4096)
        print("drawing", flush=True)
        sys.stdin.read()  # there it is killed; if nobody does, it ends when whoever started it is gone


if __name__ == "__main__":
    main()
