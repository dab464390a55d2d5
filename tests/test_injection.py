"""Injection: nothing that was recorded, and nothing that is asked, is taken for SQL or for the syntax of the search."""

from __future__ import annotations

import re
import tempfile
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunNotFound, RunRegistry, start_run
from agent_run_id.index.layout import STATUSES
from tests.journal_programs.indexes import SEARCHES, search_as
from tests.journal_programs.journals import crafted, started, write_journal

RUN = RunId("11111111-1111-4111-8111-111111111111")
OTHER = RunId("22222222-2222-4222-8222-222222222222")

HOSTILE = [
    "'", "''", '"', '""', "`", "[", "]", ";", "--", "/*", "*/", "%", "_", "?", "?1", ":a", "@a", "$a", "\\", "\0", "\n",
    "a\0b", "*", "^a", "-a", "+a", "(a", "a)", "{a b}", "a:b", "text:a", "texts:a", "- text : a", "rank", "rowid",
    "a OR b", "OR", "AND", "NOT a", "a NOT b", "NEAR(a b)", "NEAR(a b, 1)", "a*", '"a" *', '"a', 'a"', '"a" OR "b"',
    '" OR "a', '") OR ("', "'; DROP TABLE runs; --", "' OR '1'='1", "x' UNION SELECT * FROM runs --",
    "1); DELETE FROM runs",
    "a'||'b", "x'41'", "NULL", "0", "-1", "1e999", "{}", "[]", "}", '"}', '{"v":1}', ",", '","type":"run.ended',
    "\\u0000",
    "\u2028", "\ufeff", "\U0010ffff", "🦆", "A" * 100_000, '"' * 10_000, "(" * 10_000, "a " * 10_000, "* " * 10_000,
]  # fmt: skip
FIELDS = ["name", "kind", "key", "user_id", "session_id", "summary", "input", "refused_parent"]
LISTS = {"tags": "tag", "aliases": None, "links": None}


def may_mean(text: str, word: str) -> bool:
    """Whether all words that are looked for are this one, or the beginning of it where they end with a star."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    asked = "".join(char for char in plain if not unicodedata.combining(char)).split()

    def means(each: str) -> bool:
        parts = re.findall(r"[^\W_]+", each)
        return parts in ([], [word]) or (each.endswith("*") and len(parts) == 1 and word.startswith(parts[0]))

    return all(map(means, asked))


def records_as_said(directory: Path, text: str) -> None:
    """A run of which everything is this text can be found by each of it, and only it is."""
    fields: dict[str, Any] = dict.fromkeys(FIELDS, text) | {name: [text] for name in LISTS}
    attributes = {text: text}
    crafted(directory, [started(RUN, **fields, attributes=attributes), started(OTHER, name="other")])
    with RunRegistry(directory) as registry:
        record = registry.get(RUN)
        assert [getattr(record, name) for name in FIELDS] == [text] * len(FIELDS)
        assert (record.tags, record.aliases, record.links, record.attributes) == ((text,), (text,), (text,), attributes)
        for name in ("name", "kind", "key", "user_id", "session_id", "tag"):
            asked: dict[str, Any] = {name: text}
            assert [found.id for found in registry.find(**asked)] == [RUN.value], name
        found = {run.id for run in registry.find(text=text)}
        assert found <= {RUN.value, OTHER.value} if may_mean(text, "other") else found <= {RUN.value}
        plain = re.findall(r"[A-Za-z0-9]+", text)
        if plain and text.isascii():
            assert RUN.value in found
        assert registry.stats().runs == 2
        assert registry.usage(RUN).own.calls == 0
        assert registry.links(RUN).incoming == ()


@pytest.mark.parametrize("text", HOSTILE, ids=lambda text: ascii(text)[:30])
def test_what_is_recorded_is_taken_as_it_is(text: str, tmp_path: Path) -> None:
    records_as_said(tmp_path, text)


@settings(max_examples=50)
@given(st.text() | st.text("""'"*()-:^+{}[];,\\ \0aORNEAT%_?""", max_size=12))
def test_any_text_that_is_recorded_is_taken_as_it_is(text: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        records_as_said(Path(temporary), text)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("plain")
    crafted(directory, [started(RUN, name="alpha", aliases=["gamma"]), started(OTHER, name="beta")])
    return directory


def asks(directory: Path, text: Any) -> None:
    """Whatever is asked with this text is answered with nothing, or that there is none; and nothing is harmed."""
    with RunRegistry(directory) as registry:
        for name in ("name", "kind", "key", "user_id", "session_id", "tag"):
            asked: dict[str, Any] = {name: text}
            assert registry.find(**asked) == []
        assert registry.find(text=text) == [] or text == "a*"  # alpha
        with pytest.raises(ValueError, match="there is no status"):
            registry.find(status=[text])
        with pytest.raises(ValueError, match="there is no order"):
            registry.find(order=text)
        for ask in (registry.get, registry.children, registry.ancestors, registry.tree, registry.events,
                    registry.counts, registry.usage, registry.links):  # fmt: skip
            with pytest.raises(RunNotFound) as caught:
                ask(text)
            assert caught.value.candidates == ()
        with pytest.raises(RunNotFound):
            registry.find(under=text)
        assert {run.name for run in registry.find()} == {"alpha", "beta"}


SAFE = [text for text in HOSTILE if not re.fullmatch(r"\s*[0-9a-f-]+\s*", text)]
HALF = [chr(0xD800), f"a{chr(0xDFFF)}b", chr(0xD83E)]
"""Half a character, which no database can hold, so that nobody can have recorded it."""


@pytest.mark.parametrize("how", SEARCHES)
@pytest.mark.parametrize("text", [*SAFE, *HALF], ids=lambda text: ascii(text)[:30])
def test_what_is_asked_is_taken_as_it_is(text: str, how: str, plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search_as(how, monkeypatch)
    asks(plain, text)


@settings(max_examples=100)
@given(
    st.text(st.characters(exclude_characters="*0123456789abcdefABCDEF")).filter(
        lambda text: text.strip() and text not in STATUSES
    )
    | st.text("""'"*()-:^+{}[];,\\ \0ORNT%_?""", min_size=1, max_size=12).filter(lambda text: text.strip("- "))
)
def test_any_text_that_is_asked_is_taken_as_it_is(text: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        crafted(Path(temporary), [started(RUN, name="alpha", aliases=["gamma"]), started(OTHER, name="beta")])
        asks(Path(temporary), text)


@pytest.mark.parametrize("word", ["OR", "AND", "NOT", "NEAR", "rank", "rowid", "texts", "text"])
def test_the_words_of_the_search_language_are_words(word: str, registry: RunRegistry) -> None:
    start_run("one", input="alpha beta").end()
    start_run("two", input=f"alpha {word} beta").end()
    assert [run.name for run in registry.find(text=word)] == ["two"]
    assert [run.name for run in registry.find(text=f"alpha {word} beta")] == ["two"]
    assert [run.name for run in registry.find(text=f"zeta {word} alpha")] == []
    assert [run.name for run in registry.find(text=f"{word}(beta) alpha")] == ["two"]
    assert [run.name for run in registry.find(text=f"{word}:beta")] == ["two"]


@pytest.mark.parametrize("text", [text for text in HOSTILE if text.strip()], ids=lambda text: ascii(text)[:30])
def test_any_text_can_be_another_name_of_a_run(text: str, registry: RunRegistry) -> None:
    """A digit or two of an id too: as a name it counts for more than as a beginning, whichever ids the runs got."""
    with start_run("run") as run, start_run("other"):
        registry.alias(run.id, text)
        found = registry.get(run.id).aliases[0]
        assert registry.get(found).id == run.id.value  # a very long one was cut when it was recorded
        if len(text) < 1000:
            assert registry.get(text).id == run.id.value
            assert [child.name for child in registry.children(text)] == ["other"]


def test_a_field_of_an_event_cannot_leave_its_place(tmp_path: Path) -> None:
    """What is kept of an event is put together again from its text: names of fields are hostile too."""
    odd = {'"},{"': 1, '","v":2,"x': 2, "}": 3, '\\"': 4, "\0": 5, "'": 6, "type ": "run.ended", "": 7}
    write_journal(tmp_path, [{**started(RUN, name="run", **odd), "seq": 1}])
    with RunRegistry(tmp_path) as registry:
        assert registry.get(RUN).status == "lost"
        assert registry.find(text="run")[0].id == RUN.value
        assert registry.events(RUN)[0].data == {"name": "run", **odd}
