"""Calls that wait behind a long one move to a worker that has nothing to do: work stealing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, cast

from treadle.pools.places.place import Place

if TYPE_CHECKING:
    from treadle.pools.crew import Crew

__all__ = ["Lender", "Stealing"]

# Seconds between two looks. A call is moved when its worker has not got on from one to the next:
# to be moved costs as much as some calls take.
_PACE = 0.002
# So many times what a worker did between two looks must wait for it: it would take too long alone.
_FAR = 4


class Lender(Place, Protocol):
    """A place whose waiting calls others may take over."""

    @property
    def is_free(self) -> bool:
        """Whether it would begin another call at once."""
        ...

    def pulse(self) -> tuple[int, int]:
        """The process that carries out its calls, and how many that has begun."""
        ...

    def pass_to(self, other: Place, most: int) -> int:
        """Have another one carry out the oldest calls that have not begun; how many those are."""
        ...

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do something after a time, in a thread that holds no place's lock."""
        ...


class Stealing:
    """Moves calls between workers that are alike, each of which has a line of its own.

    Nobody looks while all workers are busy, or while nothing waits.

    Args:
        crew: the workers.
    """

    def __init__(self, crew: Crew) -> None:
        self._crew = crew
        self._slots = crew.options.slots
        self._lock = threading.Lock()
        # A look is due.
        self._due = False
        # Where calls waited at the last look, and how far those workers were.
        self._seen: dict[Lender, tuple[int, int]] = {}
        # A worker may have nothing to do; False once a look has found all of them busy.
        self.free = False

    def idle(self) -> None:
        """A worker has nothing to do from now on, or could do more."""
        self.free = True
        self.notice()

    def notice(self) -> None:
        """Look in a moment whether calls wait in vain, if any do."""
        if self._due:
            return
        for place in cast("list[Lender]", self._crew.places):
            if place.active > self._slots:
                with self._lock:
                    due, self._due = self._due, True
                if not due:
                    place.later(_PACE, self._look)
                return

    def _look(self) -> None:
        # In this order: who is free, or has calls that wait, from here on says so once more.
        self._due = self.free = False
        with self._crew.still() as still:
            again = still is None or self._share(cast("Sequence[Lender]", still))
        if again:
            self.idle()

    def _share(self, places: Sequence[Lender]) -> bool:
        """Move what can be moved; whether a worker was left without."""
        free = [one for one in places if one.is_free]
        behind = [one for one in places if self._waiting(one) > 0] if free else []
        stuck = self._stuck(behind)
        left = [one for one in free if not self._relieve(stuck, one)]
        return bool(left)

    def _waiting(self, place: Lender) -> int:
        return place.active - self._slots

    def _stuck(self, behind: list[Lender]) -> list[Lender]:
        """Those that will not get to what waits for them for a while."""
        seen, self._seen = self._seen, {one: one.pulse() for one in behind}
        stuck: list[Lender] = []
        for one in behind:
            child, begun = self._seen[one]
            before = seen.get(one)
            if before is None or before[0] != child:
                continue
            if self._waiting(one) > _FAR * (begun - before[1]):
                stuck.append(one)
        return stuck

    def _relieve(self, stuck: list[Lender], free: Lender) -> bool:
        """Give a free worker half of what waits where most does; False when nothing can move."""
        while stuck:
            most = max(stuck, key=attrgetter("active"))
            if most.pass_to(free, (self._waiting(most) + 1) // 2):
                return True
            stuck.remove(most)
        return False
