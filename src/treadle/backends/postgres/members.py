"""The queues under a name that have something in them."""

from __future__ import annotations

from collections.abc import Callable

from treadle.backends.postgres.reading import Reading
from treadle.queuenames import ALL, covers

__all__ = ["any_occupied", "bounds_of", "occupied"]

_WINDOW = 1000
"""Queues under one name that a claim looks at; more would not get a place."""
_LAST = "~"
"""Sorts after every name of a queue."""


def bounds_of(pattern: str) -> tuple[str, str]:
    """Names from the first, up to but without the second, are all that a pattern may cover."""
    return ("", _LAST) if pattern == ALL else (pattern, pattern + "/")


async def occupied(
    reading: Reading,
    pattern: str,
    state: int,
    allowed: Callable[[str], bool],
    last: str | None = None,
) -> list[str]:
    """Allowed queues under a name that have jobs in a state.

    At most ``_WINDOW``; when there are more, those after ``last``, going round at the end.
    """
    found = await _under(reading, pattern, state, "", allowed, most=_WINDOW + 1)
    if len(found) <= _WINDOW:
        return found
    after = await _under(reading, pattern, state, last or "", allowed, most=_WINDOW)
    return list(dict.fromkeys(after + found))[:_WINDOW]


async def any_occupied(
    reading: Reading, pattern: str, state: int, allowed: Callable[[str], bool]
) -> tuple[bool, int]:
    """Whether there is such a queue, and how many were looked at to know."""
    found = await _under(reading, pattern, state, "", allowed, most=1)
    return bool(found), len(found)


async def _under(
    reading: Reading,
    pattern: str,
    state: int,
    start: str,
    allowed: Callable[[str], bool],
    *,
    most: int,
) -> list[str]:
    """So many queues after ``start`` that have jobs in a state, by name."""
    low, high = bounds_of(pattern)
    found: list[str] = []
    if start < low and await reading.look("occupied_one", state, pattern) and allowed(pattern):
        found.append(pattern)
    low = max(low, start)
    if pattern != ALL:
        low = max(low, pattern + ".")
    page = min(most, _WINDOW)
    while len(found) < most:
        names = [name for (name,) in await reading.look("occupied", state, low, high, page)]
        found += [name for name in names if covers(pattern, name) and allowed(name)]
        if len(names) < page:
            break
        low, page = names[-1], _WINDOW
    return found[:most]
