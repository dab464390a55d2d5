"""Checks: the books compared with what was acknowledged and with what the registry says."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from agent_run_id import RunRegistry
from tests.crash.actors import Actor, Problem

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from tests.crash.books import Account, Books

__all__ = ["compare", "compare_registry"]


def compare(books: Books, actors: Mapping[str, Actor]) -> None:
    """Compare the books with what the writers said.

    Args:
        books: The journals.
        actors: Every writer there was, by its name.

    Raises:
        Problem: something does not add up.
    """
    written: dict[str, set[int]] = {}
    process_of: dict[str, str] = {}
    for process, account in books.accounts.items():
        names = {entry.label.partition("#")[0] for entry in account.entries.values()}
        if len(names) > 1:
            raise Problem(f"process {process} has events of {' and '.join(sorted(names))}")
        for name in names:
            actor = _known(actors, name)
            if account.pid != actor.pid:
                raise Problem(f"the journal of {name}, pid {actor.pid}, says it is of pid {account.pid}")
            if process_of.setdefault(name, process) != process or actor.process not in (None, process):
                raise Problem(f"{name} is in the books as two processes, {process} and another")
            written[name] = _numbers(account)
    for actor in actors.values():
        missing = sorted(actor.acknowledged - written.get(actor.name, set()))
        if missing:
            raise Problem(
                f"{len(missing)} of {len(actor.acknowledged)} acknowledged events of {actor.name} ({actor.kind},"
                f" {actor.way or 'alive'}) are missing, the first of them number {missing[0]}"
            )
    for name, process in process_of.items():
        _check_account(books.accounts[process], actors[name])


def _known(actors: Mapping[str, Actor], name: str) -> Actor:
    try:
        return actors[name]
    except KeyError:
        raise Problem(f"there are events of {name!r}, whom nobody knows") from None


def _numbers(account: Account) -> set[int]:
    counts = Counter(entry.label for entry in account.entries.values())
    for label, count in counts.items():
        if count > 1:
            raise Problem(f"{label} was recorded once, and is there twice")
    return {int(label.partition("#")[2]) for label in counts}


def _check_account(account: Account, actor: Actor) -> None:
    what = f"the journal of {actor.name} ({actor.kind}, {actor.way or 'alive'})"
    short = actor.kind == "short of space"  # where it could not write on, there is a piece of a line
    torn = short + (actor.dying_since is not None and actor.counts is None)
    if len(account.fragments) > torn or account.interrupted > short:
        raise Problem(f"{what} has {len(account.fragments)} torn lines, {account.interrupted} of them in its middle")
    if actor.counts is None:
        return
    asked, recorded, written, dropped = actor.counts
    # Of a line that lacked only its end, all that was to be recorded is there.
    if not asked == recorded == written + dropped or not 0 <= len(account.entries) - written <= short:
        raise Problem(
            f"{what} has {len(account.entries)} events of {asked}; by its accounts {recorded} were recorded,"
            f" {written} written and {dropped} dropped"
        )
    if dropped and not short:
        raise Problem(f"{what} lacks {dropped} events that were dropped, for no reason")


def compare_registry(books: Books, directory: str, *, alive: Collection[str]) -> None:
    """Compare the books with the registry: the same events, and the status each run should have.

    Args:
        books: The journals.
        directory: The directory they are in.
        alive: The names of the writers that live, and write nothing now.

    Raises:
        Problem: they differ.
    """
    expected = _statuses(books, alive)
    with RunRegistry(directory) as registry:
        found = {str(record.name): str(record.status) for record in registry.find(limit=None)}
        rows = registry._index.read(
            "SELECT p.id AS process, e.seq, e.type FROM recorded e JOIN processes p ON p.pk = e.process"
        )
    indexed = {(row["process"], row["seq"], row["type"]) for row in rows}
    written = {
        (process, seq, entry.type)
        for process, account in books.accounts.items()
        for seq, entry in account.entries.items()
    }
    for lacking, what in ((written - indexed, "registry lacks"), (indexed - written, "journals lack")):
        if lacking:
            raise Problem(f"the {what} {len(lacking)} events that the other has, for one {min(lacking)}")
    for name, status in expected.items():
        if found.get(name) != status:
            living = "lives" if name.partition("#")[0] in alive else "is dead"
            raise Problem(f"the run {name}, whose owner {living}, should be {status}, and is {found.get(name)}")
    if found.keys() != expected.keys():
        raise Problem(f"the registry has a run that was never started: {min(found.keys() - expected.keys())}")


def _statuses(books: Books, alive: Collection[str]) -> dict[str, str]:
    """The status of every run, by the name it was started with."""
    statuses: dict[str, str] = {}
    for account in books.accounts.values():
        ends: dict[str, str] = {}
        for _, entry in sorted(account.entries.items()):
            if entry.type == "run.ended":  # an end by a process that did not start the run is not here, and refused
                ends.setdefault(entry.run, str(entry.status))
        for entry in account.entries.values():
            if entry.type == "run.started":
                owner_lives = entry.label.partition("#")[0] in alive
                statuses[entry.label] = ends.get(entry.run, "running" if owner_lives else "lost")
    return statuses
