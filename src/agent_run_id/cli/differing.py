"""``runid diff``: two runs with everything below them, compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Parameter

from agent_run_id.cli.documents import array, encoded, object_of
from agent_run_id.cli.options import AsJson, Directory, Ref, at_least_one, flag, opened
from agent_run_id.cli.output import Output
from agent_run_id.diffing import FACTOR
from agent_run_id.telling import told

if TYPE_CHECKING:
    from agent_run_id.diffing import Diff

__all__ = ["diff"]

_EQUAL: Final = 0
_DIFFERENT: Final = 1
_INDENT: Final = "  "
_LONG: Final = ("changed", "only_a", "only_b")


def _enlarges(_: object, factor: float) -> None:
    if not factor >= 1:  # nor is what is no number
        raise ValueError("It takes a number from 1, as in --factor 2.")


_Factor = Annotated[
    float, Parameter(validator=_enlarges, help="An item is slower when it takes so many times as long, and 0.5 s more.")
]
_Limit = Annotated[
    int, Parameter(validator=at_least_one, help="How many of each sort of difference to tell; JSON has all.")
]
_IgnoreVolatile = Annotated[
    bool,
    flag("--ignore-volatile", "Ids, times, addresses in memory and temporary paths in values make no difference."),
]


def diff(
    a: Ref,
    b: Ref,
    /,
    *,
    factor: _Factor = FACTOR,
    limit: _Limit = 20,
    ignore_volatile: _IgnoreVolatile = False,
    json: AsJson = False,
    directory: Directory = None,
) -> int:
    """Tell what differs between two runs with everything below them.

    Runs are paired by their keys, or else by kind, name and input in their order; what they were given, decided and
    produced, and how they ended, is compared. First where the two begin to differ; then, of the items (runs with a key
    directly below the two), what newly failed, is fixed, slower, faster, missing or new; then all else.

    With --json: an object with "root" and "first" (null where nothing differs), "items" (the keys of those that are
    "newly_failed", "fixed", "slower", "faster", "missing" and "new"), "changed", "only_a", "only_b", "alike" and
    "repeated_keys", as in `agent_run_id.Diff`.

    Exit status, as that of diff(1): 0 if the two did the same, however long it took and whatever it used; 1 if they
    differ; above 1 there was trouble, and it is not known: 2 the command was not understood or the directory cannot be
    read, 5 no such run or more than one.
    """
    with opened(directory) as registry:
        found = registry.diff(a, b, factor=factor, ignore_volatile=ignore_volatile)
    output = Output()
    if json:
        output.write(f"{_document(found)}\n")
    else:
        for line in told(found, limit=limit):
            output.line(line, rest=_INDENT * 3)
    return _DIFFERENT if found else _EQUAL


def _document(found: Diff) -> str:
    members = found.to_dict()
    return object_of({name: array(told) if name in _LONG else encoded(told) for name, told in members.items()})
