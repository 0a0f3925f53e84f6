"""Up to when everything has been seen or removed, and where the next claim may begin.

The index of a queue keeps what was claimed, that of the leases what was settled, and those of what
runs out what was removed, until they are vacuumed, which somebody's long transaction may put off
for hours. To begin at the head of an index takes longer the more of that is there, so most looks
begin where the last one ended, and one now and then at the head.
"""

from __future__ import annotations

from math import inf

import msgspec

from treadle.clock import Clock

__all__ = ["EVERYTHING", "Near", "Nearby", "Seen", "Since", "Swept"]

_EVERY = 5.0
"""Seconds after which all leases are looked at again."""
_SLACK = 2.0
"""Seconds by which a commit may be later than what it wrote says."""
_RARELY = 60.0
"""Seconds after which all that runs out is looked at again. Nobody sees it any more, so it may stay
for so long that was committed late, or locked by somebody else."""
_LOOKS = 1.0
"""Seconds after which one who only looks has to remove some of what has run out again."""
_SHORT, _LONG = 0.1, 2.0
"""Seconds after which a claim begins at the head again: for so long a job may be passed over by
those behind it. The longer of them where a look takes its time."""
_TIMES = 10
"""How much longer that is than what the last look from the head took."""
_CHEAP = 1000
"""Microseconds that a look from the head may take before the next ones are spared it."""


class Since(msgspec.Struct, frozen=True, gc=False):
    """The instants up to which nothing is left."""

    # Leases that have lapsed.
    lapsed: float = -inf
    # Jobs that were kept long enough.
    kept: float = -inf
    # Tombstones.
    gone: float = -inf


EVERYTHING = Since()
"""Nothing has been seen."""


class Seen:
    """The instant before which no lease has lapsed unseen.

    Args:
        clock: says when to look at all of them again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all = -inf
        self._until = -inf

    def since(self) -> float:
        """The instant; minus infinity when all are to be looked at."""
        return -inf if self._clock.monotonic() - self._all > _EVERY else self._until

    def saw(self, now: float) -> None:
        """Nothing had lapsed by now."""
        if self.since() == -inf:
            self._all = self._clock.monotonic()
        self._until = now - _SLACK


class Swept:
    """The instants up to which what has run out has been removed.

    Args:
        clock: says when to look at all of it again.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._all = self._looked = -inf
        self._until = -inf, -inf

    def asks(self) -> bool:
        """Whether who only looks is to remove some as well; from time to time, lest nobody does."""
        now = self._clock.monotonic()
        if now - self._looked < _LOOKS:
            return False
        self._looked = now
        return True

    def since(self) -> tuple[float, float]:
        """For jobs and for tombstones; minus infinity when all are to be looked at."""
        if self._clock.monotonic() - self._all > _RARELY:
            return -inf, -inf
        return self._until

    def saw(self, kept: float, gone: float) -> None:
        """Nothing is left up to these instants."""
        was = self.since()
        if was == (-inf, -inf):
            self._all = self._clock.monotonic()
        self._until = max(was[0], kept), max(was[1], gone)


class Near(msgspec.Struct, frozen=True):
    """The only queue that had jobs, and up to where it has been served."""

    queue: str | None = None
    rank: int | None = None
    seq: int | None = None


_NOWHERE = Near()


class Nearby:
    """Where a claim of certain names may begin.

    Args:
        clock: says for how long.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._names: object = None
        self._near = _NOWHERE
        self._head = -inf
        # Seconds from then on for which the head is let be.
        self._spared = 0.0

    def of(self, names: object) -> Near:
        """Where it may begin; nowhere for the head."""
        if names != self._names or self._clock.monotonic() - self._head > self._spared:
            return _NOWHERE
        return self._near

    def went(self, names: object, near: Near, cost: int | None) -> None:
        """How a claim went.

        Args:
            names: what it asked for.
            near: where it ended.
            cost: microseconds that it took to look from the head; ``None`` when it did not.
        """
        if cost is not None:
            self._names = names
            self._head = self._clock.monotonic()
            pause = min(_LONG, max(_SHORT, _TIMES * cost / 1e6))
            self._spared = pause if cost > _CHEAP else 0.0
        self._near = near if self._spared else _NOWHERE
