"""Leases kept alive from a thread of their own, so that a blocked event loop loses none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from treadle.clock import Clock
from treadle.durations import local_deadline
from treadle.errors import JobCancelled, LeaseLost
from treadle.failpoints import failpoint
from treadle.foreman.presence import Presence
from treadle.foreman.running import TAKEN_OVER, CutOff, Running
from treadle.foreman.threads import Threads
from treadle.foreman.waits import within
from treadle.foreman.watchdog import Watchdog
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.ports import Backend, Held
from treadle.records import Renewal

__all__ = ["Heartbeat"]

_log = get_logger("treadle.foreman")
_BATCH = 1000


class Heartbeat:
    """Renews all leases of a foreman every third of their time, in its own thread and loop.

    Args:
        backend: the store; this thread gets a client of its own.
        presence: what it keeps up.
        running: gives the leases that are held now; called from this thread.
        loop: of the foreman, where jobs are asked to end.
        lease: seconds.
        watchdog: looked at several times between two renewals.
        threads: gives the thread.
    """

    def __init__(
        self,
        backend: Backend,
        presence: Presence,
        running: Callable[[], Sequence[Running]],
        *,
        loop: asyncio.AbstractEventLoop,
        lease: float,
        clock: Clock,
        chance: Chance,
        watchdog: Watchdog,
        threads: Threads,
    ) -> None:
        self._backend = backend
        self._presence = presence
        self._running = running
        self._loop = loop
        self._lease = lease
        self._clock = clock
        self._chance = chance
        self._watchdog = watchdog
        self._stop = threading.Event()
        self._wake: asyncio.Event | None = None
        self._soon = False
        # Whether the store did not answer the last renewal.
        self._failed = False
        self._own: asyncio.AbstractEventLoop | None = None
        self._aside = threads.aside(self._beat, "treadle-heartbeat")

    def start(self) -> None:
        """Begin."""
        self._aside.start()

    async def stop(self) -> None:
        """End, whether the store answers the call that is under way or not."""
        self._stop.set()
        self._rouse()
        await self._aside.join()

    def nudge(self) -> None:
        """Renew now: there is an answer to be had, such as that a job is to be cancelled."""
        self._soon = True
        self._rouse()

    def _rouse(self) -> None:
        own, wake = self._own, self._wake
        if own is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # it has ended just now
                own.call_soon_threadsafe(wake.set)

    async def _beat(self) -> None:
        self._own, self._wake = asyncio.get_running_loop(), asyncio.Event()
        renewal: asyncio.Task[bool] | None = None
        pause = self._lease / 3
        looked = self._clock.monotonic()
        due = looked + pause * self._chance.uniform(0.9, 1.1)
        tick = min(0.5, self._lease / 12)
        # Several times before the local deadline, also of a short lease.
        repeat = min(1.0, self._lease / 12)
        try:
            while not self._stop.is_set():
                if renewal is not None or not self._soon:
                    await self._rest(tick)
                self._watchdog.look()
                if renewal is not None and renewal.done():
                    self._failed = renewal.cancelled() or not renewal.result()
                    wait = repeat if self._failed else pause
                    due = self._clock.monotonic() + wait * self._chance.uniform(0.9, 1.1)
                    renewal = None
                now = self._clock.monotonic()
                wanted = self._soon or now >= due or self._pressing(now + 2 * tick)
                if renewal is None and wanted:
                    self._soon = False
                    # Beside this loop: a store that does not answer must not keep it from seeing
                    # that the leases have lapsed.
                    renewal = self._own.create_task(self._renew())
                    renewal.add_done_callback(self._answered)
                # Where this thread itself stood still, nothing is known of the store.
                unanswered = now - looked < pause and (self._failed or renewal is not None)
                looked = now
                self._end_overdue(CutOff if unanswered else LeaseLost)
        finally:
            if renewal is not None:
                renewal.cancel()
                await asyncio.wait({renewal})
            await self._backend.aclose()

    def _answered(self, _: asyncio.Task[bool]) -> None:
        assert self._wake is not None
        self._wake.set()

    async def _rest(self, seconds: float) -> None:
        """Sleep, or be woken."""
        assert self._wake is not None
        await within(self._clock, seconds, self._wake.wait())
        self._wake.clear()

    async def _renew(self) -> bool:
        """Renew everything that is held. False when the store did not answer."""
        held = [job for job in self._running() if job.renews]
        try:
            starts = range(0, max(1, len(held)), _BATCH)
            answered = [await self._extend(held[start : start + _BATCH]) for start in starts]
        # Also what no store should raise: with this thread would end all renewals, and the local
        # deadlines that are the way out when nothing can be renewed.
        except Exception as error:  # noqa: BLE001
            _log.warning("extend.failed", jobs=len(held), error=repr(error))
            return False
        return all(answered)

    async def _extend(self, held: list[Running]) -> bool:
        """Renew some. False when a store did not answer, which is one of several."""
        sent = self._clock.monotonic()
        failpoint("extend.before_send")
        answers = await self._backend.extend(
            self._presence.session,
            [Held(token=job.token, started=job.has_started) for job in held],
            self._lease,
        )
        failpoint("extend.sent_no_reply")
        failpoint("extend.after_reply")
        until = local_deadline(sent, self._lease)
        answered = True
        for job, answer in zip(held, answers, strict=True):
            if answer is Renewal.UNANSWERED:
                answered = False
                continue
            if answer is Renewal.LOST:
                self._end(job, LeaseLost(TAKEN_OVER.format(job.token.job_id)))
                continue
            job.held_until = until
            if answer is Renewal.CANCEL:
                self._end(job, JobCancelled("the job was cancelled", job_id=job.token.job_id))
        return answered

    def _pressing(self, by: float) -> bool:
        """Whether a lease ends before it would be renewed: its claim took long to be answered."""
        return any(
            job.held_until <= by and not (job.settled or job.commits) and job.ending is None
            for job in self._running()
        )

    def _end_overdue(self, reason: type[LeaseLost]) -> None:
        now = self._clock.monotonic()
        for job in self._running():
            if job.held_until <= now and job.ending is None and not job.settled:
                self._end(job, reason(_LAPSED.format(job.token.job_id)))

    def _end(self, job: Running, reason: Exception) -> None:
        if job.ending is not None:
            return  # asked once; to ask again would interrupt how it ends
        # A closed loop has ended its jobs itself.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(job.end, reason)


_LAPSED = "the lease of job {} could not be renewed in time"
