"""The deadlines of many attempts with one timer.

Nearly all attempts end long before their deadline, so what must be cheap is to set one and to
take it back: two operations on a dict, where a timer of the event loop costs an object and a
place in a heap until it would have fired. Deadlines that fall into the same hundredth of a second
share a slot (the hashed timing wheel of Varghese and Lauck, 1987, without the wheel).
"""

from __future__ import annotations

from collections.abc import Callable

from treadle.clock import Clock, Timer
from treadle.foreman.running import Running

__all__ = ["Deadlines"]

_PER_SECOND = 100


class Deadlines:
    """Calls back for each attempt that is still there at its deadline, a hundredth late at most.

    Args:
        clock: its monotonic reading is what deadlines are in.
        passed: told of each attempt whose deadline has passed.
    """

    def __init__(self, clock: Clock, passed: Callable[[Running], None]) -> None:
        self._clock = clock
        self._passed = passed
        # Those of a slot in the order in which they came, as keys.
        self._slots: dict[int, dict[Running, None]] = {}
        self._timer: Timer | None = None
        self._armed = 0

    def add(self, job: Running, deadline: float) -> None:
        """Watch an attempt."""
        slot = int(deadline * _PER_SECOND) + 1
        jobs = self._slots.get(slot)
        if jobs is None:
            jobs = self._slots[slot] = {}
            if self._timer is None or slot < self._armed:
                self._arm(slot)
        jobs[job] = None
        job.slot = slot

    def discard(self, job: Running) -> None:
        """Watch it no longer. Harmless when it is not watched."""
        jobs = self._slots.get(job.slot)
        if jobs is not None:
            jobs.pop(job, None)
            # An empty one that was once large keeps its memory.
            if not jobs:
                del self._slots[job.slot]

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._armed = slot
        delay = max(0.0, slot / _PER_SECOND - self._clock.monotonic())
        self._timer = self._clock.call_later(delay, self._fire)

    def _fire(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        for slot in sorted(slot for slot in self._slots if slot / _PER_SECOND <= now):
            for job in self._slots.pop(slot):
                self._passed(job)
        if self._slots:
            self._arm(min(self._slots))

    def close(self) -> None:
        """Watch nothing any more."""
        self._slots.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
