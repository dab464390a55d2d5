"""Diffing: two trees compared, run by run."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from agent_run_id.aligning import Aligner
from agent_run_id.collector import collector_off
from agent_run_id.comparing import AFTER, BEFORE, FIELDS, same, value_of
from agent_run_id.errors import ConfigurationError
from agent_run_id.pairing import Divergence, Pair, RepeatedKey, Unpaired, UsageDelta
from agent_run_id.telling import told

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any, Literal

    from agent_run_id.aligning import By, Match
    from agent_run_id.comparing import Field
    from agent_run_id.schema import RunRecord
    from agent_run_id.tree import Tree

__all__ = ["BAD", "FACTOR", "FLOOR", "Diff", "diff"]

FACTOR: Final = 2.0
FLOOR: Final = timedelta(milliseconds=500)

BAD: Final = frozenset({"failed", "lost"})
"""The statuses of an item that somebody has to look at. To be cancelled is not one of them."""

_PAIRED_ITEMS: Final = ("newly_failed", "fixed", "slower", "faster")
_LONE_ITEMS: Final = ("missing", "new")


@dataclass(frozen=True, slots=True)
class Diff:
    """What differs between two trees. Every run of either is in exactly one of `pairs`, `only_a` and `only_b`.

    `str` gives a short text. An **item** is a run with a key directly below the root.

    Attributes:
        pairs: The runs that both have, parents before children, siblings in the order of `a`; the roots come first.
        only_a: The runs that only `a` has, in the same order, each with all below it.
        only_b: The runs that only `b` has, likewise.
        first: Where the two first differ in what they did; None where they did the same, in any order. What a run was
            given and decided comes before the runs below it, and how it ended after them: a root that failed because
            of a step differs first in the step.
        repeated: The keys that are not unique where they should be.
        factor: How many times as long an item takes that is `slower`.
        floor: How much longer it takes at least.
    """

    pairs: tuple[Pair, ...]
    only_a: tuple[Unpaired, ...]
    only_b: tuple[Unpaired, ...]
    first: Divergence | None
    repeated: tuple[RepeatedKey, ...]
    factor: float
    floor: timedelta

    def __bool__(self) -> bool:
        return self.first is not None

    def __str__(self) -> str:
        return self.render()

    def __repr__(self) -> str:
        root = self.root
        sizes = f"{len(self.changed)} changed, {len(self.only_a)} only in a, {len(self.only_b)} only in b"
        return f"<Diff of {root.a.id[:8]} and {root.b.id[:8]}: {sizes}>"

    @property
    def root(self) -> Pair:
        """The roots."""
        return self.pairs[0]

    @property
    def changed(self) -> tuple[Pair, ...]:
        """The pairs that did not do the same."""
        return tuple(pair for pair in self.pairs if pair.changed)

    @property
    def alike(self) -> int:
        """How many pairs did the same."""
        return len(self.pairs) - len(self.changed)

    @property
    def newly_failed(self) -> tuple[Pair, ...]:
        """The items that failed or were lost in `b` and not in `a`."""
        return tuple(item for item in self._items() if item.b.status in BAD and item.a.status not in BAD)

    @property
    def fixed(self) -> tuple[Pair, ...]:
        """The items that failed or were lost in `a` and succeeded in `b`."""
        return tuple(item for item in self._items() if item.a.status in BAD and item.b.status == "succeeded")

    @property
    def slower(self) -> tuple[Pair, ...]:
        """The items that ended as before and took longer, by `factor` and by `floor` at least."""
        return tuple(item for item in self._items() if self._longer(item, item.a.elapsed, item.b.elapsed))

    @property
    def faster(self) -> tuple[Pair, ...]:
        """The items that ended as before and would be `slower` the other way round."""
        return tuple(item for item in self._items() if self._longer(item, item.b.elapsed, item.a.elapsed))

    @property
    def missing(self) -> tuple[Unpaired, ...]:
        """The items that only `a` has."""
        return tuple(run for run in self.only_a if self._is_item(run, run.record))

    @property
    def new(self) -> tuple[Unpaired, ...]:
        """The items that only `b` has."""
        return tuple(run for run in self.only_b if self._is_item(run, run.record))

    def render(self, *, limit: int = 20) -> str:
        """A short text for a person.

        Args:
            limit: How many of each sort of difference to list; it tells how many more there are.
        """
        return "\n".join(map(str, told(self, limit=limit)))

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON: what differs in full, and how many pairs are alike. Lengths of time are in seconds.

        Items are named by their keys, everything else by its id.
        """
        items = {
            **{name: [item.a.key for item in getattr(self, name)] for name in _PAIRED_ITEMS},
            **{name: [item.record.key for item in getattr(self, name)] for name in _LONE_ITEMS},
        }
        return {
            "root": self.root.to_dict(),
            "first": None if self.first is None else self.first.to_dict(),
            "items": items,
            "changed": [pair.to_dict() for pair in self.changed],
            "only_a": [run.to_dict() for run in self.only_a],
            "only_b": [run.to_dict() for run in self.only_b],
            "alike": self.alike,
            "repeated_keys": [{"key": one.key, "a": one.a, "b": one.b} for one in self.repeated],
        }

    def _items(self) -> Iterator[Pair]:
        return (pair for pair in self.pairs if self._is_item(pair, pair.a))

    def _is_item(self, found: Pair | Unpaired, record: RunRecord) -> bool:
        return record.key is not None and found.above is self.root

    def _longer(self, item: Pair, before: timedelta | None, after: timedelta | None) -> bool:
        if before is None or after is None or item.a.status != item.b.status:
            return False
        slower = after.total_seconds() >= before.total_seconds() * self.factor
        return slower and after > before and after - before >= self.floor


def diff(a: Tree, b: Tree, *, factor: float = FACTOR, floor: timedelta = FLOOR, ignore_volatile: bool = False) -> Diff:
    """Compare two runs with everything below them.

    The runs directly below two that belong together are paired by their `key`. Those without one are paired in order,
    by kind, name and input, so a step put in or taken out moves no other. Input, output, status, error, decisions and
    their outcomes are compared as JSON values; reasons, tracebacks, ids and times are not.

    Args:
        a: The tree to start from: yesterday's.
        b: The one to tell the differences of: today's.
        factor: An item is slower when it takes this many times as long,
        floor: and this much longer at least.
        ignore_volatile: Whether ids, times, addresses in memory and temporary paths that stand in values make no
            difference. To pair runs, they never do.

    Raises:
        ConfigurationError: (a `ValueError`) `factor` is below 1, or `floor` below zero.
    """
    if not factor >= 1:
        raise ConfigurationError(f"factor={factor!r} would call faster items slower: give 1 or more, as in factor=2")
    if floor < timedelta(0):
        raise ConfigurationError(f"floor={floor!r} is below zero: give a length of time, as in timedelta(seconds=1)")
    walk = _Walk(a, b, volatile=not ignore_volatile)
    with collector_off():
        walk.run()
    return Diff(
        pairs=tuple(walk.pairs),
        only_a=tuple(walk.only["a"]),
        only_b=tuple(walk.only["b"]),
        first=walk.first,
        repeated=tuple(walk.repeated),
        factor=factor,
        floor=floor,
    )


class _Walk:
    """Two trees gone through together, in the order things happened in `a`."""

    def __init__(self, a: Tree, b: Tree, *, volatile: bool) -> None:
        self.pairs: list[Pair] = []
        self.only: dict[Literal["a", "b"], list[Unpaired]] = {"a": [], "b": []}
        self.first: Divergence | None = None
        self.repeated: list[RepeatedKey] = []
        self._roots = (a, b)
        self._aligner = Aligner(a, b)
        self._volatile = volatile

    def run(self) -> None:
        """Go through both, without recursion."""
        pending: list[tuple[Tree | None, Tree | None, By | None, Pair | None] | Pair] = [(*self._roots, "root", None)]
        while pending:
            step = pending.pop()
            if isinstance(step, Pair):
                self._diverged(step, AFTER)  # everything below the two was seen
                continue
            a, b, by, above = step
            if a is not None and b is not None and by is not None:
                pair = self._pair(a, b, by, above)
                pending.append(pair)
                pending.extend((match.a, match.b, match.by, pair) for match in reversed(self._below(a, b, pair)))
            elif above is not None:
                self._unpaired(a, "a", above)
                self._unpaired(b, "b", above)

    def _pair(self, a: Tree, b: Tree, by: By, above: Pair | None) -> Pair:
        one, other = a.record, b.record
        subtree = UsageDelta.between(a.usage(), b.usage())
        leaves = not a.children and not b.children
        pair = Pair(
            a=one,
            b=other,
            by=by,
            changed=self._changed(one, other, by),
            elapsed=None if one.elapsed is None or other.elapsed is None else other.elapsed - one.elapsed,
            own=subtree if leaves else UsageDelta.between(a.own.usage, b.own.usage),
            subtree=subtree,
            above=above,
        )
        self.pairs.append(pair)
        self._diverged(pair, BEFORE)
        return pair

    def _changed(self, a: RunRecord, b: RunRecord, by: By) -> tuple[Field, ...]:
        return tuple(
            field
            for field in FIELDS
            # Roots are compared because somebody said so: "monday" and "tuesday" may do the same.
            if not (by == "root" and field in ("kind", "name"))
            and not same(value_of(a, field), value_of(b, field), volatile=self._volatile)
        )

    def _diverged(self, pair: Pair, fields: Sequence[Field]) -> None:
        if self.first is None and pair.changed:
            what = _both(fields, pair.changed)
            self.first = Divergence(pair, what) if what else None

    def _below(self, a: Tree, b: Tree, pair: Pair) -> Sequence[Match]:
        if not a.children and not b.children:
            return ()
        aligned = self._aligner.siblings(a.children, b.children)
        self.repeated += [RepeatedKey(key, pair, *counts) for key, counts in aligned.repeated]
        return aligned.matches

    def _unpaired(self, top: Tree | None, side: Literal["a", "b"], above: Pair) -> None:
        pending: list[tuple[Tree, Pair | Unpaired]] = [] if top is None else [(top, above)]
        while pending:
            node, over = pending.pop()
            found = Unpaired(node.record, side, over)
            self.only[side].append(found)
            if self.first is None:
                self.first = Divergence(found, ("only_a",) if side == "a" else ("only_b",))
            pending.extend((child, found) for child in reversed(node.children))


def _both(fields: Sequence[Field], changed: Sequence[Field]) -> tuple[Field, ...]:
    return tuple(field for field in fields if field in changed)
