"""``runid tail``: what was recorded last, and what is being recorded."""

from __future__ import annotations

import time
from collections import deque
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter
from cyclopts.validators import Number

from agent_run_id.cli.happenings import Teller, Types, document, types_of
from agent_run_id.cli.options import AsJson, Directory, Ref, nothing_in, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.errors import InvalidCursorError
from agent_run_id.latest import latest_events

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Iterator

    from agent_run_id.following import Watch
    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import EventRecord

__all__ = ["After", "Printer", "Timeout", "resumable", "tail"]

_USAGE: Final = 2
_TIMED_OUT: Final = 124
_LOOK_S: Final = 0.5
_MOST: Final = 1_000_000
_OF_ONE_TYPE: Final = 1000
"""Of so many events one is taken to be of the type that is asked for."""

After = Annotated[
    str | None, Parameter(name="--after", help="Go on behind this cursor, which an earlier one printed at its end.")
]
Timeout = Annotated[
    float | None, Parameter(name="--timeout", validator=Number(gte=0), help="End after so many seconds, with 124.")
]
_Follow = Annotated[bool, Parameter(name=["--follow", "-f"], negative="", help="Go on with what is being recorded.")]
_Lines = Annotated[
    int,
    Parameter(
        name=["--lines", "-n"], validator=Number(gte=0, lte=_MOST), help="How many of the latest events to begin with."
    ),
]


def tail(
    ref: Ref | None = None,
    /,
    *,
    follow: _Follow = False,
    lines: _Lines = 10,
    types: Types = None,
    after: After = None,
    timeout: Timeout = None,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Tell what was recorded last, of everything or of one run and all below it.

    A line for each event: time, short id of the run, and what happened. With -f it goes on as things happen, in any
    process, until Ctrl-C; then it tells the cursor with which another one goes on where it stopped, missing nothing.
    With --after alone it ends when it has told what was recorded since.

    With --json: an event on each line, each as in `agent_run_id.schema.EventRecord`, with -f also "cursor".

    Exit status: 0, or 124 when --timeout is over.
    """
    printer, wanted = Printer(json=json), types_of(types)
    with opened(directory) as registry:
        run_id = None if ref is None else registry.get(ref).id
        if not follow and after is None:
            found = _latest(registry, run_id, lines, wanted)
            printer.print(found)
            if not found and run_id is None and lines and not wanted:
                complain(nothing_in(registry.directory, is_named=directory is not None))
            return 0
        try:
            feed = registry.watch(run_id, after=after, timeout=_LOOK_S)
        except InvalidCursorError as error:
            complain(error)
            return _USAGE
        if after is None:
            printer.print(_latest(registry, run_id, lines, wanted))
        end = time.monotonic() + (timeout or 0) if timeout is not None or not follow else None
        with resumable(feed) as tell_cursor:
            printer.print(_of_types(_followed(feed, printer, end), wanted), feed)
            tell_cursor()
    return _TIMED_OUT if follow else 0


def _latest(registry: RunRegistry, run_id: str | None, count: int, wanted: frozenset[str]) -> Collection[EventRecord]:
    if not count:
        return ()
    if run_id is not None:
        return deque(registry.events_below(run_id, types=wanted), maxlen=count)
    if not wanted:
        return latest_events(registry.directory, count)
    return deque(_of_types(latest_events(registry.directory, count * _OF_ONE_TYPE), wanted), maxlen=count)


def _of_types(events: Iterable[EventRecord], wanted: frozenset[str]) -> Iterator[EventRecord]:
    return (event for event in events if not wanted or event.type in wanted)


class Printer:
    """Prints events, as lines for a person or for a program.

    Args:
        json: Whether it is for a program.
    """

    def __init__(self, *, json: bool) -> None:
        self.output: Output = Output()
        self._teller = None if json else Teller(self.output, of_whom=True)

    def print(self, events: Iterable[EventRecord], feed: Watch | None = None) -> None:
        """Print some events.

        Args:
            events: The events.
            feed: What they come from, if a program is to be told where to go on behind each.
        """
        for event in events:
            if self._teller is not None:
                self._teller.tell(event)
            else:
                self.output.write(document(event, None if feed is None else feed.cursor))


def _followed(feed: Watch, printer: Printer, end: float | None) -> Iterator[EventRecord]:
    """What is recorded until some moment; before it waits, all that was written so far is shown."""
    while True:
        event = next(feed, None)
        if event is not None:
            yield event
            continue
        printer.output.flush()
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
