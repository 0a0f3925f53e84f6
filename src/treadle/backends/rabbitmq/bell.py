"""Who waits for something to claim, and the queue by which the server tells them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from aiormq.abc import AbstractChannel, DeliveredMessage

from treadle.backends.common.waiting import Sleeper
from treadle.backends.rabbitmq.intake import Intake
from treadle.backends.rabbitmq.layout import Line, Names, line_of
from treadle.backends.rabbitmq.link import Link, is_lost
from treadle.backends.rabbitmq.refusals import told
from treadle.clock import Clock
from treadle.queuenames import Matcher

__all__ = ["Bell"]

_RINGS = {"x-max-length": 100, "x-max-length-bytes": 1 << 20}
"""Rings that wait for a slow process; the oldest are dropped."""


class Bell:
    """Wakes who waits in this process.

    Args:
        link: to the server.
        names: of the namespace.
        clock: of the waits.
    """

    def __init__(self, link: Link, names: Names, clock: Clock) -> None:
        self._link = link
        self._names = names
        self._clock = clock
        self._sleepers: set[Sleeper] = set()
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        # Told of each line that is named, and of what may have been missed.
        self.learns: Callable[[Line], object] = lambda _: None
        self.opened: Callable[[], object] = lambda: None

    def ring(self, queue: str) -> None:
        """There may be something to claim in a queue."""
        for sleeper in list(self._sleepers):
            if sleeper.matcher is None or sleeper.matcher.place(queue) is not None:
                sleeper.wake()

    def heard(self, line: Line) -> None:
        """A line is new."""
        self.ring(line.queue)

    def wake_all(self) -> None:
        """Everybody looks again."""
        for sleeper in list(self._sleepers):
            sleeper.wake()

    async def wait(
        self, intake: Intake, queues: Sequence[str], timeout: float, exclude: Sequence[str]
    ) -> None:
        """Return when there may be something to claim, at the latest after ``timeout``."""
        if timeout <= 0:
            return
        sleeper = Sleeper(matcher=Matcher(queues, exclude))
        self._sleepers.add(sleeper)
        try:
            await self._listen()
            # After the bell is heard, so that nothing comes between.
            if not await intake.anything(queues, exclude):
                await sleeper.sleep(self._clock, timeout)
        finally:
            self._sleepers.discard(sleeper)

    async def _listen(self) -> None:
        async with self._opening:
            if self._channel is not None and not is_lost(self._channel):
                return
            with told(self._link.address.url):
                async with asyncio.timeout(self._link.address.patience):
                    self._channel = await self._open()

    async def _open(self) -> AbstractChannel:
        channel = await self._link.channel("serve", publisher_confirms=False)
        answer = await channel.queue_declare("", exclusive=True, arguments=dict(_RINGS))
        queue = answer.queue or ""
        await channel.queue_bind(queue, self._names.bell, "#")
        # What was put off is told by the server itself.
        await channel.queue_bind(queue, self._names.due, "#")
        await channel.basic_consume(queue, self._rung, no_ack=True)
        self.opened()
        return channel

    async def _rung(self, message: DeliveredMessage) -> None:
        rung = str(message.exchange or "") == self._names.bell
        word = bytes(message.body).decode(errors="replace") if rung else _last(message)
        line = line_of(word)
        if line is not None:
            self.learns(line)
            self.ring(line.queue)


def _last(message: DeliveredMessage) -> str:
    return str(message.routing_key or "").rpartition(".")[2]
