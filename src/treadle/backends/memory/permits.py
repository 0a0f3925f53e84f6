"""What the worker door holds: permits, and tickets of those who wait for one."""

from __future__ import annotations

from heapq import heappop, heappush

from treadle.records import Ask

__all__ = ["Grant", "Permits", "Place"]


class Grant:
    """An acquisition that is held."""

    __slots__ = ("holds", "id", "until")

    def __init__(self, permit_id: str, holds: tuple[tuple[str, int], ...], until: float) -> None:
        self.id = permit_id
        # Names of lines and units of them.
        self.holds = holds
        self.until = until


class Place:
    """A request that waits in the lines of all its keys."""

    __slots__ = ("asks", "id", "lines", "number", "until")

    def __init__(
        self, ticket_id: str, number: int, asks: tuple[Ask, ...], lines: tuple[str, ...]
    ) -> None:
        self.id = ticket_id
        # Order of arrival.
        self.number = number
        self.asks = asks
        self.lines = lines
        # It leaves the lines when it is not used until then.
        self.until = 0.0


class Permits:
    """Grants and places, and when they lapse."""

    def __init__(self) -> None:
        self.fence = 0
        self.arrivals = 0
        self.grants: dict[str, Grant] = {}
        self.places: dict[str, Place] = {}
        # The same list for ever: the store looks at its head.
        self.lapses: list[tuple[float, str]] = []

    def lapse_at(self, until: float, one: str) -> None:
        """Look at a grant or place again at an instant."""
        heappush(self.lapses, (until, one))

    def due(self, now: float) -> Grant | Place | None:
        """A grant or place that has lapsed."""
        while self.lapses and self.lapses[0][0] <= now:
            _, one = heappop(self.lapses)
            found = self.grants.get(one) or self.places.get(one)
            if found is None:
                continue
            if found.until <= now:
                return found
            self.lapse_at(found.until, one)
        return None

    def next(self) -> float | None:
        """When the next may lapse."""
        return self.lapses[0][0] if self.lapses else None
