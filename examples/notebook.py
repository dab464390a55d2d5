"""The workers' notebook: what each of them writes down in plain text, without the library.

The demo compares the recorded tree with it. A line says who worked, who had asked for it, and how it ended; who asked
is told to a worker in the ordinary way, as an argument, so that no mistake of the library could be in both.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

VARIABLE = "TRIP_NOTEBOOK"


def write(name: str, caller: str, ended: str) -> None:
    with Path(os.environ[VARIABLE]).open("a", encoding="utf-8") as notebook:
        notebook.write(f"{name}\t{caller}\t{ended}\n")


def turn_page(title: str) -> Path:
    """Begin a new page, for all workers at once, and give the one that was written, which is named now."""
    page = Path(os.environ[VARIABLE])
    return page.rename(page.with_stem(f"{page.stem}-{title}"))


@contextlib.contextmanager
def entry(name: str, caller: str) -> Iterator[None]:
    """Write down how the block ended, when it ends."""
    try:
        yield
    except Exception:
        write(name, caller, "failed")
        raise
    except BaseException:  # a cancelled task, a generator nobody reads any more: no failure of the worker
        write(name, caller, "cancelled")
        raise
    write(name, caller, "succeeded")
