"""Hypothesis strategies of what the library is about; they grow with it."""

from __future__ import annotations

from operator import add

from hypothesis import strategies as st

from agent_run_id import SigningKeys
from agent_run_id.ids import MAX_DEPTH, RunId
from agent_run_id.w3c import Member, Trace

__all__ = [
    "broken_tokens",
    "header_pairs",
    "json_values",
    "lineages",
    "member_keys",
    "member_values",
    "members",
    "run_ids",
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

uuid_texts = st.uuids().map(str).filter(lambda text: text != _NIL)


@st.composite
def lineages(draw: st.DrawFn) -> RunId:
    """A run id at any depth."""
    depth = draw(st.one_of(st.integers(1, 3), st.integers(1, MAX_DEPTH)))
    root = draw(uuid_texts)
    parent = root if depth == 1 else draw(uuid_texts.filter(lambda text: text != root))
    value = draw(uuid_texts.filter(lambda text: text not in (root, parent)))
    return RunId.from_token(f"{value}.{parent}.{root}.{depth}")


run_ids = st.one_of(uuid_texts.map(RunId), lineages())

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**62), 2**62)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@st.composite
def broken_tokens(draw: st.DrawFn) -> str:
    """A token with one thing wrong."""
    token = draw(lineages()).token
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


traced_run_ids = st.builds(RunId.in_trace, run_ids, traces())

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
