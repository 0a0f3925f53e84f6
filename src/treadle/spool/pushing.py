"""The way of a push where there is a spool: to the store, or into the line of those that wait."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from treadle.clock import Clock
from treadle.errors import BackendUnavailable, OutcomeUnknown
from treadle.records import NewJob, Pushed
from treadle.sending import Sender
from treadle.spool.spool import Spool

__all__ = ["Spooling"]


class Spooling:
    """Pushes jobs to the store, and puts them into the spool while it is away.

    Args:
        spool: of the app.
        connected: gives what sends the jobs of the running loop to the store.
        clock: of the app.
    """

    def __init__(
        self, spool: Spool, connected: Callable[[], Awaitable[Sender]], clock: Clock
    ) -> None:
        self._spool = spool
        self._connected = connected
        self._clock = clock

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """The answers of the store in order, or those of the spool.

        Raises:
            BackendUnavailable: the spool does not take them either, and they were not sent.
            OutcomeUnknown: the same, when they were sent.
        """
        if self._spool.waits():
            return await self._spool.join(jobs)
        sent: float | None = None
        try:
            outbox = await self._connected()
            sent = self._clock.now()
            return await outbox.push(jobs)
        except (BackendUnavailable, OutcomeUnknown, OSError) as error:
            return await self._spool.keep(jobs, sent, error)
