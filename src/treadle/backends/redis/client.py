"""What one event loop has of the store: a connection to ask by, and one to listen by."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

from treadle.backends.redis.address import Address, Node
from treadle.backends.redis.door import connector_for
from treadle.backends.redis.ears import Ears
from treadle.backends.redis.route import route_of
from treadle.backends.redis.wire import Connection, Lost
from treadle.clock import Clock
from treadle.ids import Chance

__all__ = ["Client"]

_FIRST, _LONGEST = 0.1, 5.0
"""Seconds between two attempts to connect: at first, and at most."""


class Client:
    """Connections of one loop, made when they are needed.

    Args:
        address: where the server is.
        clock: of the network, so always that of the machine.
        chance: spreads the attempts of many processes to come back to one server.
        connected: told of each connection that was made.
    """

    def __init__(
        self,
        address: Address,
        *,
        clock: Clock,
        chance: Chance,
        connected: Callable[[], None],
    ) -> None:
        self._route = route_of(address)
        self._connector = connector_for(address, clock)
        self._clock = clock
        self._chance = chance
        self._told = connected
        self._connection: Connection | None = None
        self._connecting: asyncio.Task[Connection] | None = None
        # Attempts that failed since the last one that did not.
        self._failures = 0
        self.node: Node | None = None
        self.ears = Ears(self._listen, clock=clock, chance=chance, patience=address.patience)
        # Ends when its loop does, and everything here with it.
        self._life = self._live()
        self._alive = False
        # Whether it has ever been connected.
        self.known = False

    async def connection(self) -> Connection:
        """A connection that was good a moment ago.

        Raises:
            OSError: the server cannot be reached.
            Refused: it does not let us in.
        """
        connection = self._connection
        if connection is not None and connection.lost is None:
            return connection
        if self._connecting is None:
            # One attempt for all who ask, which goes on when one of them is cancelled.
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
            self._connecting.add_done_callback(self._connected)
        return await asyncio.shield(self._connecting)

    def moved(self, node: Node) -> None:
        """The cluster names another node."""
        self._route.moved(node)
        self.leave("the slot is on another node now")

    def leave(self, reason: str) -> None:
        """Ask by another connection from now on."""
        if self._connection is not None:
            self._connection.abort(reason)

    async def aclose(self) -> None:
        """Close what is open; who asks again begins anew."""
        await self.ears.aclose()
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await connecting
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.aclose()

    async def _connect(self) -> Connection:
        if not self._alive:
            self._alive = True
            await anext(self._life)
        lost = self._connection is not None and self._connection.lost is not None
        if self._failures or lost:
            # Everybody has lost a server that went away. They must not all come at once.
            most = min(_LONGEST, _FIRST * 2.0**self._failures)
            await self._clock.sleep(self._chance.uniform(most / 4, most))
        self.node, connection = await self._route.connect(self._connector)
        if connection.lost is not None:
            raise connection.lost
        self._connection = connection
        self.known = True
        self._told()
        return connection

    def _connected(self, task: asyncio.Task[Connection]) -> None:
        if self._connecting is task:
            self._connecting = None
        failed = task.cancelled() or task.exception() is not None
        self._failures = self._failures + 1 if failed else 0

    async def _listen(self, heard: Callable[[Any], None]) -> Connection:
        _, connection = await self._route.connect(self._connector, heard)
        return connection

    async def _live(self) -> AsyncIterator[None]:
        # A loop that ends closes the generators that began in it, which is the only word of its
        # end that a loop gives.
        try:
            yield
        finally:
            with suppress(Lost):
                await self.aclose()
