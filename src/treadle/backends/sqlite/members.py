"""The queues under a name that have something in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

from treadle.backends.sqlite.tx import Reading
from treadle.queuenames import ALL

__all__ = ["any_occupied", "occupied"]

_WINDOW = 1000
"""Queues under one name that a claim looks at; more would not get a place."""


def occupied(
    reading: Reading,
    pattern: str,
    state: int,
    allowed: Callable[[str], bool],
    last: str | None = None,
) -> dict[str, int]:
    """Allowed queues under a name that have jobs in a state, with the number of these.

    At most ``_WINDOW``; when there are more, those after ``last``, going round at the end.
    """
    found: dict[str, int] = {}
    for queue, n in _under(reading, pattern, state, ""):
        if allowed(queue):
            found[queue] = n
            if len(found) > _WINDOW:
                return _around(reading, pattern, state, allowed, last or "")
    return found


def any_occupied(
    reading: Reading, pattern: str, state: int, allowed: Callable[[str], bool]
) -> tuple[bool, int]:
    """Whether there is such a queue, and how many were looked at to know."""
    looked = 0
    for queue, _ in _under(reading, pattern, state, ""):
        looked += 1
        if allowed(queue):
            return True, looked
    return False, looked


def _around(
    reading: Reading, pattern: str, state: int, allowed: Callable[[str], bool], last: str
) -> dict[str, int]:
    after = _under(reading, pattern, state, last)
    first = _under(reading, pattern, state, "")
    found: dict[str, int] = {}
    for queue, n in chain(after, first):
        if queue in found:
            break
        if allowed(queue):
            found[queue] = n
            if len(found) == _WINDOW:
                break
    return found


def _under(reading: Reading, pattern: str, state: int, start: str) -> Iterator[tuple[str, int]]:
    """The queues after ``start`` that have jobs in a state, by name, with their numbers."""
    if pattern != ALL and start < pattern:
        own = reading.one("occupied_one", state, pattern)
        if own is not None:
            yield pattern, own[0]
    low = start if pattern == ALL else max(start, pattern + ".")
    while True:
        if pattern == ALL:
            page = reading.run("occupied", state, low, _WINDOW).fetchall()
        else:
            page = reading.run("occupied_under", state, low, pattern + "/", _WINDOW).fetchall()
        yield from page
        if len(page) < _WINDOW:
            return
        low = page[-1][0]
