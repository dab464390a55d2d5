"""`runid find`: what is typed is what is found, and what cannot be meant is told."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id import ROOT, RunRegistry, start_run
from agent_run_id.cli.queries import FIELDS, parsed
from tests.commands import answer, runid


@pytest.fixture
def failed() -> str:
    """The id of a run that failed, in a small forest."""
    with start_run("answer", kind="agent", parent=ROOT, user_id="u42", session_id="s 1", tags=["demo"]):
        with start_run("planner", kind="agent", input="a refund of order 4711"):
            pass
        with suppress(LookupError), start_run("planner", kind="tool", key="item-1") as run:
            raise LookupError("no seat left")
    with start_run("other", kind="agent", parent=ROOT):
        pass
    return run.id.value


def names(*query: str) -> list[str]:
    return [record["name"] for record in json.loads(answer("find", *query, "--json"))]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (["status:failed"], ["planner"]),
        (["status:failed,succeeded", "kind:tool"], ["planner"]),
        (["agent:planner"], ["planner"]),
        (["agent:other"], ["other"]),
        (["kind:agent", "name:planner", "refund"], ["planner"]),
        (["key:item-1"], ["planner"]),
        (["user:u42", "root:yes"], ["answer"]),
        (["session:s 1", "status:failed"], ["planner"]),
        (['session:"s 1"', "status:failed"], ["planner"]),
        (['status:failed session:"s 1" seat'], ["planner"]),
        (["tag:demo"], ["answer"]),
        (["text:no seat"], ["planner"]),
        (["no", "seat"], ["planner"]),
        (['text:"order-4711"'], ["planner"]),
        (['text:"order-4712"'], []),
        (["since:1h", "name:answer"], ["answer"]),
        (["until:1h"], []),
        (["since:today", "until:2999-01-01", "name:other"], ["other"]),
        (["refun*"], ["planner"]),
        (["http://example"], []),
    ],
)
def test_a_query_finds_what_it_says(query: list[str], found: list[str], failed: str) -> None:
    assert names(*query) == found


def test_a_run_is_found_under_another_by_any_reference(failed: str, registry: RunRegistry) -> None:
    top = registry.ancestors(failed)[-1]
    assert sorted(names(f"under:{top.id[:8]}")) == ["planner", "planner"]
    assert names("under:@last") == []
    assert runid("find", "under:nothing").returncode == 5


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (["status:bad"], "'bad' is no status; type running, paused, queued, succeeded, failed, cancelled, lost"),
        (["status:"], "nothing stands behind 'status:'"),
        (["since:soon"], "'soon' is no moment; type 2h"),
        (["root:maybe"], "root takes yes or no"),
        (["name:a", "name:b"], "name: stands there twice"),
        (["wizard:merlin"], "wizard: is neither a field nor the kind of any run; type status:, "),
        (["agent:planner", "kind:tool"], "agent: is neither a field"),
        (["agent:planner", "tool:planner"], "tool: is neither a field"),
        (['name:"a'], "a quotation mark is missing"),
        ([], "find what?"),
    ],
)
def test_what_cannot_be_meant_is_told_with_what_can_be_typed(query: list[str], said: str, failed: str) -> None:
    done = runid("find", *query)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr


def test_more_than_are_listed_are_told(failed: str) -> None:
    done = runid("find", "planner", "--limit", "1", "--order", "oldest")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) == 1
    assert "there are more than these 1; --limit" in done.stderr
    none = runid("find", "nowhere")
    assert (none.returncode, none.stdout, none.stderr) == (0, "", "runid: no run is like that\n")


@given(st.dictionaries(st.sampled_from(["name", "key", "user", "session", "tag", "kind"]), st.text(min_size=1)))
def test_any_value_in_quotes_of_a_query_is_that_value(values: dict[str, str]) -> None:
    def quoted(text: str) -> str:
        return '"{}"'.format(text.replace("\\", "\\\\").replace('"', '\\"'))

    query = parsed([" ".join(f"{name}:{quoted(value)}" for name, value in values.items())] if values else [])
    assert query.conditions == {FIELDS[name][0]: value for name, value in values.items()}


@given(st.lists(st.text(alphabet="abc: \"'x=", min_size=1), max_size=4))
def test_whatever_is_typed_is_understood_or_refused_in_words(arguments: list[str]) -> None:
    try:
        conditions: dict[str, Any] = parsed(arguments).conditions
    except ValueError as error:
        assert len(str(error)) > 20  # noqa: PT017 - either is right
    else:
        assert conditions.keys() <= {argument for argument, _ in FIELDS.values()}


def test_the_latest_root_of_a_status_has_a_name(failed: str, registry: RunRegistry) -> None:
    with suppress(LookupError), start_run("broken", parent=ROOT):
        raise LookupError
    with start_run("good", parent=ROOT):
        pass
    assert [registry.get(ref).name for ref in ("@last", "@last:failed", "@last:succeeded")] == [
        "good",
        "broken",
        "good",
    ]
    for ref in ("@last:lost", "@last:wrong"):
        done = runid("show", ref)
        assert (done.returncode, done.stdout) == (5, "")
        assert f"no root like {ref} is recorded" in done.stderr


def test_utc_shows_times_in_utc_wherever_it_stands(failed: str) -> None:
    today = datetime.now(UTC)
    for arguments in (("--utc", "ls"), ("ls", "--utc")):
        shown = runid(*arguments, TZ="IST-5:30").stdout
        started = datetime.strptime(shown.splitlines()[0][23:42], "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
        assert abs(started - today) < timedelta(minutes=10)
    assert "+0000" in runid("show", "@last", "--utc", TZ="IST-5:30").stdout
    assert "+0530" in runid("show", "@last", TZ="IST-5:30").stdout
