"""Which lines of jobs there are, from a queue that each of them is written to once.

AMQP cannot list queues. So a line is announced before its queue is made: where there is a queue,
there was an announcement. Who reads takes all announcements and puts them back, one at a time. Of
new lines the bell tells as well; the queue is read again after a while, because a ring may be lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiormq.abc import AbstractChannel, AbstractConnection, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource
from pamqp.commands import Basic

from treadle.backends.rabbitmq.layout import Line, Names, line_of
from treadle.backends.rabbitmq.link import Link, end
from treadle.backends.rabbitmq.refusals import told
from treadle.backends.rabbitmq.topology import Topology
from treadle.clock import Clock, SystemClock
from treadle.ids import Ids

__all__ = ["Registry"]

_FRESH = 60.0
"""Seconds after which the lines are read again."""
_TURN = 0.2
"""Seconds until another one who reads is over."""
_BACK = 0.02
"""Seconds until it is looked again whether announcements are back."""


class Registry:
    """The lines of one namespace.

    Args:
        link: to the server.
        names: of the namespace.
        topology: makes the queues.
        ids: spreads those who read.
        heard: told of each line that was not known.
    """

    def __init__(
        self,
        link: Link,
        names: Names,
        topology: Topology,
        *,
        ids: Ids,
        heard: Callable[[Line], object],
    ) -> None:
        self._link = link
        self._names = names
        self._topology = topology
        self._chance = ids.chance
        # Of the network, so always that of the machine.
        self._clock: Clock = SystemClock()
        self._heard = heard
        self._lines: dict[str, set[int]] = {}
        self._sorted: list[str] | None = None
        # By which it was read, and when.
        self._connection: AbstractConnection | None = None
        self._read_at = 0.0
        self._reading = asyncio.Lock()

    @property
    def queues(self) -> list[str]:
        """Names of queues, sorted."""
        if self._sorted is None:
            self._sorted = sorted(self._lines)
        return self._sorted

    def lines(self, queue: str) -> list[Line]:
        """The lines of a queue, the most urgent first."""
        return [Line(queue, one) for one in sorted(self._lines.get(queue, ()), reverse=True)]

    def know(self, line: Line) -> None:
        """There is such a line."""
        known = self._lines.setdefault(line.queue, set())
        if line.priority not in known:
            known.add(line.priority)
            self._sorted = None
            self._heard(line)

    async def ensure(self, line: Line) -> None:
        """There is a queue for this line, and everybody can know."""
        if self._topology.has_line(line):
            return
        await self._topology.base()
        if not await self._topology.has(self._names.line(line)):
            await self._announce(line)
        await self._topology.make_line(line)
        self.know(line)

    async def read(self) -> None:
        """Everything that was announced so far is known."""
        async with self._reading:
            connection = await self._link.connection("serve")
            now = self._clock.monotonic()
            if connection is self._connection and now - self._read_at < _FRESH:
                return
            await self._topology.base()
            for line in await self._all():
                # It may be a line whose queue was never made, or was deleted.
                if not self._topology.has_line(line):
                    await self._topology.make_line(line)
                self.know(line)
            self._connection, self._read_at = connection, now

    def doubt(self) -> None:
        """Read again before the next claim."""
        self._connection = None

    async def _all(self) -> list[Line]:
        while True:
            with told(self._link.address.url):
                async with asyncio.timeout(self._link.address.patience):
                    channel = await self._link.channel("serve", publisher_confirms=False)
                    try:
                        await self._keep_others_out(channel)
                        return await self._look(channel)
                    except ChannelLockedResource:
                        # Somebody else reads. Many do when a server is back.
                        await self._clock.sleep(self._chance.uniform(_TURN / 4, _TURN))
                    finally:
                        # With it go what keeps others out, and what was taken.
                        await end(channel)

    async def _keep_others_out(self, channel: AbstractChannel) -> None:
        """Read as the only one, for as long as the channel is open.

        Quorum queues pass over that a consumer is to be the only one, and who reads beside another
        gets a part of the announcements, or none.
        """
        await channel.queue_declare(self._names.reader, exclusive=True, auto_delete=True)
        # It goes with its last consumer.
        await channel.basic_consume(self._names.reader, _nothing)

    async def _look(self, channel: AbstractChannel) -> list[Line]:
        """Take all announcements and put them back."""
        found: list[DeliveredMessage] = []
        came = asyncio.Event()

        async def take(message: DeliveredMessage) -> None:
            found.append(message)
            came.set()

        count = await self._topology.ready(self._names.names) or 0
        await channel.basic_qos(prefetch_count=2000)
        answer = await channel.basic_consume(self._names.names, take)
        while len(found) < count:
            came.clear()
            await came.wait()
        await channel.basic_cancel(answer.consumer_tag or "")
        await channel.basic_nack(0, multiple=True, requeue=True)
        # That has no answer, and the next one begins by counting them.
        while (await self._topology.ready(self._names.names) or 0) < count:
            await self._clock.sleep(_BACK)
        lines = (line_of(bytes(one.body).decode(errors="replace")) for one in found)
        return [line for line in lines if line is not None]

    async def _announce(self, line: Line) -> None:
        channel = await self._link.publisher()
        with told(self._link.address.url):
            await channel.basic_publish(
                line.word.encode(),
                routing_key=self._names.names,
                mandatory=True,
                properties=Basic.Properties(delivery_mode=2),
                timeout=self._link.address.patience,
            )


async def _nothing(_: DeliveredMessage) -> None:
    """Take what is never sent."""
