"""What an error says of when to come back, as rate-limited services do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from treadle.durations import seconds
from treadle.errors import InvalidOption

__all__ = ["retry_after"]


def retry_after(error: BaseException, now: float, most: float) -> float | None:
    """Seconds to wait as the error asks for, at most ``most``; ``None`` when it says nothing.

    Read are its ``retry_after`` (seconds, a ``timedelta``, a datetime or text), then the header
    ``Retry-After`` (seconds or an HTTP date) of its ``headers`` or of its ``response``, where
    the errors of HTTP clients have it. ``now`` is the calendar's, since the Unix epoch.

    What cannot be understood counts as not said: the error is a guest's, and must not hide
    what it reports.
    """
    for said in _said(error):
        delay = _delay(said, now)
        if delay is not None:
            return min(delay, most)
    return None


def _said(error: BaseException) -> list[Any]:
    response = _get(error, "response")
    return [
        _get(error, "retry_after"),
        _header(_get(error, "headers")),
        _header(_get(response, "headers")),
    ]


def _get(thing: Any, name: str) -> Any:
    try:
        return getattr(thing, name, None)
    except Exception:  # noqa: BLE001 - properties of some clients raise where there is nothing
        return None


def _header(headers: Any) -> Any:
    # The headers of HTTP clients ignore case; a plain dictionary does not.
    get = _get(headers, "get")
    if not callable(get):
        return None
    return get("Retry-After") or get("retry-after")


def _delay(said: Any, now: float) -> float | None:
    if isinstance(said, str):
        said = _text(said)
    if isinstance(said, datetime):
        # Dates in HTTP are in UTC whether they say so or not.
        aware = said if said.utcoffset() is not None else said.replace(tzinfo=UTC)
        return max(0.0, aware.timestamp() - now)
    if not isinstance(said, int | float | timedelta):
        return None
    try:
        return seconds(said, "retry_after")
    except InvalidOption:
        return None


def _text(said: str) -> float | datetime | None:
    try:
        return seconds(said, "retry_after")
    except InvalidOption:
        pass
    from email.utils import parsedate_to_datetime

    try:
        return parsedate_to_datetime(said)
    except ValueError:
        return None
