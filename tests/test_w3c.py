"""W3C Trace Context, level 2: what is read, and what is written."""

from __future__ import annotations

import copy
import itertools
import pickle
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id.w3c import MAX_MEMBERS, MAX_STATE, Member, Trace, format_members, read_members, read_traceparent
from tests.strategies import member_keys, member_values, members, spans, trace_ids, traces

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
VALID = f"00-{TRACE_ID}-{SPAN}-01"
LATER = f"cc-{TRACE_ID}-{SPAN}-01"

# A slow reading of the specification, of its ABNF and of nothing of ours ----------------------------------------------

HEAD = re.compile(
    r"[ \t]*(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})"
    r"(?P<rest>-.*?)?[ \t]*",
    re.DOTALL,
)
KEY = r"[a-z0-9][a-z0-9_\-*/@]{0,255}"
VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
MEMBER = re.compile(rf"[ \t]*(?:({KEY})=({VALUE}))?[ \t]*")


def slow_traceparent(text: str) -> tuple[str, int] | None:
    match = HEAD.fullmatch(text)
    if match is None or "," in text or len(text) > 512:
        return None
    version, trace_id, span, flags, rest = match.group("version", "trace", "span", "flags", "rest")
    if version == "ff" or trace_id == "0" * 32 or span == "0" * 16 or (version == "00" and rest is not None):
        return None
    return trace_id, int(flags, 16) % 4


def slow_members(values: list[str]) -> list[Member]:
    found: list[Member] = []
    for part in ",".join(values).split(","):
        match = MEMBER.fullmatch(part)
        if match is None:
            return []
        if match[1] is not None:
            found.append((match[1], match[2]))
    if len(found) > 32:
        return []
    return [member for place, member in enumerate(found) if member[0] not in dict(found[:place])]


def either(good: st.SearchStrategy[str], *bad: str) -> st.SearchStrategy[str]:
    """Mostly what is right, so that what is wrong is alone."""
    return st.one_of(good, good, good, good, st.sampled_from(bad))


hexes = st.text("0123456789abcdef", min_size=2, max_size=2)
white = either(st.text(" \t", max_size=2), "\n", "\r", "\x0b", "\N{NO-BREAK SPACE}", "\x00")
near_traceparents = st.builds(
    "".join,
    st.tuples(
        white,
        either(hexes, "00", "ff", "FF", "0", "000", "0x"),
        either(st.just("-"), "", "_", "--"),
        either(trace_ids, "0" * 32, TRACE_ID.upper(), TRACE_ID[1:], f"{TRACE_ID}0", f"{TRACE_ID[1:]}g"),
        either(st.just("-"), "", "_", "\N{EN DASH}"),
        either(spans, "0" * 16, SPAN.upper(), SPAN[1:], f"{SPAN}0", f"\N{ARABIC-INDIC DIGIT ONE}{SPAN[1:]}"),
        either(st.just("-"), "", "_"),
        either(hexes, "0", "000", "0G", "AB", ""),
        st.sampled_from(["", "", "-", "-extra", "-a,b", ",", ".x", "-\n", "-" + "x" * 456, "-" + "x" * 457]),
        white,
    ),
)
near_members = st.one_of(
    st.builds("{}{}={}{}".format, white, either(member_keys, "", "A", "@a", "a b"), member_values, white),
    st.builds("{}{}={}".format, white, member_keys, either(st.text(max_size=5), "", " ", "  a", "a=b", "\t", "é")),
    st.builds("{}{}".format, white, st.text(max_size=3)),
    st.sampled_from(["", " ", "\t", "=", "a", "a=", "=b", "0=1", "@=1", f"{'k' * 256}=v", f"{'k' * 257}=v"]),
    st.sampled_from([f"k={'v' * 256}", f"k={'v' * 257}", f"k= {'v' * 255}", f"k= {'v' * 256}"]),
)

# traceparent ----------------------------------------------------------------------------------------------------------


@given(st.one_of(near_traceparents, st.text(max_size=60)))
def test_a_traceparent_is_read_as_the_grammar_has_it(text: str) -> None:
    assert read_traceparent(text) == slow_traceparent(text)


@given(trace_ids, spans, st.integers(0, 255))
def test_of_the_flags_only_those_of_this_version_are_kept_and_the_random_one_exactly(
    trace_id: str, span: str, flags: int
) -> None:
    assert read_traceparent(f"00-{trace_id}-{span}-{flags:02x}") == (trace_id, flags & 0b11)


@given(trace_ids, spans, st.integers(1, 254), st.text(st.characters(codec="ascii", exclude_characters=","), max_size=9))
def test_a_higher_version_goes_on_as_this_one_whatever_it_has_behind_a_dash(
    trace_id: str, span: str, version: int, more: str
) -> None:
    head = f"{version:02x}-{trace_id}-{span}-01"
    assert read_traceparent(head) == read_traceparent(f"{head}-{more}") == (trace_id, 1)
    if more.strip(" \t") and not more.strip(" \t").startswith("-"):
        assert read_traceparent(head + more.strip(" \t")) is None


@pytest.mark.parametrize("text", [VALID, LATER, f"{LATER}-", f"{LATER}-what-comes", f" \t{VALID}\t ", f"{LATER}-\t"])
def test_this_is_a_traceparent(text: str) -> None:
    assert read_traceparent(text) == (TRACE_ID, 1)


@pytest.mark.parametrize(
    "text",
    [
        "",
        VALID.upper(),
        VALID.replace("a", "A"),
        f"ff{VALID[2:]}",
        f"{VALID}-",
        f"{VALID}-extra",
        f"{VALID}.",
        f"{LATER}.",
        f"{LATER}x",
        f"{LATER}-a,b",
        f"{LATER},{LATER}",
        f"{VALID},{VALID}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"{VALID}\n",
        f"\n{VALID}",
        f"{VALID}\N{NO-BREAK SPACE}",
        VALID[:-1],
        VALID[:-2] + "0x",
        VALID.replace("-", "_"),
        f"{LATER}-{'x' * 457}",
        "\udc80" * 55,
        VALID[:-1] + "\udc80",
    ],
)
def test_this_is_no_traceparent(text: str) -> None:
    assert read_traceparent(text) is None


# tracestate -----------------------------------------------------------------------------------------------------------


@given(st.lists(st.lists(near_members, max_size=4).map(",".join), max_size=3))
def test_a_tracestate_is_read_as_the_grammar_has_it(values: list[str]) -> None:
    assert read_members(values) == slow_members(values)


@given(st.lists(st.lists(members(max_size=4), max_size=2), max_size=3), st.data())
def test_several_headers_are_one_with_white_space_and_empty_members_left_out(
    headers: list[list[list[Member]]], data: st.DataObject
) -> None:
    ows = st.text(" \t", max_size=2)
    values = []
    for header in headers:
        parts = [data.draw(ows)]
        for key, value in itertools.chain.from_iterable(header):
            parts += [f"{data.draw(ows)}{key}={value}{data.draw(ows)}", data.draw(ows)]
        values.append(",".join(parts))
    flat = [member for header in headers for part in header for member in part]
    first = dict(reversed(flat))
    assert read_members(values) == [(key, first[key]) for key in dict.fromkeys(key for key, _ in flat)]


def test_32_members_are_the_most() -> None:
    full = [f"k{number}={number}" for number in range(MAX_MEMBERS)]
    assert len(read_members([",".join(full)])) == MAX_MEMBERS
    assert read_members([",".join([*full, "one=more"])]) == []
    assert read_members([",".join(full), "one=more"]) == []
    assert read_members([",".join([*full, "k0=again"])]) == []  # what is there twice counts twice
    assert len(read_members([",".join([*full, "", " ", "\t"])])) == MAX_MEMBERS


def test_of_the_same_key_the_first_counts_and_the_rest_stays() -> None:
    assert read_members(["a=1,b=2,a=3", "c=4,b=5"]) == [("a", "1"), ("b", "2"), ("c", "4")]


@pytest.mark.parametrize("key", ["a", "0", "0a", "a@b", "a@", "t@v@w", "a_-*/", "k" * 256, f"0{'-' * 255}"])
def test_this_is_a_key(key: str) -> None:
    assert read_members([f"{key}=1"]) == [(key, "1")]


@pytest.mark.parametrize(
    "key", ["", "@a", "_a", "-a", "*a", "/a", "A", "aB", "a b", "a.b", "é", "k" * 257, "a\t", "a\n"]
)
def test_an_invalid_key_voids_the_header(key: str) -> None:
    assert read_members(["good=1", f"{key}=1"]) == []


@pytest.mark.parametrize("value", ["1", "  two leading spaces", "in the middle", "~!@#$%^&*()", "v" * 256, "\x7e"])
def test_this_is_a_value(value: str) -> None:
    assert read_members([f"a={value},b=2"]) == [("a", value), ("b", "2")]
    assert read_members([f"a={value} \t,b=2"]) == [("a", value), ("b", "2")]


@pytest.mark.parametrize(
    "value", ["", " ", "a=b", "v" * 257, "a\tb", "\ta", "é", "a\n", "\x7f", "\x00", "\x1f", "\udc80"]
)
def test_an_invalid_value_voids_the_header(value: str) -> None:
    assert read_members(["good=1", f"a={value}"]) == []


# What is written ------------------------------------------------------------------------------------------------------

long_members = st.lists(
    st.tuples(member_keys, st.integers(1, 256).map("v".__mul__)), max_size=40, unique_by=lambda member: member[0]
)
OURS = [("runid", "0" * 116), ("runidsig", "1" * 87)]


@given(st.integers(0, 2), members(max_size=30) | long_members)
def test_ours_stand_to_the_left_and_of_others_whole_entries_in_order(count: int, others: list[Member]) -> None:
    theirs = [member for member in others if member[0] not in dict(OURS)]
    written = read_members([format_members(OURS[:count], theirs)])
    assert written[:count] == OURS[:count]
    assert len(written) <= MAX_MEMBERS
    assert written[count:] == [member for member in theirs if member in written[count:]]
    assert sum(len(f"{key}={value},") for key, value in written[count:]) <= MAX_STATE


@given(st.integers(0, 2), members(max_size=20))
def test_what_fits_is_kept_and_so_it_can_be_read_again(count: int, others: list[Member]) -> None:
    assert read_members([format_members(OURS[:count], others)]) == OURS[:count] + others


@given(st.integers(0, 2))
def test_where_there_are_too_many_the_rightmost_go(count: int) -> None:
    others = [(f"k{number}", "v") for number in range(MAX_MEMBERS)]
    assert read_members([format_members(OURS[:count], others)]) == OURS[:count] + others[: MAX_MEMBERS - count]


@given(long_members)
def test_where_they_are_too_long_long_ones_go_first_and_of_each_kind_the_rightmost(others: list[Member]) -> None:
    candidates = others[:MAX_MEMBERS]
    kept = read_members([format_members([], candidates)])
    long = [member for member in candidates if len(f"{member[0]}={member[1]},") > 128]
    short = [member for member in candidates if member not in long]
    kept_long, kept_short = [m for m in kept if m in long], [m for m in kept if m in short]
    assert kept_long == long[: len(kept_long)]
    assert kept_short == short[: len(kept_short)]
    assert kept_short == short or not kept_long
    gone = [member for member in candidates if member not in kept]
    if gone:  # no more than had to: the last one to go does not fit
        room = MAX_STATE - sum(len(f"{key}={value},") for key, value in kept)
        last = (short[len(kept_short) :] or long[len(kept_long) :])[0]
        assert room < len(f"{last[0]}={last[1]},")


@given(traces(), traces())
def test_a_trace_is_a_value(one: Trace, other: Trace) -> None:
    for again in (pickle.loads(pickle.dumps(one)), copy.deepcopy(one), eval(repr(one))):  # noqa: S301, S307
        assert again == one
        assert hash(again) == hash(one)
    assert (one == other) is (repr(one) == repr(other))
    assert one != repr(one)
    with pytest.raises(AttributeError, match="frozen"):
        one.flags = 1
    with pytest.raises(AttributeError, match="frozen"):
        del one.members
