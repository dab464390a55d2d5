"""Lists of pairs, the written shape that `asgi` and `kafka` share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from agent_run_id.carriers.fields import RUN_ID, TRACEPARENT, TRACESTATE, has_our_member

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["write_pairs"]

N = TypeVar("N", str, bytes)


def write_pairs(
    carrier: list[tuple[N, bytes]] | None, fields: dict[str, str], name_of: Callable[[str], N]
) -> list[tuple[N, bytes]]:
    """Put fields at the end of a list, in the place of those of an earlier hop; the list is changed.

    Raises:
        TypeError: it is no list.
    """
    if carrier is None:
        carrier = []
    if not isinstance(carrier, list):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(f"these headers are written to a list of pairs, not to a {type(carrier).__name__}: use list(…)")
    fields_there = [_field(pair) for pair in carrier]
    stale = {RUN_ID, TRACEPARENT, TRACESTATE}
    states = [pair[1] for field, pair in zip(fields_there, carrier, strict=True) if field == TRACESTATE]
    if not fields and not has_our_member(states):
        stale = {RUN_ID}
    kept = [pair for field, pair in zip(fields_there, carrier, strict=True) if field not in stale]
    kept += [(name_of(name), value.encode("ascii")) for name, value in fields.items()]
    carrier[:] = kept
    return carrier


def _field(pair: Any) -> str:
    name = pair[0]
    return (name.decode("latin-1") if isinstance(name, bytes) else str(name)).lower()
