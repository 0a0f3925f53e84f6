"""Who waits in this process, for something to claim, for a change of a job, or for room."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping
from typing import Unpack

import msgspec

from treadle.backends.common.waiting import Awaited, Rooms, Sleeper, rouse

__all__ = ["Hub", "Notice", "Waiter"]


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """What a commit means to those who wait."""

    # Queues that got something to claim.
    ready: tuple[str, ...] = ()
    # Ids of jobs that changed and have not ended; ``None`` when any may have changed or ended.
    changed: tuple[str, ...] | None = ()
    # Ids of jobs that are final now, or gone.
    ended: tuple[str, ...] = ()
    # The earliest instant at which something new will be due or lapse.
    earliest: float | None = None
    # A rule changed: look again.
    stirred: bool = False
    # Queues that hold fewer jobs that are not final, and by how many.
    freed: Mapping[str, int] = {}


class Waiter(Sleeper):
    """One coroutine that waits."""

    __slots__ = ("look_at", "ready")

    def __init__(self, **awaited: Unpack[Awaited]) -> None:
        super().__init__(**awaited)
        # When it will look again by itself.
        self.look_at = 0.0
        # What it waits for was announced; else it only has to look again.
        self.ready = False


def _nothing(queues: bool, jobs: bool, rooms: bool) -> None:
    """Nobody has to know."""


class Hub:
    """All who wait in this process; used by any thread.

    Args:
        busy: told whether anybody waits for queues, jobs and room, when that changes; for those
            who listen to others only as long as somebody cares.
    """

    def __init__(self, busy: Callable[[bool, bool, bool], object] = _nothing) -> None:
        self._lock = threading.Lock()
        self._busy = busy
        self._queues: set[Waiter] = set()
        self._jobs: dict[str, set[Waiter]] = {}
        self._rooms: Rooms[Waiter] = Rooms()
        # Another number after every notice.
        self.notices = 0

    def add(self, waiter: Waiter) -> None:
        """Begin to wait."""
        with self._lock:
            if waiter.room is not None:
                self._rooms.add(waiter)
            elif waiter.job_id is None:
                self._queues.add(waiter)
            else:
                self._jobs.setdefault(waiter.job_id, set()).add(waiter)
        self._told()

    def remove(self, waiter: Waiter) -> None:
        """No longer wait."""
        with self._lock:
            if waiter.room is not None:
                self._rooms.remove(waiter)
            self._queues.discard(waiter)
            others = self._jobs.get(waiter.job_id) if waiter.job_id is not None else None
            if others is not None and waiter.job_id is not None:
                others.discard(waiter)
                if not others:
                    del self._jobs[waiter.job_id]
        self._told()

    def give_up(self, waiter: Waiter) -> None:
        """No longer wait for room, also when it was told of some and has not looked at it."""
        with self._lock:
            woken = self._rooms.give_up(waiter)
        rouse(woken)
        self._told()

    def _told(self) -> None:
        self._busy(bool(self._queues), bool(self._jobs), bool(self._rooms.lines))

    @property
    def watching(self) -> bool:
        """Whether anybody waits for a change of a job."""
        return bool(self._jobs)

    @property
    def short_of_room(self) -> bool:
        """Whether anybody waits for room."""
        return bool(self._rooms.lines)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not (self._queues or self._jobs or self._rooms.lines)

    def tell(self, notice: Notice) -> None:
        """Wake those whom it concerns."""
        self.notices += 1
        if self.idle:
            return
        with self._lock:
            woken = [waiter for waiter in self._queues if _concerns(waiter, notice)]
            if notice.changed is None:
                for waiters in self._jobs.values():
                    woken += waiters
            elif self._jobs:
                for job_id in notice.changed:
                    woken += [one for one in self._jobs.get(job_id, ()) if not one.ended]
                for job_id in notice.ended:
                    for waiter in self._jobs.get(job_id, ()):
                        waiter.ready = True
                        woken.append(waiter)
            if self._rooms.lines:
                woken += self._roomy(notice)
        rouse(woken)

    def _roomy(self, notice: Notice) -> list[Waiter]:
        """Who may have room now, or has to look again."""
        woken = [one for one in self._rooms.everybody() if _is_stale(one, notice)]
        for queue, places in notice.freed.items():
            woken += self._rooms.freed(queue, places)
        return woken

    def wake_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Wake all who wait in a loop, or everywhere, because it closes."""
        with self._lock:
            watching = (one for some in self._jobs.values() for one in some)
            waiters = [*self._queues, *watching, *self._rooms.everybody()]
        for waiter in waiters:
            waiter.ready = True
        rouse(waiter for waiter in waiters if loop is None or waiter.loop is loop)


def _concerns(waiter: Waiter, notice: Notice) -> bool:
    matcher = waiter.matcher
    if matcher is not None and any(matcher.place(name) is not None for name in notice.ready):
        waiter.ready = True
        return True
    return notice.stirred or _is_stale(waiter, notice)


def _is_stale(waiter: Waiter, notice: Notice) -> bool:
    """Whether what it saw when it last looked may no longer hold."""
    if notice.changed is None:
        return True
    return notice.earliest is not None and notice.earliest < waiter.look_at
