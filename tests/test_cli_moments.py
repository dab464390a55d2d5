"""Moments: what a person types for a point in time is the one that was meant, or is refused with what can be typed."""

from __future__ import annotations

import contextlib
import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_run_id.cli.moments import length_of, moment_of

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = datetime(2026, 11, 28, 13, 30, tzinfo=UTC)


@pytest.fixture(params=["UTC", "IST-5:30", "PST8PDT,M3.2.0,M11.1.0"])
def zone(request: pytest.FixtureRequest) -> Iterator[str]:
    """Where the person is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield request.param
    time.tzset()


@pytest.mark.parametrize(
    ("text", "ago"),
    [
        ("45s", timedelta(seconds=45)),
        ("90m", timedelta(minutes=90)),
        ("2h", timedelta(hours=2)),
        (" 3D ", timedelta(days=3)),
        ("2w", timedelta(weeks=2)),
        ("0s", timedelta(0)),
    ],
)
def test_a_length_of_time_is_so_long_ago(text: str, ago: timedelta) -> None:
    assert moment_of(text, NOW) == NOW - ago
    assert length_of(text) == ago


@pytest.mark.usefixtures("zone")
def test_days_and_times_are_those_of_the_clock_on_the_wall() -> None:
    here = NOW.astimezone()
    midnight = here.replace(hour=0, minute=0)
    assert moment_of("today", NOW) == midnight
    assert moment_of("Yesterday", NOW) == midnight - timedelta(days=1)
    assert moment_of("03:14", NOW) == midnight + timedelta(hours=3, minutes=14)
    assert moment_of("03:14:07.5", NOW) == midnight + timedelta(hours=3, minutes=14, seconds=7.5)
    assert moment_of("2026-11-28", NOW) == midnight
    for text in ("2026-11-28T03:14", "2026-11-28 03:14", "2026-11-28t03:14:00"):
        assert moment_of(text, NOW) == midnight + timedelta(hours=3, minutes=14)


@pytest.mark.usefixtures("zone")
def test_the_clock_on_the_wall_is_that_of_the_day_that_is_meant() -> None:
    """In summer it is another than in winter."""
    assert moment_of("2026-07-01", NOW) == datetime(2026, 7, 1).astimezone()


@pytest.mark.usefixtures("zone")
@pytest.mark.parametrize(
    ("text", "zone_of_it"),
    [
        ("2026-11-28T03:14Z", UTC),
        ("2026-11-28t03:14:00z", UTC),
        ("2026-11-28T03:14+01:00", timezone(timedelta(hours=1))),
        ("2026-11-28T03:14:00.000000-0830", timezone(-timedelta(hours=8, minutes=30))),
    ],
)
def test_a_time_with_a_zone_is_the_same_everywhere(text: str, zone_of_it: timezone) -> None:
    assert moment_of(text, NOW) == datetime(2026, 11, 28, 3, 14, tzinfo=zone_of_it)


@given(st.datetimes(min_value=datetime(1970, 1, 2), timezones=st.just(UTC)))
def test_what_json_says_of_a_time_can_be_typed(moment: datetime) -> None:
    assert moment_of(f"{moment:%Y-%m-%dT%H:%M:%S.%f}Z") == moment


@given(st.integers(0, 10**30), st.sampled_from("smhdw"))
def test_what_is_longer_ago_than_anything_was_recorded_is_the_first_moment_there_is(number: int, unit: str) -> None:
    found = moment_of(f"{number}{unit}", NOW)
    assert datetime(1970, 1, 1, tzinfo=UTC) <= found <= NOW


@pytest.mark.parametrize(
    "text",
    ["", "now", "2", "2y", "-2h", "1.5h", "2026", "2026-02-30", "25:00", "3:14", "0314", "2026-W48", "2026-11-28T03",
     "tomorrow", "2026-11-28T03:14 +01:00", "٣d", "2h\n3h", "0001-01-01"],
)  # fmt: skip
def test_what_is_no_moment_is_refused_with_what_can_be_typed(text: str) -> None:
    with pytest.raises(ValueError, match=r"type 2h, 90m, 3d or 2w .*today, yesterday.*2026-11-28T03:14") as caught:
        moment_of(text, NOW)
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["", "today", "2", "2y", "-2h", "03:14"])
def test_what_is_no_length_of_time_is_refused_with_what_can_be_typed(text: str) -> None:
    with pytest.raises(ValueError, match="type 90m, 2h, 30d or 2w"):
        length_of(text)


@given(st.text(max_size=20))
def test_whatever_is_typed_is_a_moment_with_a_zone_or_refused(text: str) -> None:
    found = None
    with contextlib.suppress(ValueError):
        found = moment_of(text, NOW)
    assert found is None or found.tzinfo is not None
