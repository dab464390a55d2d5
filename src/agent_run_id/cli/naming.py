"""``runid alias``: other names for a run, such as a ticket's number."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from agent_run_id.cli.documents import encoded
from agent_run_id.cli.options import AsJson, Directory, Ref, flag, opened
from agent_run_id.cli.output import Output, complain
from agent_run_id.errors import RunNotFound, StoreError
from agent_run_id.referring import LAST, SHORT, digits_of
from agent_run_id.rendering import Line, title
from agent_run_id.usage import NOTHING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from agent_run_id.registry import RunRegistry
    from agent_run_id.schema import RunRecord

__all__ = ["alias"]

_DONE: Final = 0
_REFUSED: Final = 2
_WHOLE: Final = 32
"""Digits of an id."""

_Alias = Annotated[str, Parameter(name="ALIAS", help="A name it has elsewhere: the id of a response, a ticket, a row.")]
_More = Annotated[str, Parameter(name="MORE", help="Further names.", show_default=False)]
_Force = Annotated[bool, flag("--force", "Give it a name that another run has too; the name then means either.")]


def alias(
    ref: Ref,
    name: _Alias,
    /,
    *more: _More,
    force: _Force = False,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Give a run other names, by which it is found from then on.

    They are recorded beside what the run recorded itself, which stays as it is; a name that was given is not taken away
    again. A name that finds another run already is refused, unless --force says that it may find either. Names that
    begin with @ are kept for words such as @last, and what begins with - would be taken for an option.

    With --json: an object with "id", "aliases" (all that the run has) and "added" (those it had not).

    Exit status: 2 if a name is refused; then none is recorded.
    """
    names = list(dict.fromkeys((name, *more)))
    with opened(directory) as registry:
        record = registry.get(ref)
        refusal = next((why for each in names if (why := _refusal(registry, record, each, force=force))), None)
        if refusal is not None:
            complain(refusal)
            return _REFUSED
        added = [each for each in names if each not in record.aliases]
        record = _recorded(registry, record, added)
    for each in added:
        _warn(each)
    output = Output()
    if json:
        output.write(f"{encoded({'id': record.id, 'aliases': record.aliases, 'added': added})}\n")
        return _DONE
    output.line(title(record, NOTHING), rest="  ")
    for each in record.aliases:
        output.line(Line("is found by ", (each, "name"), (" (new)" if each in added else "", "quiet")), head="  ")
    return _DONE


def _recorded(registry: RunRegistry, record: RunRecord, added: Sequence[str]) -> RunRecord:
    """Record the names, and give what is known of the run then.

    Raises:
        StoreError: they could not be recorded.
    """
    if not added:
        return record
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        registry.alias(record.run_id, *added)
    record = registry.get(record.run_id)
    if not set(added).issubset(record.aliases):
        reason = f": {told[-1].message}" if told else ""
        raise StoreError(
            f"the names could not be recorded in {registry.directory}{reason}; whoever owns the directory can do it"
        )
    return record


# Names ----------------------------------------------------------------------------------------------------------------


def _refusal(registry: RunRegistry, record: RunRecord, name: str, *, force: bool) -> str | None:
    """Why a run cannot have this name; None where it can."""
    why = _unusable(name)
    others = [] if why else _others(registry, record, name)
    if not others:
        return why
    told = ", ".join(f"{other.name or '(not recorded)'} [{other.id[:8]}]" for other in others[:3])
    digits = digits_of(name)
    if digits is not None and len(digits) == _WHOLE:
        return f"{name!r} is the id of another run, {told}, and always finds that; choose another name"
    if force:
        return None
    return f"{name!r} already finds {told}; choose another name, or let it mean either with --force"


def _unusable(name: str) -> str | None:
    try:
        name.encode()
    except UnicodeEncodeError:
        return f"{name!r} is no UTF-8 text; choose another name"
    if not name.strip():
        return "a name that is empty finds nothing; type one, such as TICKET-1882"
    if name.startswith("@"):
        return f"{name!r} begins with @, as words do that have a meaning here, such as {LAST}; choose another name"
    if name.startswith("-"):
        return f"{name!r} begins with -, and would be taken for an option; choose another name"
    return None


def _others(registry: RunRegistry, record: RunRecord, name: str) -> list[RunRecord]:
    """The other runs that a name finds, and would go on finding if this run had it."""
    try:
        found = [registry.get(name)]
    except RunNotFound as error:
        found = [registry.get(candidate) for candidate in error.candidates]
    others = [other for other in found if other.id != record.id]
    # The short beginning of an id gives way to a name.
    return others if _is_like_an_id(name) else [other for other in others if name in other.aliases]


def _is_like_an_id(name: str) -> bool:
    digits = digits_of(name)
    return digits is not None and len(digits) >= SHORT


def _warn(name: str) -> None:
    if _is_like_an_id(name):
        complain(f"{name!r} looks like an id: should that of another run begin so, it is not found by this name alone")
