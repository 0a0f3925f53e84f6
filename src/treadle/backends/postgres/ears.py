"""The connection that listens, in one event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg

from treadle.backends.postgres.address import Address
from treadle.backends.postgres.client import Wire, connect, drop
from treadle.backends.postgres.refusals import LOST
from treadle.clock import Clock, Timer

__all__ = ["Ears"]

_PING = 5.0
"""Seconds between two looks at whether the other side is still there."""


class Ears:
    """Listens while somebody waits, and says when it no longer can.

    A connection whose other end has vanished looks like one on which nothing happens, so it is
    asked something from time to time.

    Args:
        address: where the server is.
        channel: what to listen to.
        heard: told of each notice.
        lost: told when the connection is gone: notices may have been missed.
        ping: said every few seconds, to the server or through it to the others.
        clock: of the network.
    """

    def __init__(
        self,
        address: Address,
        channel: str,
        *,
        heard: Callable[[str], object],
        lost: Callable[[], object],
        ping: Callable[[Wire], Any],
        clock: Clock,
    ) -> None:
        self._address = address
        self._channel = channel
        self._heard = heard
        self._lost = lost
        self._ping = ping
        self._clock = clock
        self._wire: Wire | None = None
        self._opening: asyncio.Task[None] | None = None
        self._pinging: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._closed = False

    @property
    def hears(self) -> bool:
        """Whether notices arrive."""
        return self._wire is not None and not self._wire.is_closed()

    async def open(self) -> bool:
        """Listen, if that can be; whether it does."""
        if self.hears:
            return True
        if self._closed or not self._address.notify:
            return False
        if self._opening is None or self._opening.done():
            self._opening = asyncio.get_running_loop().create_task(self._open())
        with suppress(*LOST):
            await asyncio.shield(self._opening)
        return self.hears

    async def _open(self) -> None:
        wire = await connect(self._address)
        try:
            wire.add_termination_listener(self._gone)
            await wire.add_listener(self._channel, self._on_notice)
        except BaseException:
            wire.terminate()
            raise
        if self._closed:
            wire.terminate()
            return
        self._wire = wire
        self._later()

    def _on_notice(self, _wire: object, _pid: int, _channel: str, text: object) -> None:
        self._heard(str(text))

    def _gone(self, _wire: object) -> None:
        if not self._closed:
            self._lost()

    def _later(self) -> None:
        self._timer = self._clock.call_later(_PING, self._go)

    def _go(self) -> None:
        if not self._closed:
            self._pinging = asyncio.get_running_loop().create_task(self._look())

    async def _look(self) -> None:
        wire = self._wire
        if wire is None or wire.is_closed():
            return
        try:
            await asyncio.wait_for(self._ping(wire), _PING)
        except (*LOST, asyncpg.PostgresError):
            wire.terminate()
            return
        self._later()

    async def aclose(self) -> None:
        """Listen no more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._opening, self._pinging):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._wire is not None:
            with suppress(Exception):
                await self._wire.close(timeout=1.0)

    def terminate(self) -> None:
        """The same at once, without a word to the server."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in (self._opening, self._pinging):
            if task is not None:
                task.cancel()
        if self._wire is not None:
            self._wire.terminate()

    def drop(self) -> None:
        """The same when the loop is closed."""
        self._closed = True
        if self._wire is not None:
            drop(self._wire)
