"""Search: a run is found if and only if each word occurs in some text of it, whatever happened to it since."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRegistry, StoreError, start_run
from agent_run_id.index.layout import create_tables
from tests.journal_programs.indexes import NAME, SEARCHES, search_as
from tests.journal_programs.journals import crafted, event

if TYPE_CHECKING:
    from collections.abc import Iterable

RUNS = tuple(RunId(f"{digit * 8}-0000-4000-8000-000000000000") for digit in "123")

# The law --------------------------------------------------------------------------------------------------------------

PHRASE = "order-4711"
TEXTS = ["refund", "Refunded twice!", "the order of", "no 4711 here", f"about {PHRASE} now", "x", "7", "REFUND x", ""]
"""The parts of the phrase are in other texts too, but there nothing follows them that would make it."""
QUERIES = ["refund", "refund*", "REFUNDED", PHRASE, "order", "4711", "x", "7", "now", "nothing", "ref", "run", "ord*"]
SAYS: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "run.started": st.fixed_dictionaries(
        {"name": st.sampled_from(TEXTS)}, optional={"input": st.just({"run": ["twice", 7]}), "kind": st.just("nothing")}
    ),
    "run.step": st.fixed_dictionaries({"name": st.sampled_from(TEXTS)}, optional={"data": st.just([{"run": "now"}])}),
    "run.updated": st.fixed_dictionaries({"summary": st.sampled_from(TEXTS)}),
    "run.ended": st.fixed_dictionaries(
        {"status": st.sampled_from(["failed", "succeeded"])}, optional={"output": st.sampled_from(TEXTS)}
    ),
    "run.usage": st.fixed_dictionaries({"model": st.sampled_from(TEXTS)}),
    "run.of_the_future": st.fixed_dictionaries({"anything": st.sampled_from(TEXTS)}),
}
LEFT_OUT = {"v", "type", "run", "time", "seq", "status", "kind", "links", "elapsed"}


class Journal(NamedTuple):
    path: Path
    events: list[dict[str, Any]]


def texts_in(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in texts_in(item)]
    return [str(value)]


def holding(journals: Iterable[Journal], words: list[str]) -> set[str]:
    """The runs whose start is there, and in whose texts all words are."""
    said: dict[str, list[str]] = {}
    started: set[str] = set()
    for line in [line for journal in journals for line in journal.events]:
        if line["type"] == "run.started":
            started.add(line["run"])
        if line["type"] != "run.usage":
            texts = [text for name, value in line.items() if name not in LEFT_OUT for text in texts_in(value)]
            said.setdefault(line["run"], []).extend(texts)

    def holds(texts: list[str], word: str) -> bool:
        pattern = r"[^a-z0-9]+".join(map(re.escape, re.findall(r"[a-z0-9]+", word.lower())))
        end = "" if word.endswith("*") else r"\b"
        return any(re.search(rf"\b{pattern}{end}", text.lower()) for text in texts)

    return {run for run in started if all(holds(said.get(run, []), word) for word in words)}


@settings(max_examples=80)
@given(st.data(), st.sampled_from(sorted(SEARCHES)))
def test_a_run_is_found_if_and_only_if_its_texts_hold_every_word(data: st.DataObject, how: str) -> None:
    """Also what it says after it was found; no more what was in journals that are gone; and when the index is new."""
    fields = {kind: st.tuples(st.just(kind), says) for kind, says in SAYS.items()}
    lines = st.lists(st.tuples(st.sampled_from(RUNS), st.one_of(*fields.values())), min_size=1, max_size=6)
    with tempfile.TemporaryDirectory() as temporary, pytest.MonkeyPatch.context() as patch:
        search_as(how, patch)
        directory = Path(temporary)
        registry = RunRegistry(directory)
        journals: list[Journal] = []
        for number in range(data.draw(st.integers(1, 8))):
            act = data.draw(st.sampled_from(["say", "say", "say", "lose", "rebuild"]))
            if act == "say":
                events = [event(0, kind, run, **says) for run, (kind, says) in data.draw(lines)]
                path = crafted(directory, events, name=f"{number}", process=f"{number + 1:032x}")
                journals.append(Journal(path, events))
            elif act == "lose" and journals:
                journals.pop(data.draw(st.integers(0, len(journals) - 1))).path.unlink()
            elif act == "rebuild":
                registry.close()
                for suffix in ("", "-wal", "-shm"):
                    (directory / f"{NAME}{suffix}").unlink(missing_ok=True)
            if data.draw(st.booleans()):
                words = data.draw(st.lists(st.sampled_from(QUERIES), min_size=1, max_size=3))
                found = registry.find(text=" ".join(words), limit=None)
                assert {run.id for run in found} == holding(journals, words), words
        for query in QUERIES:
            assert {run.id for run in registry.find(text=query, limit=None)} == holding(journals, [query]), query
        registry.close()


# What a word is -------------------------------------------------------------------------------------------------------

FOUND = {
    "Zürich": ["zürich", "ZÜRICH", "zurich", "Zürich", "zu*"],
    "naïve café": ["naive", "café cafe", "CAFÉ"],
    "Straße": ["straße"],
    "東京 タワー": ["東京", "タワー", "東*", "東京 タワー"],
    "Привет, мир": ["привет", "МИР", "прив*"],
    "order-4711 shipped": ["order-4711", "4711", "ORDER 4711", "shipped order-4711", "order_4711", "ship* order*"],
    "a.b@c.example": ["a.b@c.example", "c.example", "@c"],
    "f(x) = 3.25": ["3.25", "f(x)", "x"],
    "C:\\temp\\new": ["C:\\temp", "temp\\new"],
    'he said "no"': ['"no"', '"he said', "said", 'sa"id'[:2] + "*"],
}
NOT_FOUND = {
    "order-4711 shipped": ["order-4712", "4711-order", "order-shipped", "rder", "order-471", "4711*2"],
    "東京タワー": ["東京", "タワー"],
    "Straße": ["strasse"],
    "naive": ["na ive", "naives"],
}


@pytest.mark.parametrize("text", list(FOUND))
def test_words_are_found_as_people_type_them(text: str, registry: RunRegistry) -> None:
    start_run("run", input=text).end()
    for query in FOUND[text]:
        assert len(registry.find(text=query)) == 1, query


@pytest.mark.parametrize("text", list(NOT_FOUND))
def test_other_words_are_not_found(text: str, registry: RunRegistry) -> None:
    """Of scripts that are written without spaces, what stands between two spaces is one word."""
    start_run("run", input=text).end()
    for query in NOT_FOUND[text]:
        assert registry.find(text=query) == [], query


@pytest.mark.parametrize("query", ["", " ", "*", "-", '"', "…", "* *", "🦆"])
def test_what_holds_no_word_finds_nothing(query: str, registry: RunRegistry) -> None:
    start_run("run", input=f"a {query} b").end()
    assert registry.find(text=query) == []


def test_everything_that_a_person_may_remember_of_a_run_is_a_text_of_it(registry: RunRegistry) -> None:
    with start_run(
        "name1", input={"not2": ["input2", {"x": 4711}]}, summary="summary3", key="key4", tags=["tag5"],
        user_id="user6", session_id="session7", attributes={"not2": "attribute8"}, aliases=["alias9"],
    ) as run:  # fmt: skip
        run.step("step10", data11="data11")
        run.decide("question12", options=["option13"], chosen="option14", why="why15").outcome("outcome16")
        run.end(output="output17", error=ValueError("error18"))
    words = "name1 input2 4711 summary3 key4 tag5 user6 session7 attribute8 alias9 step10 data11 question12 option13"
    for word in [*words.split(), "option14", "why15", "outcome16", "output17", "error18", "ValueError"]:
        assert [found.id for found in registry.find(text=word)] == [run.id.value], word
    assert registry.find(text="not2") == []  # the name of a field


def test_a_run_of_many_steps_is_found_by_each(registry: RunRegistry) -> None:
    """Also by two of which one was said before somebody searched and one after."""
    with start_run("long") as run, start_run("other"):
        for number in range(3000):
            run.step(f"step{number}", page=f"p{number}")
        assert len(registry.find(text="step0 p2999")) == 1
        for number in range(3000, 4000):
            run.step(f"step{number}")
        for query in ("step3999", "step0 step3999", "p2999 step3000 long"):
            assert [found.name for found in registry.find(text=query)] == ["long"], query
        assert registry.find(text="step0 step4000") == []
        assert registry.find(text="other step1") == []


def test_words_and_other_conditions_are_met_together(registry: RunRegistry, monkeypatch: pytest.MonkeyPatch) -> None:
    with start_run("top") as top:
        for number in range(20):
            start_run(f"run{number}", summary="frequent", kind="even" if number % 2 == 0 else "odd").end()
    for how in SEARCHES:
        search_as(how, monkeypatch)
        found = registry.find(text="frequent", kind="odd", under=top.id, limit=3, order="oldest")
        assert [run.name for run in found] == ["run1", "run3", "run5"]
        assert len(registry.find(text="frequent", limit=None)) == 20
        assert registry.find(text="frequent", root_only=True) == []


def test_a_python_that_cannot_search_says_so_and_answers_all_else(
    registry: RunRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_texts(connection: Any) -> None:
        create_tables(connection)
        connection.execute("DROP TABLE IF EXISTS texts")

    monkeypatch.setattr("agent_run_id.index.database.create_tables", without_texts)
    start_run("run", tags=["t"]).end()
    assert [run.name for run in registry.find(tag="t")] == ["run"]
    with pytest.raises(StoreError, match="FTS5"):
        registry.find(text="run")
    assert [run.name for run in registry.find(name="run")] == ["run"]


def test_who_never_searches_does_not_pay(registry: RunRegistry) -> None:
    start_run("run").end()
    registry.find()
    assert registry._index.read("SELECT texted FROM numbers")[0][0] == 0
    registry.find(text="run")
    assert registry._index.read("SELECT texted FROM numbers")[0][0] == 1
