"""Limits as one pure machine: rates, slots, and a line in front of each key.

Everything that is asked for is granted together or not at all, first come first served: whoever
comes later and wants one of the same keys waits behind, also when less would do for it. So what
is large is not starved by what is small, and what shares no key does not wait.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from treadle.policies.rates import State, spent
from treadle.policies.spending import Rates
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask, Hold, Spend

__all__ = ["Count", "KeyState", "Turnstile", "Waiting"]


class Waiting:
    """A request that stands in the lines of all its keys."""

    __slots__ = ("asks", "keys", "number", "ticket")

    def __init__(self, number: int, asks: tuple[Ask, ...]) -> None:
        # Order of arrival.
        self.number = number
        self.asks = asks
        self.keys = tuple(ask.key for ask in asks)
        self.ticket = Ticket(id=str(number))


class KeyState(msgspec.Struct, frozen=True, kw_only=True):
    """One key in numbers."""

    # Units held, or those of a rate that still count.
    used: float = 0.0
    # Requests in its line.
    waiting: int = 0


class Count(NamedTuple):
    """Everything that a turnstile has counted."""

    # The states of the rates, and what was asked of them last.
    spent: dict[str, tuple[State, Spend]]
    # What was granted and not released, and when.
    held: list[tuple[Permit, float]]
    # Who waits, in order of arrival.
    waiting: list[Waiting]


class Turnstile:
    """The state of limits. One thread at a time; it reads no clock and never waits."""

    __slots__ = (
        "_arrivals",
        "_held",
        "_lines",
        "_permits",
        "_places",
        "_rates",
        "_stirred",
        "_used",
    )

    def __init__(self) -> None:
        self._rates = Rates()
        self._used: dict[str, int] = {}
        self._lines: dict[str, OrderedDict[int, Waiting]] = {}
        self._places: dict[str, Waiting] = {}
        # Permits by their id, and when they were granted.
        self._held: dict[str, tuple[Permit, float]] = {}
        self._permits = 0
        self._arrivals = 0
        self._stirred: dict[str, Waiting] = {}

    # ------------------------------------------------------------- verbs

    def acquire(self, asks: tuple[Ask, ...], now: float, ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none.

        ``Wait.delay`` is exact for a rate, and without end for what only a change can bring: who
        has the ticket is named by :meth:`turns` then.
        """
        place = self._places.get(ticket.id) if ticket is not None else None
        delay = math.inf if self._is_behind(asks, place) else self._short(asks, now)
        if delay <= 0:
            if place is not None:
                self._leave(place)
            return self._grant(asks, now)
        if place is None:
            place = self._line_up(asks)
        return Wait(delay=delay, ticket=place.ticket)

    def release(self, permit: Permit, now: float, *, unused: bool = False) -> None:
        """Free what is held; with ``unused`` what was spent is given back, too. Harmless twice."""
        held = self._held.pop(permit.id, None)
        if held is None:
            return
        for ask in held[0].asks:
            if isinstance(ask, Hold):
                self._free(ask)
            elif unused:
                self._rates.adjust(ask, 0.0, now, held[1])
        self._stir(held[0].asks)

    def adjust(self, permit: Permit, used: Mapping[str, float], now: float) -> None:
        """Settle the real cost of rates, by key."""
        held = self._held.get(permit.id)
        since = None if held is None else held[1]
        for ask in permit.asks:
            if isinstance(ask, Spend) and ask.key in used:
                self._rates.adjust(ask, used[ask.key], now, since)
        self._stir(permit.asks)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        place = self._places.get(ticket.id)
        if place is not None:
            self._leave(place)

    def turns(self) -> Iterable[str]:
        """Ids of the tickets that should ask again, for something has changed before them."""
        stirred, self._stirred = self._stirred, {}
        return stirred

    # ------------------------------------------------------------- to look at, and to move

    def look(self, asks: Iterable[Ask], now: float) -> dict[str, KeyState]:
        """What counts for the keys of these asks."""
        states: dict[str, KeyState] = {}
        for ask in asks:
            used: float = self._used.get(ask.key, 0)
            if isinstance(ask, Spend):
                state, spend = self._rates.state(ask)
                used = spent(state, now, spend)
            states[ask.key] = KeyState(used=used, waiting=len(self._lines.get(ask.key, ())))
        return states

    @property
    def count(self) -> Count:
        """All of it, for another to go on with."""
        return Count(
            spent=self._rates.states(),
            held=list(self._held.values()),
            waiting=sorted(self._places.values(), key=lambda place: place.number),
        )

    # ------------------------------------------------------------- steps

    def _is_behind(self, asks: Sequence[Ask], place: Waiting | None) -> bool:
        if not self._lines:
            return False
        keys = [ask.key for ask in asks] if place is None else place.keys
        for key in keys:
            line = self._lines.get(key)
            if line is not None and next(iter(line.values())) is not place:
                return True
        return False

    def _short(self, asks: Sequence[Ask], now: float) -> float:
        """Spend the rates if everything conforms; else the seconds after which it may."""
        spends: list[Spend] = []
        for ask in asks:
            if isinstance(ask, Spend):
                spends.append(ask)
            elif self._used.get(ask.key, 0) + min(ask.units, ask.slots) > ask.slots:
                return math.inf
        return self._rates.spend(spends, now, book_ahead=False) - now if spends else 0.0

    def _grant(self, asks: tuple[Ask, ...], now: float) -> Granted:
        for ask in asks:
            if isinstance(ask, Hold):
                self._used[ask.key] = self._used.get(ask.key, 0) + min(ask.units, ask.slots)
        self._permits += 1
        permit = Permit(id=str(self._permits), asks=asks, who="", fence=self._permits)
        self._held[permit.id] = (permit, now)
        return Granted(permit=permit)

    def _free(self, ask: Hold) -> None:
        left = self._used[ask.key] - min(ask.units, ask.slots)
        if left:
            self._used[ask.key] = left
        else:
            del self._used[ask.key]

    def _line_up(self, asks: tuple[Ask, ...]) -> Waiting:
        self._arrivals += 1
        place = Waiting(self._arrivals, asks)
        self._places[place.ticket.id] = place
        for key in place.keys:
            self._lines.setdefault(key, OrderedDict())[place.number] = place
        return place

    def _leave(self, place: Waiting) -> None:
        del self._places[place.ticket.id]
        self._stirred.pop(place.ticket.id, None)
        for key in place.keys:
            line = self._lines[key]
            del line[place.number]
            if not line:
                del self._lines[key]
        self._stir(place.asks)

    def _stir(self, asks: Sequence[Ask]) -> None:
        for ask in asks:
            line = self._lines.get(ask.key)
            if line is not None:
                first = next(iter(line.values()))
                self._stirred[first.ticket.id] = first
