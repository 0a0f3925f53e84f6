"""Progress and checkpoints on their way to the store."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence

from treadle.clock import Clock
from treadle.foreman.presence import Presence
from treadle.foreman.running import Running
from treadle.logs import get_logger
from treadle.ports import Held, Jobs
from treadle.records import Renewal

__all__ = ["Notes"]

_log = get_logger("treadle.foreman")


class Notes:
    """Stores what running jobs say of themselves: the first word at once, then four times a second.

    Only the last note of a job counts, so a job that reports a thousand times a second costs no
    more than one that reports four times. Notes go through here and nowhere else, so that an
    older one never replaces a newer.

    Args:
        answered: told of jobs whose lease was lost, or that are asked to stop.
        pause: seconds between two calls to the store.
    """

    def __init__(
        self,
        jobs: Jobs,
        presence: Presence,
        answered: Callable[[Sequence[Running], Sequence[Renewal]], None],
        *,
        lease: float,
        clock: Clock,
        pause: float = 0.25,
    ) -> None:
        self._jobs = jobs
        self._presence = presence
        self._answered = answered
        self._lease = lease
        self._clock = clock
        self._pause = pause
        self._loop = asyncio.get_running_loop()
        self._said: dict[Running, None] = {}
        self._sender: asyncio.Task[None] | None = None
        self._armed = False
        self._closed = False

    def put(self, job: Running) -> None:
        """The job has something new to say. From any thread."""
        self._said[job] = None
        if not self._armed:
            self._armed = True
            # A thread that was abandoned may outlive the loop.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._start)

    def _start(self) -> None:
        if self._sender is None and not self._closed:
            self._sender = self._loop.create_task(self._send())

    async def _send(self) -> None:
        while self._said:
            await self._store([job for job in self._taken() if not job.settled])
            await self._clock.sleep(self._pause)
        self._sender = None
        self._armed = False
        if self._said:  # said by a thread between the last look and now
            self._start()

    def _taken(self) -> list[Running]:
        """Those that have said something. One that speaks again meanwhile is in the next lot."""
        jobs = list(self._said)
        for job in jobs:
            del self._said[job]
        return jobs

    async def _store(self, jobs: list[Running]) -> None:
        held = [Held(token=job.token, started=True, note=job.latest) for job in jobs]
        if not held:
            return
        try:
            answers = await self._jobs.extend(self._presence.session, held, self._lease)
        # The last word goes with the verdict in any case.
        except Exception as error:  # noqa: BLE001
            _log.warning("progress.failed", jobs=len(held), error=repr(error))
        else:
            self._answered(jobs, answers)

    async def aclose(self) -> None:
        """Stop sending."""
        self._closed = True
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.wait({self._sender})
