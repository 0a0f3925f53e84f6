"""Connections to the server: one to publish by, one for everything else.

A server short of memory or disk stops to read from connections that publish. What ends a job must
go on then, so it has a connection of its own.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

import aiormq
from aiormq.abc import AbstractChannel, AbstractConnection

from treadle.backends.rabbitmq.address import Address
from treadle.backends.rabbitmq.refusals import told
from treadle.errors import BackendFull, SchemaMismatch

__all__ = ["Link", "end", "is_lost", "version_of", "why_lost"]

# Each connection that breaks or cannot be made is told of here, in events and errors. The driver
# writes tracebacks of them besides, to standard error where nobody has set up logging.
_driver = logging.getLogger("aiormq")
if _driver.level == logging.NOTSET:
    _driver.setLevel(logging.CRITICAL)

_OLDEST = (3, 10)
_ROLES = ("publish", "serve")
_CONFIRMED = "confirmed"
_LAST_WORD = 1.0
"""Seconds that the server may take to answer a farewell."""
_FRAMES = 1000
"""Frames of a channel that are read ahead: with the driver's 10, each third message costs a turn of
the loop."""


class Link:
    """The connections of one event loop, made when they are needed.

    Args:
        address: where the server is.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self._connections: dict[str, AbstractConnection] = {}
        self._channels: dict[str, AbstractChannel] = {}
        self._making: dict[str, asyncio.Lock] = {}
        # The last connection to publish by was given up.
        self._doubtful = False
        # The number of the node to ask first.
        self._node = 0
        # Told of each connection that was made.
        self.connected: Callable[[], object] = lambda: None
        # What the server says of itself.
        self.server: Mapping[str, Any] = {}

    async def connection(self, role: str) -> AbstractConnection:
        """A connection that was good a moment ago."""
        async with self._making.setdefault(role, asyncio.Lock()):
            connection = self._connections.get(role)
            if connection is None or connection.is_closed:
                connection = await self._connect(role)
            return connection

    async def _connect(self, role: str) -> AbstractConnection:
        with told(self.address.url, entering=True):
            connection = await self._reach(role)
        self.server = dict(connection.server_properties)
        self._connections[role] = connection
        self.connected()
        if version_of(self.server) < _OLDEST:
            await self.aclose()
            raise SchemaMismatch(
                f"{self.address.url} is RabbitMQ {self.server.get('version')}; this needs 3.10 or "
                "later, whose quorum queues know times",
                backend=self.address.url,
            )
        return connection

    async def _reach(self, role: str) -> AbstractConnection:
        """A connection to the node that was good last, or to the next one that is."""
        dsns = self.address.dsns
        for left in reversed(range(len(dsns))):
            try:
                async with asyncio.timeout(self.address.patience / len(dsns)):
                    return await aiormq.connect(
                        dsns[self._node],
                        client_properties={
                            "connection_name": f"treadle-{role}",
                            "product": "treadle",
                        },
                    )
            except Exception:
                self._node = (self._node + 1) % len(dsns)
                if not left:
                    raise
        raise AssertionError("an address has a node")

    async def channel(self, role: str, **options: Any) -> AbstractChannel:
        """A channel of the caller's own."""
        connection = await self.connection(role)
        with told(self.address.url):
            async with asyncio.timeout(self.address.patience):
                return await connection.channel(frame_buffer_size=_FRAMES, **options)

    async def shared(self, name: str, role: str, **options: Any) -> AbstractChannel:
        """A channel that all use for one purpose, another one when it was closed."""
        async with self._making.setdefault(f"channel {name}", asyncio.Lock()):
            channel = self._channels.get(name)
            if channel is None or channel.is_closed or channel.connection.is_closed:
                channel = self._channels[name] = await self.channel(role, **options)
            return channel

    async def control(self) -> AbstractChannel:
        """For declarations and questions."""
        return await self.shared("control", "serve", publisher_confirms=False)

    async def publisher(self) -> AbstractChannel:
        """Each message is confirmed, or comes back.

        Raises:
            BackendFull: the server takes no messages now.
        """
        channel = await self.shared(_CONFIRMED, "publish", on_return_raises=True)
        if self._doubtful and not self.blocked:
            await self._try_out()
        if self.blocked:
            raise BackendFull(
                f"{self.address.url} has an alarm for memory or disk and takes no messages; "
                "nothing was changed",
                backend=self.address.url,
            )
        return channel

    async def renew_publisher(self) -> None:
        """Have the next message go through a channel that is opened then."""
        channel = self._channels.pop(_CONFIRMED, None)
        if channel is not None:
            await end(channel)

    async def _try_out(self) -> None:
        """Publish something to nobody, for a server with an alarm says so only then."""
        channel = await self.teller()
        with told(self.address.url):
            try:
                await channel.basic_publish(b"", routing_key="tr.nobody")
                await channel.basic_qos(prefetch_count=1, timeout=min(2.0, self.address.patience))
            except TimeoutError:
                if not self.blocked:
                    await self.drop("publish")
                    raise
            else:
                self._doubtful = False

    async def teller(self) -> AbstractChannel:
        """For what may be lost."""
        return await self.shared("told", "publish", publisher_confirms=False)

    @property
    def blocked(self) -> bool:
        """Whether the server has said that it reads nothing from who publishes."""
        connection = self._connections.get("publish")
        return connection is not None and not connection.is_closed and not _is_ready(connection)

    async def in_alarm(self) -> bool:
        """Whether the server takes no messages, asked of it."""
        if not self.blocked:
            await self._try_out()
        return self.blocked

    async def drop(self, role: str) -> None:
        """Close a connection that does not answer, with all that was not sent yet."""
        connection = self._connections.pop(role, None)
        self._doubtful = self._doubtful or role == "publish"
        if connection is not None:
            await end(connection)

    async def aclose(self) -> None:
        """Close what is open; who asks again begins anew."""
        self._channels.clear()
        await asyncio.gather(*map(self.drop, _ROLES))


def is_lost(channel: AbstractChannel) -> bool:
    """Whether the server has given what was delivered here to others."""
    return channel.is_closed or channel.connection.is_closed


def why_lost(channel: AbstractChannel) -> str:
    """What the server, or the network, has said at the end of a channel."""
    for one in (channel, channel.connection):
        closing = cast("asyncio.Future[None]", one.closing)
        if (
            closing.done()
            and not closing.cancelled()
            and (error := closing.exception()) is not None
        ):
            return repr(error)
    return "unknown"


def _is_ready(connection: AbstractConnection) -> bool:
    """Whether ``ready()`` would return without waiting, which is all that the driver tells."""
    step = connection.ready().__await__()
    try:
        next(step)
    except StopIteration:
        return True
    step.close()
    return False


async def end(one: AbstractChannel | AbstractConnection) -> None:
    """Close it, and go on a second later also when the server says nothing, or objects."""
    with suppress(Exception):
        async with asyncio.timeout(_LAST_WORD):
            await one.close()


def version_of(server: Mapping[str, Any]) -> tuple[int, int]:
    """Major and minor version of a server."""
    found = re.match(r"(\d+)\.(\d+)", str(server.get("version", "")))
    return (int(found[1]), int(found[2])) if found else (0, 0)
