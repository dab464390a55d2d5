"""``runid watch``: a run and everything below it, as it goes on, until it has ended."""

from __future__ import annotations

import shutil
import time
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Final

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import AsJson, Directory, Ref, flag, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.cli.tables import shortened
from agent_run_id.cli.tailing import After, Printer, Timeout, resumable
from agent_run_id.cli.trees import FOLD
from agent_run_id.errors import InvalidCursorError
from agent_run_id.rendering import Line, title

if TYPE_CHECKING:
    from collections.abc import Iterator

    from agent_run_id.drawing import Row
    from agent_run_id.following import Watch
    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import EventRecord, RunRecord, Status
    from agent_run_id.tree import Tree

__all__ = ["watch"]

_USAGE: Final = 2
_TIMED_OUT: Final = 124
_OUTCOMES: Final[dict[Status | None, int]] = {"succeeded": 0, "failed": 1, "lost": 3, "cancelled": 4}
_LOOK_S: Final = 0.25
_REDRAW_S: Final = 1.0
_MANY: Final = 10_000
_SHARE: Final = 4
"""So much longer than drawing takes it waits before it draws again."""

_ExitStatus = Annotated[
    bool, flag("--exit-status", "Tell by the exit status what became of it: 0, 1 failed, 3 lost, 4 cancelled.")
]


def watch(
    ref: Ref,
    /,
    *,
    exit_status: _ExitStatus = False,
    timeout: Timeout = None,
    after: After = None,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Watch a run and everything below it until it has ended.

    On a terminal the tree is drawn in place as it changes. In a pipe, such as the log of a build, there is a line for
    the run as it is, one for each event, and one for what became of it. A run that waits, for a person or for somebody
    who takes it over, is watched on. Stopped by Ctrl-C or --timeout, it tells in a pipe with which --after it goes on.

    With --json: an event on each line, each as in `agent_run_id.schema.EventRecord`, with "cursor"; in the end an
    object with "record", the run as in `agent_run_id.RunRecord`.

    Exit status: 0 when it has ended, with --exit-status 0 succeeded, 1 failed, 3 lost, 4 cancelled; 5 no such run; 124
    when --timeout was over first.
    """
    output = Output()
    end = None if timeout is None else time.monotonic() + timeout
    with opened(directory) as registry:
        record = registry.get(ref)
        if output.width is not None and not json:
            record = _drawn(registry, record, output, end)
        else:
            try:
                feed = registry.watch(record.id, after=after, timeout=_LOOK_S)
            except InvalidCursorError as error:
                complain(error)
                return _USAGE
            with resumable(feed) as tell_cursor:
                record = _told(registry, feed, record, end, json=json)
                if record.status not in _OUTCOMES:
                    tell_cursor()
    if record.status not in _OUTCOMES:
        return _TIMED_OUT
    return _OUTCOMES[record.status] if exit_status else 0


def _is_over(record: RunRecord, end: float | None) -> bool:
    return record.status in _OUTCOMES or (end is not None and time.monotonic() >= end)


# Line by line ---------------------------------------------------------------------------------------------------------


def _told(registry: RunRegistry, feed: Watch, record: RunRecord, end: float | None, *, json: bool) -> RunRecord:
    """Tell of the run, of each event, and of what became of the run, if anything did."""
    printer = Printer(json=json)
    output = printer.output
    if not json and record.status not in _OUTCOMES:
        output.line(title(record, registry.usage(record.id).subtree))
        output.flush()
    is_over = False
    while not is_over:
        is_over = _is_over(record, end)
        printer.print(_at_hand(feed, wait=not is_over), feed)
        output.flush()
        if not is_over:
            record = registry.get(record.id)
    if record.status not in _OUTCOMES:
        return record
    if json:
        output.write(f"{encoded({'record': record})}\n")
    else:
        output.line(title(record, registry.usage(record.id).subtree))
    return record


def _at_hand(feed: Watch, *, wait: bool) -> Iterator[EventRecord]:
    """What was recorded by now, and perhaps by the end of a look."""
    end = time.monotonic() + _LOOK_S
    while (event := next(feed, None)) is not None:
        yield event
        if time.monotonic() >= end and wait:
            return


# In place -------------------------------------------------------------------------------------------------------------


def _drawn(registry: RunRegistry, record: RunRecord, output: Output, end: float | None) -> RunRecord:
    """Draw the tree in place until the run has ended."""
    feed = registry.watch(record.id, timeout=0)
    height = 0
    while True:
        began = time.monotonic()
        grown = registry.tree(record.id)
        record = grown.record
        size = shutil.get_terminal_size()
        lines = [*_frame(grown, size.lines - 1)]
        if height:
            output.write(f"\x1b[{height}A\r\x1b[J")
        for row in lines:
            output.line(shortened(Line((row.head, "quiet")) + row.line, size.columns))
        output.flush()
        height = len(lines)
        if _is_over(record, end):
            return record
        _wait(feed, (time.monotonic() - began) * _SHARE, end)


def _wait(feed: Watch, pause: float, end: float | None) -> None:
    """Wait until something has happened, but not for ever: that a run is lost is no event, and time goes on."""
    latest = time.monotonic() + max(_REDRAW_S, pause)
    if end is not None:
        latest = min(latest, end)
    time.sleep(max(0, min(max(_LOOK_S, pause), latest - time.monotonic())))
    while time.monotonic() < latest and not sum(1 for _ in islice(feed, _MANY)):
        time.sleep(max(0, min(_LOOK_S, latest - time.monotonic())))


def _frame(grown: Tree, height: int) -> Iterator[Row]:
    """As much of a tree as fits: all of it, or what is under way or went wrong, or the beginning of that."""
    rows = [*grown.rows(fold=FOLD)]
    if len(rows) > height:
        rows = [*grown.filter(lambda node: node.record.status != "succeeded").rows(fold=FOLD)]
    left = len(rows) - height
    if left > 0:
        rows[height - 1 :] = [rows[0]._replace(head="", line=Line((f"… {left + 1:,} more lines", "quiet")))]
    yield from rows
