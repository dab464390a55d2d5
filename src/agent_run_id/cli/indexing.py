"""``runid reindex``: the index made anew."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import AsJson, Directory, nothing_in, place_of, readable
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.progress import Meter
from agent_run_id.cli.sizes import size
from agent_run_id.errors import StoreError
from agent_run_id.index import Index
from agent_run_id.rendering import Line
from agent_run_id.surveys import stats

__all__ = ["reindex"]

_NAME: Final = 7


def reindex(*, json: AsJson = False, directory: Directory = None) -> None:
    """Make the index anew from the journals.

    It is made under another name and put in its place when it is whole. Who has the old one open goes on reading that;
    who comes meanwhile waits. There is seldom a reason: an index that is damaged, or of another version, is made anew
    by whoever reads next. Words are indexed again when somebody searches for any.

    With --json: an object with "directory", "index" (its path; null where nothing is recorded), "runs", "seconds" and
    "bytes".

    Exit status: 1 if it cannot be written; then the old one stays.
    """
    place = place_of(directory)
    began = time.monotonic()
    meter = Meter()
    index = Index(place, meter)
    is_there = Path(place).exists()
    with readable(directory):
        try:
            if is_there:
                _rebuild(index)
            found = stats(index)
        finally:
            meter.clear()
            index.close()
    answer = {
        "directory": place,
        "index": str(index.path) if is_there else None,
        "runs": found.runs,
        "seconds": time.monotonic() - began,
        "bytes": found.index_bytes if is_there else 0,
    }
    output = Output()
    if json:
        output.write(f"{encoded(answer)}\n")
    elif not is_there:
        complain(nothing_in(place, is_named=directory is not None))
    else:
        took = f"{answer['seconds']:.1f} s"
        facts = {"index": str(index.path), "runs": f"{found.runs:,}", "took": took, "size": size(found.index_bytes)}
        for name, text in facts.items():
            output.line(Line((f"{name:<{_NAME}}", "heading"), text))


def _rebuild(index: Index) -> None:
    try:
        index.rebuild()
    except StoreError:
        raise
    except OSError as error:
        raise StoreError(
            f"the index cannot be written to {index.path.parent}: {error.strerror}; set XDG_CACHE_HOME to a directory"
            " of yours, or ask as whoever owns the directory"
        ) from error
