"""Options: what every command of `runid` takes, and the registry it asks."""

from __future__ import annotations

import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter
from pydantic import ValidationError

from agent_run_id import settings
from agent_run_id.cli.progress import Meter
from agent_run_id.errors import StoreError
from agent_run_id.registry import RunRegistry

if TYPE_CHECKING:
    from collections.abc import Generator

__all__ = ["AsJson", "Directory", "Ref", "at_least_one", "flag", "nothing_in", "opened", "place_of", "readable"]


def at_least_one(_: object, number: int) -> None:
    """A validator of a number of things.

    Raises:
        ValueError: it is below 1.
    """
    if number < 1:
        raise ValueError("It takes a whole number from 1.")


def flag(name: str, text: str) -> Parameter:
    """An option that is there or not."""
    return Parameter(name=name, help=text, negative="", show_default=False)


AsJson = Annotated[bool, flag("--json", "Print one JSON document instead of text for people.")]
Directory = Annotated[
    Path | None,
    Parameter(name="--dir", help="Look into this directory and not the one that `runid where` tells."),
]
Ref = Annotated[
    str,
    Parameter(
        help="A full id, a token, the first characters of an id (hyphens or not), an alias, @last: the latest root,"
        " or @last:failed: the latest root that failed, likewise of any status."
    ),
]


def nothing_in(directory: str, *, is_named: bool) -> str:
    """That nothing is recorded in a directory, and how to record.

    Args:
        directory: The directory.
        is_named: Whether it was given, and so is perhaps not the one in which programs record.
    """
    named = f" and {settings.DIRECTORY_VARIABLE} set to this directory" if is_named else ""
    return (
        f"nothing is recorded in {directory} yet;"
        f' a program records a run with `with agent_run_id.start_run("name"):`{named}'
    )


def place_of(directory: Path | None) -> str:
    """The directory that is meant, absolute.

    Raises:
        StoreError: none is given and recording is off, or the user has no home directory.
    """
    place = settings.directory() if directory is None else str(directory.absolute())
    if place is None:
        raise StoreError("recording is off, so there is nothing here: give a directory with --dir")
    return place


@contextmanager
def opened(directory: Path | None) -> Generator[RunRegistry]:
    """The registry of a directory, closed afterwards.

    Raises:
        StoreError: as in `readable`.
    """
    meter = Meter()
    with readable(directory), closing(RunRegistry(directory, progress=meter)) as registry:
        try:
            yield registry
        finally:
            meter.clear()


@contextmanager
def readable(directory: Path | None) -> Generator[None]:
    """Whatever keeps a directory from being read is one kind of error inside.

    Raises:
        StoreError: the directory, its index or a record in it cannot be read.
    """
    try:
        yield
    except (sqlite3.Error, ValidationError) as error:
        reason, place = " ".join(str(error).split()), directory or settings.directory()
        raise StoreError(f"what is recorded in {place} cannot be read: {reason}") from error
