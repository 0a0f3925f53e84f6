"""Durations and points in time, as people give them."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treadle.durations import moment, seconds, timestamp
from treadle.errors import InvalidOption


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0, 0.0),
        (5, 5.0),
        (0.25, 0.25),
        (timedelta(minutes=2), 120.0),
        ("30", 30.0),
        ("1.5", 1.5),
        ("250ms", 0.25),
        ("10us", 1e-5),
        ("5m", 300.0),
        ("1h30m", 5400.0),
        (" 1h 30 m ", 5400.0),
        ("1 hour 30 minutes", 5400.0),
        ("2days", 172800.0),
        ("minute", 60.0),
        (" hours ", 3600.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0),
        ("1w2d3h4m5s6ms", 604800 + 172800 + 10800 + 240 + 5.006),
    ],
)
def test_seconds(value: Any, expected: float) -> None:
    result = seconds(value, "delay")
    assert result == pytest.approx(expected)
    assert type(result) is float


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (-1, "is negative"),
        (timedelta(seconds=-1), "is negative"),
        (math.nan, "is not a finite duration"),
        (math.inf, "is not a finite duration"),
        (10**400, "is not a finite duration"),
        ("1" * 400, "is not a finite duration"),
        (True, "is not a duration"),
        (None, "is not a duration"),
        ([], "is not a duration"),
        ("", "is not a duration"),
        ("  ", "is not a duration"),
        ("soon", "is not a duration"),
        ("m", "is not a duration"),
        ("1 minutely", "is not a duration"),
        ("minute hour", "is not a duration"),
        ("5 parsecs", "is not a duration"),
        ("-5m", "is not a duration"),
        ("5m1h", "is not a duration"),
        ("5m5m", "is not a duration"),
        ("5m x", "is not a duration"),
        ("nan", "is not a duration"),
        (1e300, "is longer than a hundred years"),
        (timedelta.max, "is longer than a hundred years"),
        ("6000w", "is longer than a hundred years"),
    ],
)
def test_what_is_no_duration_is_refused_by_name(value: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says) as caught:
        seconds(value, "delay")
    assert str(caught.value).startswith("delay: ")
    assert "'1h30m'" in str(caught.value)
    assert caught.value.option == "delay"
    assert caught.value.value is value


@given(st.integers(0, 800_000), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_text_and_timedelta_agree(hours: int, minutes: int, secs: int, millis: int) -> None:
    text = f"{hours}h{minutes}m{secs}s{millis}ms"
    delta = timedelta(hours=hours, minutes=minutes, seconds=secs, milliseconds=millis)
    assert seconds(text, "x") == pytest.approx(seconds(delta, "x"))


def test_a_timestamp_does_not_depend_on_the_zone() -> None:
    noon = datetime(2026, 1, 1, 12, tzinfo=UTC)
    assert timestamp(noon, "run_at") == noon.timestamp()
    elsewhere = noon.astimezone(timezone(timedelta(hours=5)))
    assert timestamp(elsewhere, "run_at") == noon.timestamp()


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (datetime(2026, 1, 1), "run_at: .* has no time zone"),  # noqa: DTZ001
        (1767225600, "run_at: 1767225600 is not a datetime"),
    ],
)
def test_a_point_in_time_that_is_not_clear_is_refused(value: Any, says: str) -> None:
    with pytest.raises(InvalidOption, match=says):
        timestamp(value, "run_at")


@pytest.mark.parametrize("at", [1e300, -1e300, 253_402_300_800.0, math.inf])
def test_a_moment_beyond_the_calendar_is_its_end(at: float) -> None:
    assert moment(at).year in (1, 9999)
    for hours in (-14, 14):  # wherever it is looked at
        moment(at).astimezone(timezone(timedelta(hours=hours)))
    assert moment(0.0) == datetime(1970, 1, 1, tzinfo=UTC)
