"""One coroutine that waits for a store, woken by whoever changes it."""

from __future__ import annotations

import asyncio

from treadle.backends.common.names import Matcher
from treadle.clock import Clock

__all__ = ["Sleeper"]


class Sleeper:
    """Sleeps in its loop until it is woken, for queues or for a change of one job.

    Args:
        matcher: the queues it waits for.
        job_id: the job it waits for.
    """

    __slots__ = ("_future", "job_id", "loop", "matcher")

    def __init__(self, *, matcher: Matcher | None = None, job_id: str | None = None) -> None:
        self.loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] = self.loop.create_future()
        self.matcher = matcher
        self.job_id = job_id

    def wake(self) -> None:
        """Go on. Called in the loop of the waiter."""
        if not self._future.done():
            self._future.set_result(None)

    async def sleep(self, clock: Clock, seconds: float) -> None:
        """Wait until woken, at the latest for so many seconds."""
        timer = clock.call_later(max(0.0, seconds), self.wake)
        try:
            await self._future
        finally:
            timer.cancel()
        self._future = self.loop.create_future()
