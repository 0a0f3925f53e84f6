"""Rates as pure machines: how many units of a key may be spent, and when the next may be.

The stores and the worker door share these functions, so that a rate means the same in both::

    spend(state, now, ask) -> (at, state)     # granted when ``at <= now``, and then booked;
                                              # else ``at`` is when to ask again, state unchanged
    reserve(state, now, ask) -> (at, state)   # books the next place, now or later, always
    adjust(state, now, ask, used, since=None) -> state   # settles the real cost of a spend
    fades(state, ask) -> at                   # from then on the state equals FRESH: drop it
    spent(state, now, ask) -> units           # that count at an instant

``ask`` is a :class:`~treadle.records.Spend`; times are seconds since the Unix epoch, of one
clock. A state is a short tuple of floats, to be stored as it is; ``FRESH`` is that of a key
never used. A state left by another algorithm, or by other numbers of the same one, is
understood or taken as fresh, so a limit can be redeclared while jobs run.

Places are given in the order of the calls: nobody overtakes a place that is reserved. A cost
above what the rate can ever hold is counted as the whole of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from treadle.records import Algorithm, Spend

__all__ = ["FRESH", "SLACK", "State", "adjust", "fades", "reserve", "spend", "spent"]

State = tuple[float, ...]

FRESH: State = ()
"""The state of a key that was never used."""

SLACK = 1e-6
"""Seconds by which a grant may be early: a double counts seconds since 1970 no finer."""

_ROUNDING = 1e-9  # of the capacity, so that ten costs of 0.1 fit into 1


def spend(state: State, now: float, ask: Spend) -> tuple[float, State]:
    """The instant at which ``ask`` conforms, and the state after it if that is now."""
    at, booked = _PLACES[ask.algorithm](state, now, ask)
    return (at, booked) if at <= now else (at, state)


def reserve(state: State, now: float, ask: Spend) -> tuple[float, State]:
    """The instant of the next place for ``ask``, and the state with that place booked."""
    return _PLACES[ask.algorithm](state, now, ask)


def adjust(state: State, now: float, ask: Spend, used: float, since: float | None = None) -> State:
    """The state after a spend of ``ask.cost`` turned out to be one of ``used``.

    What was not used is given back, never beyond a full bucket; what was used above the cost
    becomes debt, which later spends wait for. ``since`` is when the spend was granted: window
    counters then give nothing back for a window that is over.
    """
    return _ADJUSTS[ask.algorithm](state, now, ask, used - min(ask.cost, _capacity(ask)), since)


def fades(state: State, ask: Spend) -> float:
    """The instant from which the state says the same as ``FRESH``."""
    if len(state) != _LENGTHS[ask.algorithm]:
        return -math.inf
    match ask.algorithm:
        case Algorithm.GCRA:
            return state[0] + state[1] * ask.per / ask.count
        case Algorithm.FIXED:
            return _next(state[0], ask.per)
        case _:
            return _next(state[0], ask.per, 2)


def spent(state: State, now: float, ask: Spend) -> float:
    """Units that count at an instant: what can be spent at once is short of them."""
    match ask.algorithm:
        case Algorithm.GCRA:
            return _level(state, now, ask)
        case Algorithm.FIXED:
            start, used = _fixed_now(state, now, ask)
            return ask.count if start > now else used
        case _:
            start, used, before = _sliding_now(state, now, ask)
            return ask.count if start > now else used + before * (1 - (now - start) / ask.per)


def _capacity(ask: Spend) -> float:
    """Units that can be spent at one instant. Only GCRA knows a burst."""
    if ask.algorithm is Algorithm.GCRA and ask.burst is not None:
        return ask.burst
    return ask.count


# GCRA: (since, level). The theoretical arrival time of the literature is ``since + level *
# per / count``; as one double near 1.7e9 it would lose 0.1 µs at every spend, always in the
# same direction, so that a burst of 1,000 is not 1,000. Counted in units it is exact.


def _level(state: State, now: float, ask: Spend) -> float:
    if len(state) != _LENGTHS[Algorithm.GCRA]:
        return 0.0
    since, level = state
    return max(0.0, level - (now - since) * ask.count / ask.per)


def _gcra(state: State, now: float, ask: Spend) -> tuple[float, State]:
    capacity = _capacity(ask)
    level = _level(state, now, ask) + min(ask.cost, capacity)
    excess = level - capacity
    wait = excess * ask.per / ask.count if excess > capacity * _ROUNDING else 0.0
    return (now + wait if wait > SLACK else now), (now, level)


def _gcra_adjust(state: State, now: float, ask: Spend, more: float, since: float | None) -> State:
    return (now, max(0.0, _level(state, now, ask) + more))


# Windows start at multiples of ``per``. Fixed: (start, used) of the latest window that has
# bookings; when that one is ahead, all before it are taken as full.


def _window(now: float, per: float) -> float:
    """Start of the window of ``now``: not after it, and the window of a start is its own."""
    index = float(math.floor(now / per))
    if index * per > now:
        return (index - 1) * per
    return (index + 1) * per if (index + 1) * per <= now else index * per


def _next(start: float, per: float, windows: int = 1) -> float:
    return float(round(start / per) + windows) * per


def _fixed_now(state: State, now: float, ask: Spend) -> tuple[float, float]:
    window = _window(now, ask.per)
    if len(state) != _LENGTHS[Algorithm.FIXED] or state[0] < window:
        return window, 0.0
    return state[0], state[1]


def _fixed(state: State, now: float, ask: Spend) -> tuple[float, State]:
    start, used = _fixed_now(state, now, ask)
    cost = min(ask.cost, ask.count)
    # Debt of one window is paid in the next ones.
    windows = math.ceil((used + cost - ask.count) / ask.count - _ROUNDING)
    if windows > 0:
        start = _next(start, ask.per, windows)
        used = max(0.0, used - windows * ask.count)
    return max(now, start), (start, used + cost)


def _fixed_adjust(state: State, now: float, ask: Spend, more: float, since: float | None) -> State:
    start, used = _fixed_now(state, now, ask)
    if more < 0 and since is not None and _window(since, ask.per) < start:
        return state
    return (start, max(0.0, used + more))


# Sliding: (start, used, before): the latest window that has bookings, and the one before it,
# which counts for the part of it that the last ``per`` seconds still cover.


def _sliding_now(state: State, now: float, ask: Spend) -> tuple[float, float, float]:
    window = _window(now, ask.per)
    if len(state) != _LENGTHS[Algorithm.SLIDING]:
        return window, 0.0, 0.0
    start, used, before = state
    if start >= window:
        return start, used, before
    return window, 0.0, used if _next(start, ask.per) >= window else 0.0


def _sliding(state: State, now: float, ask: Spend) -> tuple[float, State]:
    start, used, before = _sliding_now(state, now, ask)
    cost = min(ask.cost, ask.count)
    least = ask.count * _ROUNDING
    # Nothing is left in this window, or only at its very end, which is the next one.
    while (free := ask.count - used - cost) < -least or (free <= least and before > 0):
        start, used, before = _next(start, ask.per), 0.0, used
    # Parts of a unit add up to a little more than all there is.
    at = start + ask.per * (1 - free / before) if before > max(free, 0.0) else start
    return (at if at > now + SLACK else now), (start, used + cost, before)


def _sliding_adjust(
    state: State, now: float, ask: Spend, more: float, since: float | None
) -> State:
    start, used, before = _sliding_now(state, now, ask)
    if more < 0 and since is not None and _window(since, ask.per) < start:
        return (start, used, max(0.0, before + more))
    return (start, max(0.0, used + more), before)


_Place = Callable[[State, float, Spend], tuple[float, State]]
_Adjust = Callable[[State, float, Spend, float, float | None], State]

_LENGTHS = {Algorithm.GCRA: 2, Algorithm.FIXED: 2, Algorithm.SLIDING: 3}
_PLACES: dict[Algorithm, _Place] = {
    Algorithm.GCRA: _gcra,
    Algorithm.FIXED: _fixed,
    Algorithm.SLIDING: _sliding,
}
_ADJUSTS: dict[Algorithm, _Adjust] = {
    Algorithm.GCRA: _gcra_adjust,
    Algorithm.FIXED: _fixed_adjust,
    Algorithm.SLIDING: _sliding_adjust,
}
