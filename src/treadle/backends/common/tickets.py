"""Those who wait for a permit: in which lines, how long, and when they ask again."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.backends.common.lines import hold_line
from treadle.records import Ask, Hold

__all__ = ["AHEAD_MOST", "TURN", "asked_lines", "kept_until", "turn_delay"]

TURN = 0.05
"""Seconds after which a request asks again, for each place that it is from the head."""
_TURN_MAX = 1.0
_PATIENCE = 5.0
"""Seconds for which a ticket is kept at the least when nobody asks with it."""
AHEAD_MOST = int(_TURN_MAX / TURN)
"""Those before a request of whom it does not matter how many more they are."""


def asked_lines(asks: Iterable[Ask]) -> list[str]:
    """The lines in which a request waits."""
    return sorted({_line(ask) for ask in asks})


def _line(ask: Ask) -> str:
    return hold_line(ask.key) if isinstance(ask, Hold) else f"rate:{ask.key}"


def turn_delay(ahead: int) -> float:
    """Seconds after which a request asks again that has so many before it."""
    return min(_TURN_MAX, TURN * ahead)


def kept_until(now: float, delay: float) -> float:
    """When a ticket leaves its lines with which nobody asks."""
    return now + max(_PATIENCE, 2 * delay)
