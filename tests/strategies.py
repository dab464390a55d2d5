"""Hypothesis strategies of what the library is about; they grow with it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from operator import add
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st

from agent_run_id import SigningKeys
from agent_run_id.ids import RunId
from agent_run_id.schema import DecisionRecord, ErrorRecord, RunRecord, UsageRecord
from agent_run_id.testing import run_ids
from agent_run_id.tree import Tree, grow
from agent_run_id.w3c import Member, Trace

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Plan",
    "broken_tokens",
    "header_pairs",
    "member_keys",
    "member_values",
    "members",
    "plans",
    "signing_keys",
    "signings",
    "spans",
    "trace_ids",
    "traced_run_ids",
    "traces",
    "uuid_texts",
]

_NIL = "00000000-0000-0000-0000-000000000000"
_HEX = "0123456789abcdef"
_DIGITS = "0123456789"
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_VISIBLE = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in ",=")

uuid_texts = run_ids(max_depth=0).map(str)


@st.composite
def broken_tokens(draw: st.DrawFn) -> str:
    """A token with one thing wrong."""
    token = draw(run_ids(min_depth=1)).token
    value, parent, root, depth = token.split(".")
    return draw(
        st.sampled_from(
            [
                token.upper() if token.upper() != token else f"{token}A",
                f"{token}\n",
                f" {token}",
                f"{token}.",
                f"{value}.{parent}.{root}",
                f"{value}.{parent}.{root}.0{depth}",
                f"{value}.{parent}.{root}.0",
                f"{value}.{parent}.{root}.-1",
                f"{value}.{parent}.{root}.65536",
                f"{value}.{parent}.{root}.\N{ARABIC-INDIC DIGIT ONE}",
                f"{value}.{parent}.{root}.",
                f"{value}.{parent}.{root}.{depth}.{depth}",
                f"{value}.{value}.{root}.{depth}",
                f"{value}.{parent}.{value}.{depth}",
                f"{value}.{parent}.{root}.{1 if depth != '1' else 2}",
                f"{_NIL}.{parent}.{root}.{depth}",
                f"{value}.{_NIL}.{root}.{depth}",
                f"{value}.{parent}.{_NIL}.{depth}",
                value.replace("-", ""),
                f"{{{value}}}",
                f"urn:uuid:{value}",
                value[:-1],
                f"{value[:8]}{value[9]}-{value[10:]}",
                "",
                "..." * 1000,
                _NIL,
            ]
        )
    )


# W3C Trace Context ----------------------------------------------------------------------------------------------------

trace_ids = st.text(_HEX, min_size=32, max_size=32).filter(lambda text: text.strip("0") != "")
spans = st.text(_HEX, min_size=16, max_size=16).filter(lambda text: text.strip("0") != "")
member_keys = st.builds(add, st.sampled_from(_LETTERS + _DIGITS), st.text(_LETTERS + _DIGITS + "_-*/@", max_size=12))
member_values = st.builds(add, st.text(_VISIBLE + " ", max_size=20), st.sampled_from(_VISIBLE))


def members(*, max_size: int = 6) -> st.SearchStrategy[list[Member]]:
    """What others put into a `tracestate`."""
    theirs = member_keys.filter(lambda key: key not in ("runid", "runidsig"))
    return st.lists(st.tuples(theirs, member_values), max_size=max_size, unique_by=lambda member: member[0])


def traces(*, max_members: int = 6) -> st.SearchStrategy[Trace]:
    """A trace that somebody else began."""
    return st.builds(Trace, trace_ids, st.integers(0, 3), members(max_size=max_members).map(tuple))


traced_run_ids = st.builds(RunId.in_trace, run_ids(), traces())

# Signing --------------------------------------------------------------------------------------------------------------

_key_ids = st.text(_LETTERS + _LETTERS.upper() + _DIGITS + "_-", min_size=1, max_size=64)
signing_keys = st.dictionaries(_key_ids, st.binary(min_size=16, max_size=40), min_size=1, max_size=3).map(SigningKeys)
signings = st.none() | signing_keys

# Carriers -------------------------------------------------------------------------------------------------------------

_names = st.builds(add, st.sampled_from(_LETTERS), st.text(_LETTERS + _DIGITS + "-", max_size=10))
header_pairs = st.lists(
    st.tuples(
        _names.filter(lambda name: name not in ("traceparent", "tracestate", "x-run-id")),
        st.text(_LETTERS + _DIGITS + ";/. ", max_size=10).map(str.strip),
    ),
    max_size=5,
)
"""What else is in a carrier, by names that any carrier can have; a name may be there several times."""

# Trees ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """A tree without what differs each time it runs: ids and times."""

    fields: dict[str, Any] = field(default_factory=dict)
    below: tuple[Plan, ...] = ()

    def walk(self) -> Iterator[Plan]:
        """Every plan in it, itself first."""
        yield self
        for plan in self.below:
            yield from plan.walk()

    def carried_out(self, *, first: int = 1) -> Tree:
        """A tree that does all this, with ids from `first` on."""
        records: list[RunRecord] = []

        def carry_out(plan: Plan, parent: RunRecord | None) -> None:
            number = first + len(records)
            value = f"{number:08x}-0000-4000-8000-000000000000"
            lineage: dict[str, Any] = {"root_id": value}
            if parent is not None:
                lineage = {"root_id": parent.root_id, "parent_id": parent.id, "depth": parent.depth + 1}
            started = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
            defaults = {"name": "step", "kind": "tool", "status": "succeeded"}
            record = RunRecord.model_validate(
                {"id": value, "started_at": started, **lineage, **defaults, **plan.fields}
            )
            records.append(record)
            for inner in plan.below:
                carry_out(inner, record)

        carry_out(self, None)
        return grow(records[0], records[1:])


_a_few = st.none() | st.sampled_from([0, 1, True, "x", {"q": [1.0]}])
_usages = st.builds(
    UsageRecord,
    model=st.just("m"),
    input_tokens=st.none() | st.integers(0, 9),
    output_tokens=st.none() | st.integers(0, 9),
    cost=st.none() | st.sampled_from([0.5, 2.25]),
    currency=st.none() | st.sampled_from(["EUR", "USD"]),
    call_id=st.none() | st.sampled_from("cd"),
    inclusive=st.booleans(),
)
_decided = st.builds(
    DecisionRecord, id=st.sampled_from("12"), question=st.just("which?"), chosen=_a_few, why=st.sampled_from("yz")
)
_optional: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["tool", "llm"]),
    "status": st.sampled_from(["succeeded", "failed", "lost", "running", "cancelled"]),
    "output": _a_few,
    "elapsed": st.none() | st.integers(0, 5).map(lambda seconds: timedelta(seconds=seconds)),
    "error": st.none() | st.builds(ErrorRecord, message=st.sampled_from("mn")),
    "decisions": st.lists(_decided, max_size=2).map(tuple),
    "usage": st.lists(_usages, max_size=2).map(tuple),
}


def plans(*, keys: st.SearchStrategy[str | None], max_leaves: int = 12) -> st.SearchStrategy[Plan]:
    """Plans whose runs are much like each other, with these keys."""
    name = {"name": st.none() | st.sampled_from("ab"), "input": _a_few, "key": keys}
    one = st.fixed_dictionaries(name, optional=_optional)
    return st.recursive(
        st.builds(Plan, one),
        lambda inner: st.builds(Plan, one, st.lists(inner, max_size=4).map(tuple)),
        max_leaves=max_leaves,
    )
