"""Events, told in this process at once and to others through a topic exchange."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

import msgspec
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from treadle.backends.common.subscribers import Subscribers
from treadle.backends.rabbitmq.layout import Names
from treadle.backends.rabbitmq.link import Link, is_lost
from treadle.backends.rabbitmq.refusals import told
from treadle.events import Event
from treadle.ids import Ids

__all__ = ["Broadcast"]

_TYPE = "application/vnd.treadle.event+msgpack"
_WAITING = {"x-max-length": 1000}
"""Events that wait for a slow process; the oldest are dropped."""


class _Message(msgspec.Struct, array_like=True):
    # The process that says it, which has heard it already.
    origin: int
    event: Event


_encode = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(_Message)


class Broadcast:
    """The events of one namespace.

    Args:
        link: to the server.
        names: of the namespace.
        ids: tells processes apart.
    """

    def __init__(self, link: Link, names: Names, ids: Ids) -> None:
        self._link = link
        self._names = names
        self._origin = ids.nonce()
        self._subscribers = Subscribers()
        self._channel: AbstractChannel | None = None
        self._opening = asyncio.Lock()

    @property
    def nobody(self) -> bool:
        """Whether nobody listens in this process."""
        return self._subscribers.nobody

    def here(self, events: Sequence[Event]) -> None:
        """Tell who listens in this process."""
        self._subscribers.deliver(events)

    async def elsewhere(self, events: Sequence[Event]) -> None:
        """Tell who listens in other processes. Nothing depends on it."""
        with told(self._link.address.url):
            channel = await self._link.teller()
            for event in events:
                await channel.basic_publish(
                    _encode(_Message(self._origin, event)),
                    exchange=self._names.events,
                    routing_key=event.name,
                    properties=Basic.Properties(content_type=_TYPE),
                )

    def subscribe(
        self, pattern: str, hear: Callable[[], Awaitable[object]]
    ) -> AsyncIterator[Event]:
        """Events whose name matches, from now on."""
        return self._subscribers.subscribe(pattern, hear)

    def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """End the iterations of a loop, or all."""
        self._subscribers.close(loop)

    async def hear(self) -> None:
        """Have other processes heard."""
        async with self._opening:
            if self._channel is not None and not is_lost(self._channel):
                return
            with told(self._link.address.url):
                async with asyncio.timeout(self._link.address.patience):
                    self._channel = await self._open()

    async def _open(self) -> AbstractChannel:
        channel = await self._link.channel("serve", publisher_confirms=False)
        answer = await channel.queue_declare("", exclusive=True, arguments=dict(_WAITING))
        queue = answer.queue or ""
        await channel.queue_bind(queue, self._names.events, "#")
        await channel.basic_consume(queue, self._heard, no_ack=True)
        return channel

    async def _heard(self, message: DeliveredMessage) -> None:
        try:
            said = _DECODER.decode(bytes(message.body))
        except msgspec.MsgspecError:  # of a version that says it otherwise
            return
        if said.origin != self._origin:
            self._subscribers.deliver([said.event])
