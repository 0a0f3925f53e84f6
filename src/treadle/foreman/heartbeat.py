"""Leases kept alive from a thread of their own, so that a blocked event loop loses none."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Sequence

from treadle.clock import Clock
from treadle.errors import JobCancelled, LeaseLost
from treadle.failpoints import failpoint
from treadle.foreman.running import TAKEN_OVER, Running
from treadle.foreman.waits import within
from treadle.foreman.watchdog import Watchdog
from treadle.ids import Chance
from treadle.logs import get_logger
from treadle.ports import Backend, Held
from treadle.records import Renewal, Session

__all__ = ["Heartbeat", "local_deadline"]

_log = get_logger("treadle.foreman")
_BATCH = 1000


def local_deadline(sent: float, lease: float) -> float:
    """Until when a lease granted by a request sent at ``sent`` is held for certain.

    The store counts from when it serves the request, which is later; the margin is for clocks
    that run at different speeds and for the time it takes to end the code.
    """
    return sent + lease - min(max(1.0, lease / 10), lease / 2)


class Heartbeat:
    """Renews all leases of a foreman every third of their time, in its own thread and loop.

    Args:
        backend: the store; this thread gets a client of its own.
        session: whose presence it keeps up.
        running: gives the leases that are held now; called from this thread.
        loop: of the foreman, where jobs are asked to end.
        lease: seconds.
        watchdog: looked at several times between two renewals.
    """

    def __init__(
        self,
        backend: Backend,
        session: Session,
        running: Callable[[], Sequence[Running]],
        *,
        loop: asyncio.AbstractEventLoop,
        lease: float,
        clock: Clock,
        chance: Chance,
        watchdog: Watchdog,
    ) -> None:
        self._backend = backend
        self._session = session
        self._running = running
        self._loop = loop
        self._lease = lease
        self._clock = clock
        self._chance = chance
        self._watchdog = watchdog
        self._stop = threading.Event()
        self._wake: asyncio.Event | None = None
        self._soon = False
        self._own: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._live, name="treadle-heartbeat", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    async def stop(self) -> None:
        """End, after the call to the store that is under way."""
        self._stop.set()
        self._rouse()
        while self._thread.is_alive():
            await asyncio.to_thread(self._thread.join)

    def nudge(self) -> None:
        """Renew now: there is an answer to be had, such as that a job is to be cancelled."""
        self._soon = True
        self._rouse()

    def _rouse(self) -> None:
        own, wake = self._own, self._wake
        if own is not None and wake is not None:
            with contextlib.suppress(RuntimeError):  # it has ended just now
                own.call_soon_threadsafe(wake.set)

    def _live(self) -> None:
        asyncio.run(self._beat())

    async def _beat(self) -> None:
        self._own, self._wake = asyncio.get_running_loop(), asyncio.Event()
        pause = self._lease / 3
        due = self._clock.monotonic() + pause * self._chance.uniform(0.9, 1.1)
        tick = min(0.5, self._lease / 12)
        try:
            while not self._stop.is_set():
                if not self._soon:
                    await self._rest(tick)
                self._watchdog.look()
                now = self._clock.monotonic()
                if now >= due or self._soon:
                    self._soon = False
                    renewed = await self._renew()
                    wait = pause if renewed else min(pause, 1.0)
                    due = self._clock.monotonic() + wait * self._chance.uniform(0.9, 1.1)
                self._end_overdue()
        finally:
            await self._backend.aclose()

    async def _rest(self, seconds: float) -> None:
        """Sleep, or be woken."""
        assert self._wake is not None
        await within(self._clock, seconds, self._wake.wait())
        self._wake.clear()

    async def _renew(self) -> bool:
        """Renew everything that is held. False when the store did not answer."""
        held = [job for job in self._running() if not job.settled and job.ending is None]
        try:
            for start in range(0, max(1, len(held)), _BATCH):
                await self._extend(held[start : start + _BATCH])
        # Also what no store should raise: with this thread would end all renewals, and the local
        # deadlines that are the way out when nothing can be renewed.
        except Exception as error:  # noqa: BLE001
            _log.warning("extend.failed", jobs=len(held), error=repr(error))
            return False
        return True

    async def _extend(self, held: list[Running]) -> None:
        sent = self._clock.monotonic()
        failpoint("extend.before_send")
        answers = await self._backend.extend(
            self._session,
            [Held(token=job.token, started=job.has_started) for job in held],
            self._lease,
        )
        failpoint("extend.sent_no_reply")
        failpoint("extend.after_reply")
        until = local_deadline(sent, self._lease)
        for job, answer in zip(held, answers, strict=True):
            if answer is Renewal.LOST:
                self._end(job, LeaseLost(TAKEN_OVER.format(job.token.job_id)))
                continue
            job.held_until = until
            if answer is Renewal.CANCEL:
                self._end(job, JobCancelled("the job was cancelled", job_id=job.token.job_id))

    def _end_overdue(self) -> None:
        now = self._clock.monotonic()
        for job in self._running():
            if job.held_until <= now and job.ending is None and not job.settled:
                self._end(job, LeaseLost(_LAPSED.format(job.token.job_id)))

    def _end(self, job: Running, reason: Exception) -> None:
        # A closed loop has ended its jobs itself.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(job.end, reason)


_LAPSED = "the lease of job {} could not be renewed in time"
