"""Events, told in this process at once and to others through the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence

import msgspec

from treadle.backends.common.subscribers import Subscribers
from treadle.backends.redis.link import Link
from treadle.errors import BackendError
from treadle.events import Event
from treadle.ids import Ids
from treadle.logs import get_logger

__all__ = ["Broadcast"]

_log = get_logger("treadle.redis")


class _Message(msgspec.Struct, array_like=True):
    # The process that says it, which has heard it already.
    origin: int
    events: list[Event]


_encode = msgspec.msgpack.Encoder().encode
_DECODER = msgspec.msgpack.Decoder(_Message)


class Broadcast:
    """The events of one store.

    Args:
        link: the way to the server.
        channel: where events are published.
        ids: tells processes apart.
    """

    def __init__(self, link: Link, channel: str, *, ids: Ids) -> None:
        self._link = link
        self._channel = channel
        self._ids = ids
        self._origin = ids.nonce()
        self._subscribers = Subscribers()

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now, here and elsewhere. Nothing depends on it."""
        if not events:
            return
        self._subscribers.deliver(events)
        message = _encode(_Message(self._origin, list(events)))
        try:
            await self._link.command("PUBLISH", self._channel, message)
        except BackendError as error:
            _log.warning("events.not_published", events=len(events), error=str(error))

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches, from now on."""
        return self._subscribers.subscribe(pattern, self._hear)

    def close(self, loop: asyncio.AbstractEventLoop | None) -> None:
        """End the iterations of a loop, or all."""
        self._subscribers.close(loop)

    def forget(self) -> None:
        """In a forked child: who listened is in the parent, and so is the origin."""
        self._origin = self._ids.nonce()
        self._subscribers = Subscribers()

    async def _hear(self) -> None:
        loop = asyncio.get_running_loop()

        def heard(said: bytes | None) -> None:
            if said is None:
                return
            try:
                message = _DECODER.decode(said)
            except msgspec.MsgspecError:  # of a version that says it otherwise
                return
            if message.origin != self._origin:
                self._subscribers.deliver(message.events, loop)

        await self._link.ears.listen(self._channel, heard)
