"""Durations and points in time, as people give them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from treadle.errors import InvalidOption

__all__ = ["Duration", "local_deadline", "moment", "seconds", "timestamp"]

Duration = float | int | timedelta | str
"""Seconds, a ``timedelta``, or text such as ``"5m"``, ``"1h30m"``, ``"250ms"``, ``"minute"``."""

_UNITS = {"w": 604800.0, "d": 86400.0, "h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6}
_PART = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|us|w|d|h|m|s)\s*")
_WORDS = re.compile(r"(?<![a-z])(week|day|hour|minute|second)s?(?![a-z])")
_NUMBER = re.compile(r"\s*\d+(?:\.\d+)?\s*")
# A hundred years: clocks, timers and calendars can count so far, and few mean more.
_LONGEST = 36_525 * 86_400.0
# A day from the ends of the calendar, so that they are points in time in every zone.
_FIRST, _LAST = -62_135_510_400.0, 253_402_214_400.0


def seconds(value: Duration, option: str) -> float:
    """A duration in seconds: from 0 to a hundred years.

    Args:
        value: a number of seconds, a ``timedelta``, or text: numbers with the units ``w d h m
            s ms us`` or ``weeks days hours minutes seconds``, larger ones first. Text without a
            unit is in seconds, a unit without a number is one of it.
        option: what the value is for; named by the error.

    Raises:
        InvalidOption: it is something else, negative, longer, infinite or not a number.
    """
    if isinstance(value, str):
        result = _parse(value, option)
    elif isinstance(value, timedelta):
        result = value.total_seconds()
    else:
        result = _float(value, option)
    if math.isnan(result) or math.isinf(result):
        raise _refused(value, option, "is not a finite duration")
    if result < 0:
        raise _refused(value, option, "is negative")
    if result > _LONGEST:
        raise _refused(value, option, "is longer than a hundred years")
    return result


def timestamp(value: datetime, option: str) -> float:
    """Seconds since the Unix epoch of a datetime that knows its time zone.

    Raises:
        InvalidOption: it is naive, so that two machines would read it differently, or it is
            not a datetime.
    """
    if not isinstance(value, datetime):
        raise InvalidOption(
            f"{option}: {value!r} is not a datetime; give one with a time zone, such as "
            "datetime.now(UTC), or use delay= for a duration",
            option=option,
            value=value,
        )
    if value.utcoffset() is None:
        raise InvalidOption(
            f"{option}: {value!r} has no time zone, so machines would read it differently; "
            "add one: datetime(…, tzinfo=UTC), or .astimezone() for local time",
            option=option,
            value=value,
        )
    return value.timestamp()


def moment(at: float) -> datetime:
    """A point in time in UTC. What is beyond the calendar is the end of it."""
    return datetime.fromtimestamp(min(max(at, _FIRST), _LAST), UTC)


def _float(value: Any, option: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _refused(value, option, "is not a duration")
    try:
        return float(value)
    except OverflowError:  # an int of more than 308 digits
        return math.inf


def local_deadline(sent: float, lease: float) -> float:
    """Until when a lease granted by a request sent at ``sent`` is held for certain.

    The store counts from when it serves the request, which is later; the margin is for clocks
    that run at different speeds and for the time it takes to end the code.
    """
    return sent + lease - min(max(1.0, lease / 10), lease / 2)


def _parse(text: str, option: str) -> float:
    if _NUMBER.fullmatch(text):
        return float(text)
    if alone := _WORDS.fullmatch(text.strip()):
        return _UNITS[alone[1][0]]
    given, text = text, _WORDS.sub(lambda word: word[1][0], text)
    total, at, smallest = 0.0, 0, math.inf
    while at < len(text):
        part = _PART.match(text, at)
        if part is None or _UNITS[part[2]] >= smallest:
            break
        smallest = _UNITS[part[2]]
        total += float(part[1]) * smallest
        at = part.end()
    if at < len(text) or not text:
        raise _refused(given, option, "is not a duration")
    return total


def _refused(value: Any, option: str, what: str) -> InvalidOption:
    return InvalidOption(
        f"{option}: {value!r} {what}; give seconds from 0, a timedelta, or text such as "
        "'250ms', '30s', '5m', '1h30m', '2d'",
        option=option,
        value=value,
    )
