"""The queues under a name that have something in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from treadle.backends.common.names import ALL
from treadle.backends.sqlite.tx import Reading

__all__ = ["occupied"]

_WINDOW = 1000
"""Queues under one name that a claim looks at; more would not get a place."""


def occupied(
    reading: Reading,
    pattern: str,
    state: int,
    allowed: Callable[[str], bool],
    last: str | None = None,
) -> dict[str, int]:
    """Allowed queues under a name that have jobs in a state, from the one after ``last`` on.

    At most ``_WINDOW``, going round at the end; with the number of their jobs.
    """
    found: dict[str, int] = {}
    for queue, n in _around(reading, pattern, state, last):
        if queue in found:
            break
        if allowed(queue):
            found[queue] = n
            if len(found) == _WINDOW:
                break
    return found


def _around(
    reading: Reading, pattern: str, state: int, last: str | None
) -> Iterator[tuple[str, int]]:
    start = last or ""
    yield from _after(reading, pattern, state, start)
    if start:
        yield from _after(reading, pattern, state, "")


def _after(reading: Reading, pattern: str, state: int, start: str) -> Iterator[tuple[str, int]]:
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
