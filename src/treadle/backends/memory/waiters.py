"""Who waits in which event loop, and how they are woken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Unpack

from treadle.backends.common.waiting import Awaited, Room, Rooms, Sleeper

__all__ = ["Waiter", "Waiters"]


class Waiter(Sleeper):
    """One coroutine that waits, for queues, for a change of one job, or for room."""

    __slots__ = ("chosen",)

    def __init__(self, **awaited: Unpack[Awaited]) -> None:
        super().__init__(**awaited)
        # Somebody is about to wake it.
        self.chosen = False


class Waiters:
    """All waiters of a store. Used under its lock."""

    def __init__(self) -> None:
        # Who waits for something to claim, for a change of a job, and for room. Each step looks
        # first whether there is anybody.
        self.queues: dict[Waiter, None] = {}
        self.jobs: dict[str, list[Waiter]] = {}
        self.rooms: Rooms[Waiter] = Rooms()
        # To be woken at the end of the step.
        self.chosen: list[Waiter] = []

    def add(self, waiter: Waiter) -> None:
        """Begin to wait."""
        if waiter.room is not None:
            self.rooms.add(waiter)
        elif waiter.job_id is None:
            self.queues[waiter] = None
        else:
            self.jobs.setdefault(waiter.job_id, []).append(waiter)

    def remove(self, waiter: Waiter) -> None:
        """No longer wait. Harmless when it was chosen."""
        if waiter.room is not None:
            self.rooms.remove(waiter)
            return
        self.queues.pop(waiter, None)
        others = self.jobs.get(waiter.job_id) if waiter.job_id is not None else None
        if others is not None and waiter in others:
            others.remove(waiter)
            if not others:
                del self.jobs[waiter.job_id or ""]

    def changed(self, job_id: str, *, ended: bool) -> None:
        """A job changed, or is final now or gone: all who wait for that are woken."""
        patient: list[Waiter] = []
        for waiter in self.jobs.pop(job_id, ()):
            if ended or not waiter.ended:
                self._choose(waiter)
            else:
                patient.append(waiter)
        if patient:
            self.jobs[job_id] = patient

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

    def freed(self, queue: str, has_room: Callable[[Room], bool]) -> None:
        """A job of a queue is over: the next who waits for that is woken, where there is room."""
        for waiter in self.rooms.freed(queue, 1, has_room):
            self._choose(waiter)

    def take(self) -> list[Waiter]:
        """Those to wake now."""
        chosen, self.chosen = self.chosen, []
        return chosen

    def _choose(self, waiter: Waiter) -> None:
        self.queues.pop(waiter, None)
        if not waiter.chosen:
            waiter.chosen = True
            self.chosen.append(waiter)
