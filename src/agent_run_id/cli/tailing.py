"""``runid tail``: what was recorded last, and what is being recorded."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from agent_run_id.cli.happenings import document, happened
from agent_run_id.cli.options import AsJson, Directory, Ref, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.errors import InvalidCursorError
from agent_run_id.latest import latest_events

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from agent_run_id.following import Watch
    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import EventRecord

__all__ = ["After", "Timeout", "print_event", "resumable", "tail"]

_USAGE: Final = 2
_TIMED_OUT: Final = 124
_LOOK_S: Final = 0.5

After = Annotated[
    str | None, Parameter(name="--after", help="Go on behind this cursor, which an earlier one printed at its end.")
]
Timeout = Annotated[
    float | None, Parameter(name="--timeout", validator=Number(gte=0), help="End after so many seconds, with 124.")
]
_Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on with what is being recorded.")]
_Lines = Annotated[
    int, Parameter(name=["--lines", "-n"], validator=Number(gte=0), help="How many of the latest events to begin with.")
]
_Types = Annotated[
    list[str] | None, Parameter(name="--type", negative="", help="Only events of this type, such as run.ended; often.")
]


def tail(
    ref: Ref | None = None,
    /,
    *,
    follow: _Follow = False,
    lines: _Lines = 10,
    types: _Types = None,
    after: After = None,
    timeout: Timeout = None,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Tell what was recorded last, of everything or of one run and all below it.

    A line for each event: time, short id of the run, and what happened. With -f it goes on as things happen, in any
    process, until Ctrl-C; then it tells the cursor with which another one goes on where it stopped, missing nothing.
    With --after alone it ends when it has told what was recorded since.

    With --json: an event on each line, each as in `agent_run_id.EventRecord`, with -f also "cursor".

    Exit status: 0, or 124 when --timeout is over.
    """
    output = Output()
    with opened(directory) as registry:
        run_id = None if ref is None else registry.get(ref).id
        if not follow and after is None:
            for event in _latest(registry, run_id, lines, types):
                print_event(event, output, json=json)
            return 0
        try:
            feed = registry.watch(run_id, after=after, timeout=_LOOK_S)
        except InvalidCursorError as error:
            complain(error)
            return _USAGE
        if after is None:
            for event in _latest(registry, run_id, lines, types):
                print_event(event, output, json=json)
        end = time.monotonic() + (timeout or 0) if timeout is not None or not follow else None
        with resumable(feed) as tell_cursor:
            for event in _followed(feed, output, end):
                if types is None or event.type in types:
                    print_event(event, output, json=json, cursor=feed.cursor if json else None)
            tell_cursor()
    return _TIMED_OUT if follow else 0


def _latest(registry: RunRegistry, run_id: str | None, count: int, types: list[str] | None) -> Iterable[EventRecord]:
    if not count:
        return ()
    if run_id is None and types is None:
        return latest_events(registry.directory, count)
    if run_id is None:
        return deque(_of_types(latest_events(registry.directory, count * 1000), types), maxlen=count)
    found = [event for node in registry.tree(run_id) for event in registry.events(node.record.id)]
    found.sort(key=lambda event: (event.time, event.process_id, event.seq))
    return deque(_of_types(found, types), maxlen=count)


def _of_types(events: Iterable[EventRecord], types: list[str] | None) -> Iterator[EventRecord]:
    return (event for event in events if types is None or event.type in types)


def print_event(event: EventRecord, output: Output, *, json: bool = False, cursor: str | None = None) -> None:
    """Print an event as a line for a person, or for a program, to which a cursor is told too."""
    if json or cursor is not None:
        output.write(f"{document(event, cursor)}\n")
    else:
        output.line(happened(event), rest=" " * 13)


def _followed(feed: Watch, output: Output, end: float | None) -> Iterator[EventRecord]:
    """What is recorded until some moment; before it waits, all that was written so far is shown."""
    while True:
        event = next(feed, None)
        if event is not None:
            yield event
            continue
        output.flush()
        if end is not None and time.monotonic() >= end:
            return


@contextmanager
def resumable(feed: Watch) -> Generator[Callable[[], None]]:
    """Gives what tells on standard error how to go on from here; it is told when somebody types Ctrl-C."""

    def tell() -> None:
        complain(f"to go on from here: --after {feed.cursor}")

    try:
        yield tell
    except KeyboardInterrupt:
        tell()
        raise
