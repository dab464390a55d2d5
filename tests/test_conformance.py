"""Trace Context: a service that calls others passes on what it is sent as the W3C has it, level 2, built either way.

Driven as the public suite of the W3C drives a service; the cases are those that it has, and those its text implies.
See the specification, https://www.w3.org/TR/trace-context-2/, sections 3.2 (`traceparent`) and 3.3 (`tracestate`).
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from agent_run_id import RunId

from .services import asgi_service, collecting, post, read, stdlib_service

if TYPE_CHECKING:
    from collections.abc import Generator

    from agent_run_id import RunRegistry

    from .services import Collector, Pairs, Sent

TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"
_paths = (f"/{number}" for number in itertools.count())


class Service(NamedTuple):
    """A service, and who hears what it sends."""

    url: str
    collector: Collector
    settle: Any

    def send(self, headers: Pairs, calls: int = 2) -> list[Sent]:
        """Send a request that makes it call the collector, and give what it said there."""
        path = next(_paths)
        call = {"url": f"{self.collector.url}{path}", "arguments": []}
        assert post(self.url, [call] * calls, headers) == 200
        self.settle()
        received = self.collector.take(path)
        assert len(received) == calls
        return [read(pairs) for pairs in received]


@pytest.fixture(scope="module")
def collector() -> Generator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module", params=["http.server", "ASGI"])
def service(request: pytest.FixtureRequest, collector: Collector) -> Generator[Service]:
    """The service: with the carriers called by hand, or with the middleware and an instrumented client."""
    if request.param == "ASGI":
        with asgi_service() as served:
            yield Service(served.url, collector, served.settle)
    else:
        with stdlib_service() as url:
            yield Service(url, collector, lambda: None)  # its run ends before it answers


def named(name: str, *values: str) -> Pairs:
    return [(name, value) for value in values]


# traceparent ----------------------------------------------------------------------------------------------------------

CONTINUED: dict[str, tuple[Pairs, str]] = {
    "sampled": (named("traceparent", PARENT), "01"),
    "not sampled": (named("traceparent", PARENT[:-2] + "00"), "00"),
    "random, which stays set": (named("traceparent", PARENT[:-2] + "03"), "03"),
    "random, not sampled": (named("traceparent", PARENT[:-2] + "02"), "02"),
    "all flags, the unknown ones": (named("traceparent", PARENT[:-2] + "ff"), "03"),
    "unknown flags only": (named("traceparent", PARENT[:-2] + "fc"), "00"),
    "an unknown flag and sampled": (named("traceparent", PARENT[:-2] + "09"), "01"),
    "the name in title case": (named("TraceParent", PARENT), "01"),
    "the name in upper case": (named("TRACEPARENT", PARENT), "01"),
    "the name in no case at all": (named("TrAcEpArEnT", PARENT), "01"),
    "a later version": (named("traceparent", f"cc-{TRACE}-{SPAN}-01"), "01"),
    "a later version with more": (named("traceparent", f"cc-{TRACE}-{SPAN}-01-what-the-future-will-be-like"), "01"),
    "a later version with a dash": (named("traceparent", f"cc-{TRACE}-{SPAN}-01-"), "01"),
    "a later version with flags": (named("traceparent", f"01-{TRACE}-{SPAN}-ff-00"), "03"),
    "a space before": (named("traceparent", f" {PARENT}"), "01"),
    "a tab before": (named("traceparent", f"\t{PARENT}"), "01"),
    "a space behind": (named("traceparent", f"{PARENT} "), "01"),
    "a tab behind": (named("traceparent", f"{PARENT}\t"), "01"),
    "spaces and tabs around": (named("traceparent", f"\t {PARENT} \t"), "01"),
    "with an empty state": ([*named("traceparent", PARENT), *named("tracestate", "")], "01"),
}

RESTARTED: dict[str, Pairs] = {
    "none at all": [],
    "an empty one": named("traceparent", ""),
    "two": named("traceparent", f"00-{TRACE}-1234567890123456-01", f"00-{TRACE}-1234567890123457-01"),
    "two that are equal": named("traceparent", PARENT, PARENT),
    "two in two spellings": [*named("traceparent", PARENT), *named("TraceParent", PARENT)],
    "two, one of them empty": named("traceparent", PARENT, ""),
    "two that somebody joined": named("traceparent", f"{PARENT},{PARENT}"),
    "two that somebody joined, of a later version": named("traceparent", f"cc-{TRACE}-{SPAN}-01-,{PARENT}"),
    "another name": [*named("trace-parent", PARENT), *named("trace.parent", PARENT)],
    "version ff": named("traceparent", f"ff-{TRACE}-{SPAN}-01"),
    "version 00 with more": named("traceparent", f"{PARENT}-what-the-future-will-be-like"),
    "version 00 with a dot": named("traceparent", f"{PARENT}."),
    "version 00 with a dash": named("traceparent", f"{PARENT}-"),
    "a later version with a dot": named("traceparent", f"cc-{TRACE}-{SPAN}-01.what-the-future-will-not-be-like"),
    "a later version with a third flag digit": named("traceparent", f"cc-{TRACE}-{SPAN}-011"),
    "an illegal version": named("traceparent", f".0-{TRACE}-{SPAN}-01"),
    "an illegal version, second digit": named("traceparent", f"0.-{TRACE}-{SPAN}-01"),
    "a version too long": named("traceparent", f"000-{TRACE}-{SPAN}-01"),
    "a version much too long": named("traceparent", f"0000-{TRACE}-{SPAN}-01"),
    "a version too short": named("traceparent", f"0-{TRACE}-{SPAN}-01"),
    "a version in upper case": named("traceparent", f"CC-{TRACE}-{SPAN}-01"),
    "trace id zero": named("traceparent", f"00-{'0' * 32}-{SPAN}-01"),
    "trace id illegal": named("traceparent", f"00-.{TRACE[1:]}-{SPAN}-01"),
    "trace id illegal at its end": named("traceparent", f"00-{TRACE[:-1]}.-{SPAN}-01"),
    "trace id too long": named("traceparent", f"00-{TRACE}a-{SPAN}-01"),
    "trace id too short": named("traceparent", f"00-{TRACE[1:]}-{SPAN}-01"),
    "trace id in upper case": named("traceparent", f"00-{TRACE.upper()}-{SPAN}-01"),
    "parent-id zero": named("traceparent", f"00-{TRACE}-{'0' * 16}-01"),
    "parent-id illegal": named("traceparent", f"00-{TRACE}-.{SPAN[1:]}-01"),
    "parent-id illegal at its end": named("traceparent", f"00-{TRACE}-{SPAN[:-1]}.-01"),
    "parent-id too long": named("traceparent", f"00-{TRACE}-{SPAN}a-01"),
    "parent-id too short": named("traceparent", f"00-{TRACE}-{SPAN[1:]}-01"),
    "parent-id in upper case": named("traceparent", f"00-{TRACE}-{SPAN.upper()}-01"),
    "flags illegal": named("traceparent", f"00-{TRACE}-{SPAN}-.0"),
    "flags illegal, second digit": named("traceparent", f"00-{TRACE}-{SPAN}-0."),
    "flags in upper case": named("traceparent", f"00-{TRACE}-{SPAN}-0F"),
    "flags too long": named("traceparent", f"00-{TRACE}-{SPAN}-001"),
    "flags too short": named("traceparent", f"00-{TRACE}-{SPAN}-1"),
    "no flags": named("traceparent", f"00-{TRACE}-{SPAN}"),
    "other dashes": named("traceparent", PARENT.replace("-", "_")),
    "digits that are not ASCII": named("traceparent", f"00-{TRACE[:-1]}\xb2-{SPAN}-01"),
    "a space inside": named("traceparent", f"00- {TRACE[1:]}-{SPAN}-01"),
    "a no-break space before": named("traceparent", f"\xa0{PARENT}"),
    "a no-break space behind": named("traceparent", f"{PARENT}\xa0"),
    "a next line before": named("traceparent", f"\x85{PARENT}"),
    "a next line behind": named("traceparent", f"{PARENT}\x85"),
}


@pytest.mark.parametrize(("headers", "flags"), CONTINUED.values(), ids=CONTINUED)
def test_a_valid_traceparent_is_continued_as_version_00(service: Service, headers: Pairs, flags: str) -> None:
    for sent in service.send(headers):
        assert (sent.trace_id, sent.flags, sent.others) == (TRACE, flags, [])
        assert sent.parent_id != SPAN


@pytest.mark.parametrize("headers", RESTARTED.values(), ids=RESTARTED)
def test_any_other_begins_a_trace_and_the_state_is_gone(service: Service, headers: Pairs) -> None:
    for sent in service.send([*headers, ("tracestate", "foo=1,bar=2")]):
        assert sent.trace_id == sent.run_id.root_id.replace("-", "") != TRACE
        assert (sent.flags, sent.others) == ("03", [])


@pytest.mark.parametrize("white", ["\x0b", "\x0c", "\x1c", "\x1f"])
@pytest.mark.parametrize("form", ["{white}{parent}", "{parent}{white}"])
def test_other_white_space_is_not_taken_away(collector: Collector, white: str, form: str) -> None:
    with stdlib_service() as url:  # uvicorn refuses such a request
        service = Service(url, collector, lambda: None)
        for sent in service.send(named("traceparent", form.format(white=white, parent=PARENT))):
            assert sent.trace_id != TRACE


@pytest.mark.parametrize("headers", [[], named("traceparent", PARENT)], ids=["new", "continued"])
@pytest.mark.parametrize("calls", [2, 3])
def test_every_call_has_a_parent_id_of_its_own_in_one_trace(service: Service, headers: Pairs, calls: int) -> None:
    sent = [*service.send(headers, calls), *service.send(headers, calls)]
    assert len({each.parent_id for each in sent}) == 2 * calls
    assert len({each.run_id for each in sent}) == 2  # one for each request
    assert len({each.trace_id for each in sent}) == (1 if headers else 2)


# tracestate -----------------------------------------------------------------------------------------------------------

LONG_KEY, LONG_VALUE = "z" * 256, "v" * 256
KEY_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789_-*/@"
VALUE_CHARACTERS = "".join(chr(code) for code in range(0x21, 0x7F) if chr(code) not in ",=")
MEMBERS = [f"bar{number:02}={number:02}" for number in range(1, 34)]
FOREIGN = RunId.generate(RunId.generate())

STATES: dict[str, tuple[list[str], list[str]]] = {
    "one member": (["foo=1"], ["foo=1"]),
    "two, in order": (["foo=1,bar=2"], ["foo=1", "bar=2"]),
    "two headers": (["foo=1", "bar=2"], ["foo=1", "bar=2"]),
    "three headers with several each": (
        ["foo=1,bar=2", "rojo=1", "congo=2,baz=3"],
        ["foo=1", "bar=2", "rojo=1", "congo=2", "baz=3"],
    ),
    "an empty header": ([""], []),
    "empty headers between": (["foo=1", "", "bar=2", ""], ["foo=1", "bar=2"]),
    "empty members": ([",foo=1,,bar=2, ,\t,"], ["foo=1", "bar=2"]),
    "white space around": (["foo=1 \t , \t bar=2, \t baz=3"], ["foo=1", "bar=2", "baz=3"]),
    "white space around headers": ([" foo=1", "\tbar=2", "baz=3 ", "qux=4\t"], ["foo=1", "bar=2", "baz=3", "qux=4"]),
    "duplicate keys, of which the first counts": (["foo=1,bar=2,foo=3"], ["foo=1", "bar=2"]),
    "duplicate members": (["foo=1,foo=1"], ["foo=1"]),
    "duplicate keys in two headers": (["foo=1", "foo=2,bar=3"], ["foo=1", "bar=3"]),
    "all characters of a key": ([f"{KEY_CHARACTERS}=1"], [f"{KEY_CHARACTERS}=1"]),
    "a key that begins with a digit": (["0foo=1"], ["0foo=1"]),
    "a key of a tenant": (["fw529a3039@dt=FfAPe"], ["fw529a3039@dt=FfAPe"]),
    "a key with several @": (["foo@bar@baz=1,qux@=2"], ["foo@bar@baz=1", "qux@=2"]),
    "all characters of a value": ([f"foo={VALUE_CHARACTERS}"], [f"foo={VALUE_CHARACTERS}"]),
    "spaces inside a value": (["foo= a  b"], ["foo= a  b"]),
    "the longest key and value": ([f"foo=1,{LONG_KEY}={LONG_VALUE}"], ["foo=1", f"{LONG_KEY}={LONG_VALUE}"]),
    "32 members, of which the right-most goes": ([",".join(MEMBERS[:32])], MEMBERS[:31]),
    "32 members in two headers": ([",".join(MEMBERS[:16]), ",".join(MEMBERS[16:32])], MEMBERS[:31]),
    "31 members": ([",".join(MEMBERS[:31])], MEMBERS[:31]),
    "one of ours, which is replaced": ([f"foo=1,runid={FOREIGN.token},bar=2"], ["foo=1", "bar=2"]),
    "32 members, one of them ours": ([",".join([*MEMBERS[:31], f"runid={FOREIGN.token}"])], MEMBERS[:31]),
    "one of ours that is malformed": (["foo=1,runid=yes,bar=2"], ["foo=1", "bar=2"]),
    "a signature of ours": (["runidsig=k.abc,foo=1"], ["foo=1"]),
}

VOID: dict[str, list[str]] = {
    "33 members": [",".join(MEMBERS)],
    "33 members in two headers": [",".join(MEMBERS[:16]), ",".join(MEMBERS[16:])],
    "33 members, twice the same key among them": [",".join([*MEMBERS[:32], MEMBERS[0]])],
    "a space in a key": ["foo =1"],
    "a key in upper case": ["FOO=1"],
    "a dot in a key": ["foo.bar=1"],
    "a key that begins with @": ["@foo=1,bar=2"],
    "a key that begins with a dash": ["-foo=1"],
    "no key": ["=1"],
    "no equals sign": ["foo"],
    "only the second one bad": ["foo=1,bar"],
    "only the second header bad": ["foo=1", "Bar=2"],
    "a key too long": [f"foo=1,{'z' * 257}=1"],
    "a value too long": [f"foo=1,bar={'v' * 257}"],
    "no value": ["foo=,bar=3"],
    "an equals sign in a value": ["foo=bar=baz"],
    "a tab in a value": ["foo=a\tb"],
    "a value that is not ASCII": ["foo=\xe4"],
    "a no-break space around": ["foo=1\xa0"],
}


@pytest.mark.parametrize(("values", "others"), STATES.values(), ids=STATES)
def test_the_members_of_others_go_on_in_order_with_ours_before_them(
    service: Service, values: list[str], others: list[str]
) -> None:
    for sent in service.send([*named("traceparent", PARENT), *named("tracestate", *values)]):
        assert (sent.trace_id, sent.flags, sent.others) == (TRACE, "01", others)


@pytest.mark.parametrize("name", ["tracestate", "TraceState", "TRACESTATE", "tRaCeStAtE"])
def test_the_name_of_the_state_has_any_case(service: Service, name: str) -> None:
    for sent in service.send([*named(name, "foo=1"), *named("traceparent", PARENT), *named("tracestate", "bar=2")]):
        assert sent.others == ["foo=1", "bar=2"]


@pytest.mark.parametrize("values", VOID.values(), ids=VOID)
def test_an_invalid_state_is_gone_as_a_whole_and_the_trace_goes_on(service: Service, values: list[str]) -> None:
    for sent in service.send([*named("traceparent", PARENT), *named("tracestate", *values)]):
        assert (sent.trace_id, sent.flags, sent.others) == (TRACE, "01", [])


# Lineage --------------------------------------------------------------------------------------------------------------


def test_a_run_in_the_state_is_the_parent_also_in_a_trace_of_somebody_else(
    service: Service, registry: RunRegistry
) -> None:
    headers = [*named("traceparent", PARENT), *named("tracestate", f"foo=1,runid={FOREIGN.token}")]
    first, second = service.send(headers)
    assert first.run_id.token == second.run_id.token
    assert (first.run_id.parent_id, first.run_id.root_id) == (FOREIGN.value, FOREIGN.root_id)
    assert first.run_id.depth == 2
    assert (first.trace_id, first.others) == (TRACE, ["foo=1"])
    assert registry.get(first.run_id).parent_id == FOREIGN.value


def test_services_that_call_each_other_are_one_tree_and_one_trace(collector: Collector, registry: RunRegistry) -> None:
    path = next(_paths)
    with asgi_service() as front, stdlib_service() as back:
        calls: list[dict[str, Any]] = [{"url": f"{collector.url}{path}", "arguments": []}] * 2
        for url in (back, front.url, back):  # the front one is called by what it calls
            calls = [{"url": url, "arguments": calls}]
        assert post(front.url, calls, [*named("traceparent", PARENT), *named("tracestate", "foo=1")]) == 200
    first, second = [read(pairs) for pairs in collector.take(path)]
    assert first.run_id.token == second.run_id.token
    assert first.parent_id != second.parent_id
    assert (first.trace_id, first.others) == (TRACE, ["foo=1"])
    tree = registry.tree(first.run_id.root_id)
    assert [(node.record.name, node.record.depth, node.record.status) for node in tree] == [
        ("POST /", 0, "succeeded"),
        ("service", 1, "succeeded"),
        ("POST /", 2, "succeeded"),
        ("service", 3, "succeeded"),
    ]
    assert [node.record.id for node in tree][-1] == first.run_id.value
