"""Who waits in this process, for something to claim or for a change of a job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable

import msgspec

from treadle.backends.common.names import Matcher
from treadle.backends.common.waiting import Sleeper

__all__ = ["Hub", "Notice", "Waiter"]


class Notice(msgspec.Struct, frozen=True, array_like=True):
    """What a commit means to those who wait."""

    # Queues that got something to claim.
    ready: tuple[str, ...] = ()
    # Ids of jobs that changed; ``None`` when it may be any.
    changed: tuple[str, ...] | None = ()
    # The earliest instant at which something new will be due or lapse.
    earliest: float | None = None
    # A rule changed: look again.
    stirred: bool = False


class Waiter(Sleeper):
    """One coroutine that waits."""

    __slots__ = ("look_at", "ready")

    def __init__(self, *, matcher: Matcher | None = None, job_id: str | None = None) -> None:
        super().__init__(matcher=matcher, job_id=job_id)
        # When it will look again by itself.
        self.look_at = 0.0
        # Something to claim was announced; else it only has to look again.
        self.ready = False


class Hub:
    """All who wait in this process; used by any thread.

    Args:
        busy: told whether anybody waits, when that changes; so that others are only listened
            to as long as somebody cares.
    """

    def __init__(self, busy: Callable[[bool, bool], object]) -> None:
        self._lock = threading.Lock()
        self._busy = busy
        self._queues: set[Waiter] = set()
        self._jobs: dict[str, set[Waiter]] = {}

    def add(self, waiter: Waiter) -> None:
        """Begin to wait."""
        with self._lock:
            if waiter.job_id is None:
                self._queues.add(waiter)
            else:
                self._jobs.setdefault(waiter.job_id, set()).add(waiter)
        self._busy(bool(self._queues), bool(self._jobs))

    def remove(self, waiter: Waiter) -> None:
        """No longer wait."""
        with self._lock:
            self._queues.discard(waiter)
            others = self._jobs.get(waiter.job_id) if waiter.job_id is not None else None
            if others is not None and waiter.job_id is not None:
                others.discard(waiter)
                if not others:
                    del self._jobs[waiter.job_id]
        self._busy(bool(self._queues), bool(self._jobs))

    @property
    def watching(self) -> bool:
        """Whether anybody waits for a change of a job."""
        return bool(self._jobs)

    @property
    def idle(self) -> bool:
        """Whether nobody waits for anything."""
        return not self._queues and not self._jobs

    def tell(self, notice: Notice) -> None:
        """Wake those whom it concerns."""
        if self.idle:
            return
        with self._lock:
            woken = [waiter for waiter in self._queues if _concerns(waiter, notice)]
            if notice.changed is None:
                for waiters in self._jobs.values():
                    woken += waiters
            elif self._jobs:
                for job_id in notice.changed:
                    woken += self._jobs.get(job_id, ())
        _rouse(woken)

    def wake_loop(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """Wake all who wait in a loop, or everywhere, because it closes."""
        with self._lock:
            waiters = [*self._queues, *(one for some in self._jobs.values() for one in some)]
        for waiter in waiters:
            waiter.ready = True
        _rouse(waiter for waiter in waiters if loop is None or waiter.loop is loop)


def _concerns(waiter: Waiter, notice: Notice) -> bool:
    matcher = waiter.matcher
    if matcher is not None and any(matcher.place(name) is not None for name in notice.ready):
        waiter.ready = True
        return True
    if notice.stirred or notice.changed is None:
        return True
    return notice.earliest is not None and notice.earliest < waiter.look_at


def _rouse(waiters: Iterable[Waiter]) -> None:
    for waiter in waiters:
        try:
            waiter.loop.call_soon_threadsafe(waiter.wake)
        except RuntimeError:  # its loop was closed with the waiter in it
            continue
