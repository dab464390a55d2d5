"""The page that `runid export` makes: what was recorded is text in it and nothing else, and none of it is lost."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import re
import tempfile
from collections import Counter
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from agent_run_id import RunId, RunRecord, RunRegistry, rendering, start_run
from agent_run_id.cli import entries, excerpts, markup
from agent_run_id.cli.excerpts import More, Shown, excerpt
from agent_run_id.cli.pages import Source, page
from agent_run_id.cli.waterfalls import Waterfall
from agent_run_id.ids import random_id
from agent_run_id.rendering import block, clean
from agent_run_id.schema import ErrorRecord, ProcessRecord
from agent_run_id.testing import capture_runs
from agent_run_id.tree import grow
from tests.commands import answer, is_harmless
from tests.hostile_runs import CHILD, MARKUP, ROOT, everything_is, record_everywhere
from tests.journal_programs.journals import T0, crafted, event, started

if TYPE_CHECKING:
    from agent_run_id import Tree

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)
VOID = {"meta"}
ELEMENTS = {
    "html", "head", "meta", "title", "style", "body", "main", "header", "section", "footer", "h1", "h2", "h3", "p",
    "span", "dl", "dt", "dd", "ol", "ul", "li", "a", "code", "pre", "time", "details", "summary", "svg", "rect", "div",
}  # fmt: skip
ATTRIBUTES = {
    ("html", "lang"), ("meta", "charset"), ("meta", "http-equiv"), ("meta", "content"), ("meta", "name"),
    ("li", "id"), ("h2", "id"), ("a", "href"), ("time", "datetime"), ("section", "aria-labelledby"),
    ("svg", "aria-hidden"), ("rect", "x"), ("rect", "y"), ("rect", "width"), ("rect", "height"),
    *((name, "class") for name in ("section", "ol", "li", "span", "svg", "p")),
}  # fmt: skip
CLASSES = re.compile(
    r"(bar|failure|heading|id|more|name|quiet|runs|what|d\d+"
    r"|running|paused|queued|succeeded|failed|cancelled|lost)"
)


class Read(HTMLParser):
    """What a reader of HTML finds in a page.

    Attributes:
        skeleton: Every element with its attributes, and where each ends.
        texts: The texts between them.
        style: The text of the style.
    """

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.skeleton: list[tuple[str, ...]] = []
        self.texts: list[str] = []
        self.style = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in ELEMENTS, tag
        assert len(dict(attrs)) == len(attrs), "no attribute twice"
        for name, value in attrs:
            assert (tag, name) in ATTRIBUTES, f"{tag} {name}"
            self._check(name, value or "")
        self.skeleton.append(
            (tag, *(f"{name}={value}" for name, value in attrs if name not in ("datetime", "content")))
        )
        if tag not in VOID:
            self._open.append(tag)

    def _check(self, name: str, value: str) -> None:
        forms = {
            "id": r"failure|r-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            "href": r"#r-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
            "datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z",
            "x": r"\d+\.\d\d%",
            "width": r"\d+\.\d\d%",
        }
        assert re.fullmatch(forms.get(name, ".*"), value), f"{name}={value}"
        if name == "class":
            assert all(CLASSES.fullmatch(one) for one in value.split()), value

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag
        self.skeleton.append((f"/{tag}",))

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "style":
            self.style += data
        else:
            self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        raise AssertionError(data)

    def handle_decl(self, decl: str) -> None:
        assert decl == "DOCTYPE html"

    handle_pi = unknown_decl = handle_comment

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def values(self, name: str) -> list[str]:
        return [
            value
            for _, *given in self.skeleton
            for key, _, value in (one.partition("=") for one in given)
            if key == name
        ]


def page_of(directory: Path, ref: RunId = ROOT) -> str:
    return answer("export", ref.value, "--format", "html", "--dir", str(directory))


def drawn(tree: Tree) -> str:
    """The page of a tree that nobody recorded."""
    return "".join(page(Source(tree, [], lambda ids: iter([[] for _ in ids]), NOW)))


def record(**fields: Any) -> RunRecord:
    return RunRecord(**{"id": (one := random_id()), "root_id": one, "name": "run", "status": "succeeded", **fields})


def below(parent: RunRecord, **fields: Any) -> RunRecord:
    return record(parent_id=parent.id, root_id=parent.root_id, depth=parent.depth + 1, **fields)


def check_links(found: Read) -> None:
    """Every link leads to something, and nothing is there twice."""
    ids = found.values("id")
    assert len(set(ids)) == len(ids)
    assert {link.removeprefix("#") for link in found.values("href")} <= set(ids)


# Nothing recorded is anything but text --------------------------------------------------------------------------------


def check_page(text: str, directory: Path) -> None:
    """A page of which everything is this text is built as any other, and tells the text in every place."""
    everything_is(text, directory)
    written = page_of(directory)
    assert is_harmless(written)
    assert len(written) < 500_000
    found = Read(written)
    check_links(found)
    with tempfile.TemporaryDirectory() as temporary:
        everything_is("word", Path(temporary))
        assert found.skeleton == Read(page_of(Path(temporary))).skeleton
    cleaned, lines = clean(text), "\n".join(map(str, block(text)))
    short = cleaned if len(cleaned) <= 200 else cleaned[:200]
    for part in (
        f"✗ {short}", f" key={short}"[:200], f"later.{cleaned}", f"◆ {cleaned} → {cleaned}", f"why:        {cleaned}",
        f"outcome:    {cleaned}", f"options:    {cleaned}, {{", f"{cleaned}: 5 → 2 tokens, 0.5000 {cleaned}",
        f"({cleaned})", f"paused for 1.0 s: {cleaned} → failed", f"{cleaned}, pid ", f" on {cleaned}, ",
        f"{cleaned}: {{",
    ):  # fmt: skip
        assert part in found.text, part
    assert found.text.count(f"\n{lines}") >= 7, "input, output and traceback of both, and the nearest failure"
    facts = (
        "kind",
        "user",
        "session",
        "key",
        "summary",
        "tags",
        "links",
        "aliases",
        "caller",
        "duplicate of",
        "retry of",
    )
    for name in facts:
        assert f"{name}{cleaned}" in found.text, name


@pytest.mark.parametrize("text", MARKUP, ids=lambda text: ascii(text)[:30])
def test_no_recorded_text_is_markup(text: str, tmp_path: Path) -> None:
    check_page(text, tmp_path)


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=40) | st.text("<>&\"'/=-! \n\0\u202ea;#x", min_size=1, max_size=20))
@example("\n")
@example("\r")
def test_no_text_at_all_is_markup(text: str) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        check_page(text, Path(temporary))


@settings(max_examples=30)
@given(st.text(st.characters(), max_size=30))
def test_no_text_that_a_program_records_is_markup(text: str) -> None:
    with capture_runs():
        record_everywhere(text)
        written = answer("export", "@last", "--format", "html")
        assert is_harmless(written)
        check_links(Read(written))


@pytest.mark.parametrize("text", ["<b>", "</pre>", "&lt;", "<!--", "<script>alert(1)</script>"])
def test_without_the_escape_these_tests_fail(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(markup, "escaped", lambda text: markup.Html(clean(text)))
    with pytest.raises(AssertionError):
        check_page(text, tmp_path)


@pytest.mark.parametrize("text", ["\u202ea", "\x1b[31m", "\0"])
def test_without_the_cleaning_these_tests_fail(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for room in (rendering, markup):
        monkeypatch.setattr(room, "clean", lambda text: text)
    with pytest.raises(AssertionError):
        check_page(text, tmp_path)


def test_an_attribute_is_escaped_even_if_it_is_given_html() -> None:
    assert markup.element("a", href=markup.Html('"><b>')) == '<a href="&quot;&gt;&lt;b&gt;"></a>'
    assert markup.joined(["<", markup.Html("<b>"), f"{markup.Html('<b>')}"]) == "&lt;<b>&lt;b&gt;"


def test_nothing_may_run_or_load_and_the_style_is_let_in_by_its_digest(tmp_path: Path) -> None:
    everything_is("https://evil.example/x.js", tmp_path)
    written = page_of(tmp_path)
    digest = base64.b64encode(hashlib.sha256(Read(written).style.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    assert f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">' in written
    assert written.index("Content-Security-Policy") < written.index("<style>")
    head = written[: written.index("<title>")]
    assert "evil" not in head
    assert "url(" not in Read(written).style
    assert "@import" not in Read(written).style


# What it tells --------------------------------------------------------------------------------------------------------


def test_it_tells_where_it_went_wrong_and_how_to_get_there(registry: RunRegistry) -> None:
    with contextlib.suppress(ConnectionError), start_run("plan", user_id="ada", session_id="s-1") as plan:
        with start_run("look"):
            pass
        with start_run("book", links=[plan.id, "https://example.com/"]) as book, start_run("pay") as pay:
            pay.usage(model="small", input_tokens=1200, output_tokens=30, cost=0.25)
            raise ConnectionError("the line is dead")
    written = answer("export", "@last", "--format", "html")
    found = Read(written)
    check_links(found)
    for part in (
        f"id{plan.id}", "userada", "sessions-1", "runs4: 1 succeeded, 3 failed",
        "usage1,200 → 30 tokens, 0.2500 USD in 1 call", "ConnectionError: the line is dead",
    ):  # fmt: skip
        assert part in found.text, part
    box = written[written.index("<section") : written.index("</section>")]
    assert re.findall(r"#r-([0-9a-f-]+)", box) == [run.id.value for run in (plan, book, pay)]
    assert "Traceback" in box
    assert f'<dd><a href="#r-{plan.id}">{plan.id.token}</a>, https://example.com/</dd>' in written
    started_at = registry.get(plan.id).started_at
    assert started_at is not None
    text = started_at.isoformat(sep=" ", timespec="milliseconds").removesuffix("+00:00")
    assert f'<time datetime="{text.replace(" ", "T")}Z">{text} UTC</time>' in written


def test_a_run_below_another_says_what_it_is_under(registry: RunRegistry) -> None:
    with start_run("above"), start_run("between"), start_run("below") as run:
        pass
    found = Read(answer("export", run.id.value, "--format", "html"))
    assert "underabove › between" in found.text
    assert "Nearest failure" not in found.text
    check_links(found)


def test_times_are_utc_wherever_it_is_made(tmp_path: Path) -> None:
    crafted(tmp_path, [started(ROOT, name="lost")], process="f" * 32, locked=True)
    assert page_of(tmp_path).count("22:13:20") == answer(
        "export", ROOT.value, "--format", "html", "--dir", str(tmp_path), TZ="IST-5:30"
    ).count("22:13:20")
    assert "03:43" not in answer("export", ROOT.value, "--format", "html", "--dir", str(tmp_path), TZ="IST-5:30")


def test_a_long_path_to_a_failure_is_cut_in_its_middle() -> None:
    runs = [record(status="failed", error=ErrorRecord(message="deep"))]
    for _ in range(99):
        runs.append(below(runs[-1], status="failed", error=ErrorRecord(message="deep")))
    written = drawn(grow(runs[0], runs[1:]))
    box = written[written.index("<section") : written.index("</section>")]
    assert box.count("<a ") == 20
    assert "… 80 runs between them" in box
    check_links(Read(written))
    assert "⋯99 " in written


def test_long_texts_and_many_details_are_cut_and_it_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    top = record(input="x" * 100_000, output="\n" * 100_000, name="n" * 100_000, summary="s" * 100_000)
    written = drawn(grow(top, []))
    assert len(written) < 200_000
    assert "… the rest is left out here" in written
    monkeypatch.setattr(entries, "_DETAILS", 30_000)
    children = [below(top, input="y" * 500, status=status) for status in ("succeeded", "failed") for _ in range(40)]
    found = Read(drawn(grow(top, children)))
    left_out = found.text.count("Left out for the size of this page")
    assert 0 < left_out < 80
    assert f"The details of {left_out} runs are left out" in found.text
    assert found.text.count("y" * 500) > 10, "there is room for those that failed"


def test_an_empty_record_is_a_page() -> None:
    lost = record(name=None, status=None)
    found = Read(drawn(grow(lost, [below(lost, name=None, status=None)])))
    assert "(not recorded)" in found.text
    assert found.values("x") == []


# Large trees ----------------------------------------------------------------------------------------------------------

statuses = st.sampled_from(["succeeded"] * 6 + ["failed", "running", "lost", None])


@st.composite
def bushes(draw: st.DrawFn) -> Tree:
    runs = [record()]
    for parent, status, name in draw(
        st.lists(st.tuples(st.integers(0, 5), statuses, st.sampled_from("ab")), max_size=60)
    ):
        runs.append(below(runs[min(parent, len(runs) - 1)], status=status, name=name))
    return grow(runs[0], runs[1:])


@given(bushes())
def test_of_a_large_tree_everything_is_shown_or_counted_and_all_but_success_is_shown(tree: Tree) -> None:
    with pytest.MonkeyPatch.context() as patch:
        assert [one.node for one in excerpt(tree) if isinstance(one, Shown)] == list(tree)
        patch.setattr(excerpts, "LARGE", 0)
        patch.setattr(excerpts, "_FIRST", 2)
        told = excerpt(tree)
        patch.setattr(excerpts, "_TOO_LARGE", 0)
        coarser = excerpt(tree)
    for found in (told, coarser):
        shown = [one.node for one in found if isinstance(one, Shown)]
        more = [one for one in found if isinstance(one, More)]
        assert len(shown) + sum(one.runs for one in more) == len(tree)
        assert all(one.runs >= one.children > 0 for one in more)
        ids = {node.record.id for node in shown}
        assert {node.record.id for node in tree if node.record.status != "succeeded"} <= ids
        assert all(node.record.parent_id in ids for node in shown[1:])
        assert [node.record.id for node in tree if node.record.id in ids] == [node.record.id for node in shown]
    assert len(coarser) <= len(told)


def test_names_do_not_matter_where_every_one_has_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(excerpts, "_TOO_LARGE", 2_500)
    top = record()
    found = Read(drawn(grow(top, [below(top, name=f"item {number}") for number in range(3_000)])))
    assert "… 2,980 more succeeded" in found.text
    assert Counter(name for name, *_ in found.skeleton)["details"] == 21


# The waterfall --------------------------------------------------------------------------------------------------------

times = st.none() | st.datetimes(datetime(2020, 1, 1), datetime(2027, 1, 1), timezones=st.just(UTC))


@st.composite
def timed(draw: st.DrawFn) -> Tree:
    runs = [record(started_at=draw(times), ended_at=draw(times), last_event_at=draw(times), status=draw(statuses))]
    for _ in range(draw(st.integers(0, 5))):
        process = ProcessRecord(id="a" * 32, state=draw(st.sampled_from(["alive", "dead", "unknown"])))
        elapsed = draw(st.none() | st.timedeltas(timedelta(-5), timedelta(days=5)))
        status, start, end, last = draw(statuses), draw(times), draw(times), draw(times)
        moments = {"started_at": start, "ended_at": end, "last_event_at": last}
        runs.append(below(runs[0], **moments, status=status, elapsed=elapsed, process=process))
    return grow(runs[0], runs[1:])


@given(timed())
def test_a_bar_lies_within_the_whole_or_is_not_there(tree: Tree) -> None:
    waterfall = Waterfall(tree, NOW)
    for node in tree:
        bar = waterfall.bar(node.record)
        assert bar is None or (0 <= bar.left <= 100 and 0 <= bar.width <= 100.000001 - bar.left)
        assert bar is None or node.record.started_at is not None
    found = Read(drawn(tree))
    for left, width in zip(found.values("x"), found.values("width"), strict=True):
        assert 0 < float(width[:-1]) <= 100.01 - float(left[:-1])


def test_a_bar_is_where_its_run_was() -> None:
    at = [NOW + timedelta(seconds=second) for second in range(11)]
    top = record(started_at=at[0], ended_at=at[5])
    runs = {
        (20, 20): below(top, started_at=at[2], ended_at=at[4]),
        (50, 50): below(top, started_at=at[5], ended_at=at[10]),  # after the first, as from a queue
        (0, 10): below(top, started_at=at[0] - timedelta(1), ended_at=at[1]),
        (30, 40): below(top, started_at=at[3], ended_at=at[0], elapsed=timedelta(seconds=4)),  # its clock was set back
        None: below(top, started_at=None, ended_at=at[4]),
    }
    waterfall = Waterfall(grow(top, runs.values()), NOW)
    assert [waterfall.bar(one) for one in runs.values()] == list(runs)
    assert waterfall.bar(top) == (0, 50)


def test_what_runs_has_a_bar_until_now_and_what_is_silent_until_it_was_heard() -> None:
    start, heard = NOW - timedelta(seconds=10), NOW - timedelta(seconds=5)

    def bar(state: Any) -> float:
        process = ProcessRecord(id="a" * 32, state=state)
        top = record(started_at=start, ended_at=NOW)
        run = below(top, status="running", started_at=start, last_event_at=heard, process=process)
        found = Waterfall(grow(top, [run]), NOW).bar(run)
        assert found is not None
        return found.width

    assert (bar("alive"), bar("unknown")) == (100, 50)


def test_clocks_that_disagree_are_told(tmp_path: Path) -> None:
    ends = [event(0, "run.ended", run, status="succeeded", time=T0 + 5_000_000) for run in (CHILD, ROOT)]
    crafted(tmp_path, [started(ROOT, time=T0 + 3_000_000), started(CHILD, time=T0), *ends])
    found = Read(page_of(tmp_path))
    assert " · ⇤ 3.0 s" in found.text
    assert "it claims to have started 3.0 s before the run it hangs from" in found.text
    assert found.values("x") == ["0.00%", "0.00%"]
