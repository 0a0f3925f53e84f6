"""The rates that have been spent of, of one store or one process."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.policies.rates import FRESH, State, adjust, fades, reserve
from treadle.records import Spend

__all__ = ["Rates"]

_FIRST_SWEEP = 1000


class Rates:
    """The state of each rate by its key."""

    __slots__ = ("_states", "_sweep_at")

    def __init__(self) -> None:
        self._states: dict[str, tuple[State, Spend]] = {}
        self._sweep_at = _FIRST_SWEEP

    def spend(self, asks: Iterable[Spend], now: float, *, book_ahead: bool) -> float:
        """The instant at which all conform.

        They are booked when that is now, or anyhow with ``book_ahead``: then each has its
        place in its rate, and the caller comes back at that instant without asking again.
        """
        at = now
        booked: dict[str, tuple[State, Spend]] = {}
        for ask in asks:
            state = (booked.get(ask.key) or self._states.get(ask.key) or (FRESH, ask))[0]
            instant, state = reserve(state, now, ask)
            booked[ask.key] = (state, ask)
            at = max(at, instant)
        if book_ahead or at <= now:
            self._states.update(booked)
            if len(self._states) > self._sweep_at:
                self._sweep(now)
        return at

    def adjust(self, ask: Spend, used: float, now: float, since: float | None = None) -> None:
        """Settle the real cost of a spend; ``since`` is when it was granted."""
        found = self._states.get(ask.key)
        if found is not None or used > ask.cost:
            state = found[0] if found is not None else FRESH
            self._states[ask.key] = (adjust(state, now, ask, used, since), ask)

    def state(self, ask: Spend) -> tuple[State, Spend]:
        """The state of a key, and what was asked of it last."""
        return self._states.get(ask.key) or (FRESH, ask)

    def states(self) -> dict[str, tuple[State, Spend]]:
        """Everything that is counted: the state of a key, and what was asked of it last."""
        return dict(self._states)

    def _sweep(self, now: float) -> None:
        self._states = {
            key: (state, ask)
            for key, (state, ask) in self._states.items()
            if fades(state, ask) > now
        }
        self._sweep_at = 2 * len(self._states) + _FIRST_SWEEP
