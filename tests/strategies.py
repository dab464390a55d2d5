"""Hypothesis strategies of what the library is about; they grow with it."""

from __future__ import annotations

from hypothesis import strategies as st

from agent_run_id.ids import MAX_DEPTH, RunId

__all__ = ["broken_tokens", "json_values", "lineages", "run_ids", "uuid_texts"]

_NIL = "00000000-0000-0000-0000-000000000000"

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
