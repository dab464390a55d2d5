"""Pairing: what is told of two runs that belong together, and of one that is alone. What is not known is None."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from agent_run_id.comparing import value_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import timedelta

    from agent_run_id.aligning import By
    from agent_run_id.comparing import Field
    from agent_run_id.schema import RunRecord, UsageTotal

__all__ = ["Divergence", "Pair", "RepeatedKey", "Unpaired", "UsageDelta"]


@dataclass(frozen=True, slots=True)
class UsageDelta:
    """How much more `b` used than `a`.

    Attributes:
        calls: Calls that were reported.
        input_tokens: Tokens sent; None where those of any call of either are unknown.
        output_tokens: Tokens received, likewise.
        cost: By currency; None where that of any call of either is unknown, or only one of the two reported it.
    """

    calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: Mapping[str, float | None] = field(default_factory=dict[str, "float | None"])

    @classmethod
    def between(cls, a: UsageTotal, b: UsageTotal) -> UsageDelta:
        """What has to be added to one total to make the other."""
        if not a.calls and not b.calls:
            return _NO_CALLS
        known = not ("cost" in a.unknown or "cost" in b.unknown)
        cost: dict[str, float | None] = {
            currency: b.cost[currency] - a.cost[currency]
            if known and currency in a.cost and currency in b.cost
            else None
            for currency in sorted({*a.cost, *b.cost})
        }
        return cls(b.calls - a.calls, _more(a, b, "input_tokens"), _more(a, b, "output_tokens"), cost)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        return {
            "calls": self.calls,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": dict(self.cost),
        }


_NO_CALLS: Final = UsageDelta()


def _more(a: UsageTotal, b: UsageTotal, name: Literal["input_tokens", "output_tokens"]) -> int | None:
    """The difference of a sum, if all of both is known: else one broken stream would pass for a saving."""
    before, after = (None if name in one.unknown else getattr(one, name) for one in (a, b))
    return None if before is None or after is None else after - before


@dataclass(frozen=True, slots=True)
class Pair:
    """A run of `a` and the run of `b` that does its work.

    Attributes:
        a: The record of one.
        b: The record of the other.
        by: What they were paired by: ``root``, ``key``, ``input`` (with kind and name), ``masked`` (the same but for
            ids, times and temporary paths in the input), ``moved`` (the same in another order), or ``name`` (with
            kind).
        changed: In what they differ; empty for two that did the same.
        elapsed: How much longer `b` took; None unless both have ended.
        own: How much more it used on its own.
        subtree: How much more it and all below it used.
        above: The pair they are below; None for the roots.
    """

    a: RunRecord
    b: RunRecord
    by: By
    changed: tuple[Field, ...]
    elapsed: timedelta | None
    own: UsageDelta
    subtree: UsageDelta
    above: Pair | None = field(default=None, compare=False, repr=False)  # at any depth: neither may recurse

    @property
    def record(self) -> RunRecord:
        """The record of `a`."""
        return self.a

    @property
    def path(self) -> tuple[RunRecord, ...]:
        """The runs of `a` from the root to it."""
        return _path(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON; of what changed, the value in `a` and the value in `b`."""
        return {
            "a": self.a.id,
            "b": self.b.id,
            "above": None if self.above is None else [self.above.a.id, self.above.b.id],
            "kind": self.a.kind,
            "name": self.a.name,
            "key": self.a.key,
            "by": self.by,
            "changed": {name: [_plain(self.a, name), _plain(self.b, name)] for name in self.changed},
            "elapsed": None if self.elapsed is None else self.elapsed.total_seconds(),
            "own": self.own.to_dict(),
            "subtree": self.subtree.to_dict(),
        }


@dataclass(frozen=True, slots=True)
class Unpaired:
    """A run that only one of the two trees has.

    Attributes:
        record: The run.
        side: Which tree has it.
        above: What it is below: a pair, or another run that only this tree has.
    """

    record: RunRecord
    side: Literal["a", "b"]
    above: Pair | Unpaired = field(compare=False, repr=False)

    @property
    def top(self) -> bool:
        """Whether the run above it is in both trees."""
        return isinstance(self.above, Pair)

    @property
    def path(self) -> tuple[RunRecord, ...]:
        """The runs from the root to it; those of `a` where both trees have them."""
        return _path(self)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON."""
        record, above = self.record, self.above
        return {
            "id": record.id,
            "above": [above.a.id, above.b.id] if isinstance(above, Pair) else above.record.id,
            "kind": record.kind,
            "name": record.name,
            "key": record.key,
            "status": record.status,
        }


@dataclass(frozen=True, slots=True)
class Divergence:
    """A place where two runs differ in what they did.

    Attributes:
        at: The pair that differs there, or the run that only one tree has.
        what: In what: fields of the two, or ``only_a`` or ``only_b``.
    """

    at: Pair | Unpaired
    what: tuple[Field | Literal["only_a", "only_b"], ...]

    @property
    def path(self) -> tuple[RunRecord, ...]:
        """The runs from the root to it; those of `a` where both trees have them."""
        return self.at.path

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON, with the whole path."""
        path = [{"id": run.id, "kind": run.kind, "name": run.name, "key": run.key} for run in self.path]
        return {"what": list(self.what), "path": path, **self.at.to_dict()}


@dataclass(frozen=True, slots=True)
class RepeatedKey:
    """A key that several runs directly below one have. They are paired in their order.

    Attributes:
        key: The key.
        above: The pair they are below.
        a: How many have it in `a`.
        b: How many have it in `b`.
    """

    key: str
    above: Pair = field(compare=False, repr=False)
    a: int
    b: int


def _path(found: Pair | Unpaired) -> tuple[RunRecord, ...]:
    path: list[RunRecord] = []
    place: Pair | Unpaired | None = found
    while place is not None:
        path.append(place.record)
        place = place.above
    return tuple(reversed(path))


def _plain(record: RunRecord, name: Field) -> Any:
    if name == "error":
        return None if record.error is None else record.error.model_dump(mode="json")
    if name == "decisions":
        return [made.model_dump(mode="json") for made in record.decisions]
    return value_of(record, name)
