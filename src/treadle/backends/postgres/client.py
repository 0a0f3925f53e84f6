"""The connections of one event loop."""

from __future__ import annotations

import asyncio
import ctypes
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from treadle.backends.postgres.address import Address

__all__ = ["Client", "Wire", "connect"]

if TYPE_CHECKING:
    Wire: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Wire = asyncpg.Connection

# What is looked up is few rows of large tables whose numbers change faster than the server's
# statistics: an index is always right.
_SETTINGS = {
    "application_name": "treadle",
    "enable_bitmapscan": "off",
    "enable_mergejoin": "off",
    "enable_seqscan": "off",
    "jit": "off",
    # A role or a database may have it otherwise. Whoever may not stand in line for long comes to
    # its end each time, until leases have lapsed.
    "default_transaction_isolation": "read committed",
    "lock_timeout": "0",
    # What nobody waits for any more ends by itself, with the locks that it holds. A foreman that is
    # frozen between two statements holds the turn of its namespace; others may stand in line
    # frozen as well, so that these seconds add up.
    "client_connection_check_interval": "5s",
    "idle_in_transaction_session_timeout": "3s",
    "statement_timeout": "60s",
}
_LONGEST_STATEMENT = 3.0
"""Patiences that one statement may take."""


def _settings(address: Address) -> dict[str, str]:
    if address.durability == "normal":
        return {**_SETTINGS, "synchronous_commit": "off"}
    return _SETTINGS


async def connect(address: Address) -> Wire:
    """A new connection."""
    wire: Wire = await asyncpg.connect(
        address.dsn,
        timeout=address.patience,
        command_timeout=_LONGEST_STATEMENT * address.patience,
        statement_cache_size=500 if address.prepared else 0,
        max_cached_statement_lifetime=0,
        server_settings=_settings(address) if address.prepared else None,
    )
    return wire


class Client:
    """A few connections, made when they are needed, the last used first.

    Not safe for other threads than that of its loop.
    """

    def __init__(self, address: Address) -> None:
        self.loop = asyncio.get_running_loop()
        self._address = address
        self._free: list[Wire] = []
        self._all: set[Wire] = set()
        self._opening = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.closed = False

    async def take(self) -> Wire:
        """A connection of one's own, until it is put back."""
        while True:
            while self._free:
                wire = self._free.pop()
                if not wire.is_closed():
                    return wire
                self._all.discard(wire)
            if len(self._all) + self._opening < self._address.connections:
                return await self._open()
            turn: asyncio.Future[None] = self.loop.create_future()
            self._waiting.append(turn)
            try:
                await turn
            except BaseException:
                if turn.done() and not turn.cancelled():
                    self._next()
                raise

    async def _open(self) -> Wire:
        self._opening += 1
        try:
            wire = await connect(self._address)
        except BaseException:
            self._next()
            raise
        finally:
            self._opening -= 1
        if self.closed:
            wire.terminate()
            raise asyncpg.InterfaceError("the client was closed")
        self._all.add(wire)
        return wire

    def put(self, wire: Wire, *, broken: bool) -> None:
        """Give a connection back; one in an unknown state is given up."""
        if broken or self.closed or wire.is_closed():
            self._all.discard(wire)
            with suppress(Exception):
                wire.terminate()
        else:
            self._free.append(wire)
        self._next()

    def _next(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return

    async def aclose(self) -> None:
        """Close all connections in good order."""
        self.closed = True
        wires, self._free, self._all = list(self._all), [], set()
        # All at once: where the server stands still, none of them answers.
        await asyncio.gather(*map(_leave, wires))

    def terminate(self) -> None:
        """Close all connections at once, without a word to the server."""
        self.closed = True
        wires, self._free, self._all = list(self._all), [], set()
        for wire in wires:
            wire.terminate()
        self._next()

    def drop(self) -> None:
        """Give up connections whose loop is closed, so that nothing can be said to the server."""
        self.closed = True
        for wire in self._all:
            drop(wire)
        self._free, self._all = [], set()

    def abandon(self) -> None:
        """Forget them in a forked child: they are the parent's, and not to be closed here."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))


async def _leave(wire: Wire) -> None:
    with suppress(Exception):
        await wire.close(timeout=1.0)


def drop(wire: Any) -> None:
    """Close the socket of a connection. There is no public way once its loop is closed."""
    transport = wire._transport
    sock = getattr(transport, "_sock", None)
    if sock is not None:
        transport._sock = None
        sock.close()
    # So that it does not complain when it is collected.
    wire._aborted = True
