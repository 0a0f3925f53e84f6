"""Who waits in which event loop, and how they are woken."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from treadle.backends.common.names import Matcher
from treadle.backends.common.waiting import Sleeper

__all__ = ["Waiter", "Waiters", "rouse"]


class Waiter(Sleeper):
    """One coroutine that waits, for queues or for a change of one job."""

    __slots__ = ("chosen",)

    def __init__(self, *, matcher: Matcher | None = None, job_id: str | None = None) -> None:
        super().__init__(matcher=matcher, job_id=job_id)
        # Somebody is about to wake it.
        self.chosen = False


class Waiters:
    """All waiters of a store. Used under its lock."""

    def __init__(self) -> None:
        # Who waits for something to claim, and for a change of a job. Each step looks first
        # whether there is anybody.
        self.queues: dict[Waiter, None] = {}
        self.jobs: dict[str, list[Waiter]] = {}
        self._chosen: list[Waiter] = []

    def add(self, waiter: Waiter) -> None:
        """Begin to wait."""
        if waiter.job_id is None:
            self.queues[waiter] = None
        else:
            self.jobs.setdefault(waiter.job_id, []).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        """No longer wait. Harmless when it was chosen."""
        self.queues.pop(waiter, None)
        others = self.jobs.get(waiter.job_id) if waiter.job_id is not None else None
        if others is not None and waiter in others:
            others.remove(waiter)
            if not others:
                del self.jobs[waiter.job_id or ""]

    def changed(self, job_id: str) -> None:
        """A job changed: all who wait for that are woken."""
        for waiter in self.jobs.pop(job_id, ()):
            self._choose(waiter)

    def stirred(self, queue: str, jobs: int = 1) -> None:
        """So many jobs can be claimed: as many waiters are woken, the longest waiting first."""
        for waiter in tuple(self.queues):
            if jobs <= 0:
                break
            if waiter.matcher is None or waiter.matcher.place(queue) is not None:
                self._choose(waiter)
                jobs -= 1

    def all_queues(self) -> None:
        """Something changed that each has to look at: a rule, or when the next job is due."""
        for waiter in tuple(self.queues):
            self._choose(waiter)

    def take(self) -> list[Waiter]:
        """Those to wake now."""
        chosen, self._chosen = self._chosen, []
        return chosen

    def _choose(self, waiter: Waiter) -> None:
        self.queues.pop(waiter, None)
        if not waiter.chosen:
            waiter.chosen = True
            self._chosen.append(waiter)


def rouse(waiters: Iterable[Waiter]) -> None:
    """Wake them, each in its own loop."""
    try:
        here = asyncio.get_running_loop()
    except RuntimeError:
        here = None
    for waiter in waiters:
        if waiter.loop is here:
            waiter.wake()
            continue
        try:
            waiter.loop.call_soon_threadsafe(waiter.wake)
        except RuntimeError:  # its loop was closed with the waiter in it
            continue
