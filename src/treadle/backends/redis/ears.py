"""Listening to channels in one event loop, over a connection of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from treadle.backends.redis.wire import Connection, Lost, Refused
from treadle.clock import Clock, Timer
from treadle.errors import BackendError
from treadle.ids import Chance

__all__ = ["Ears", "Heard"]

Heard = Callable[[bytes | None], None]
"""Takes what was published; ``None`` when something may have been missed."""

_FIRST, _LONGEST = 0.1, 5.0
_MOMENT = 1.0
"""Seconds for which who wants to hear waits until he does."""
_PING_EVERY = 15.0
"""Seconds of silence after which it is tried whether the connection still carries something."""


class Ears:
    """Hears channels from the first :meth:`listen` on, across losses of the connection.

    What is published while the connection is away is missed, and everybody is told that.

    Args:
        connect: gives a connection whose answers go to the function given.
        clock: of the network.
        chance: spreads the attempts of many processes.
        patience: seconds without an answer after which a connection is given up.
    """

    def __init__(
        self,
        connect: Callable[[Callable[[Any], None]], Awaitable[Connection]],
        *,
        clock: Clock,
        chance: Chance,
        patience: float,
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._chance = chance
        self._patience = patience
        self._channels: dict[bytes, Heard] = {}
        self._confirmed: set[bytes] = set()
        # The account may not listen.
        self._refused = False
        self._changed = asyncio.Event()
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None
        self._timer: Timer | None = None
        self._heard_at = 0.0
        self._pinged = self._doubted = False

    def hears(self, channel: str) -> bool:
        """Whether nothing that is published there now is missed."""
        return channel.encode() in self._confirmed

    async def listen(self, channel: str, heard: Heard) -> bool:
        """Hear a channel; whether it is heard by the time this returns.

        The server may be away: then what it takes is gone on with, and ``heard`` is told when it
        has succeeded.
        """
        name = channel.encode()
        self._channels[name] = heard
        if name in self._confirmed:
            return True
        if self._connection is not None:
            self._connection.say("SUBSCRIBE", name)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._keep(), name="treadle-ears")
        with suppress(TimeoutError):
            async with asyncio.timeout(min(_MOMENT, self._patience)):
                while name not in self._confirmed and not self._refused:
                    self._changed.clear()
                    await self._changed.wait()
        return name in self._confirmed

    async def aclose(self) -> None:
        """Hear nothing more."""
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        self._channels.clear()

    async def _keep(self) -> None:
        failures = 0
        try:
            while True:
                try:
                    await self._hear()
                    failures = 0
                except (OSError, Refused, BackendError):
                    failures += 1
                most = min(_LONGEST, _FIRST * 2.0**failures)
                await self._clock.sleep(self._chance.uniform(most / 4, most))
        finally:
            if self._timer is not None:
                self._timer.cancel()
            if self._connection is not None:
                await self._connection.aclose()
            self._forget()

    async def _hear(self) -> None:
        """Listen until the connection is lost."""
        ended = asyncio.Event()

        def take(answer: Any) -> None:
            if isinstance(answer, Lost):
                ended.set()
            else:
                self._take(answer)

        connection = await self._connect(take)
        if connection.lost is not None:
            return
        self._connection = connection
        self._heard_at = self._clock.monotonic()
        self._watch()
        for name in self._channels:
            connection.say("SUBSCRIBE", name)
        try:
            await ended.wait()
        finally:
            self._forget()
            await connection.aclose()

    def _take(self, answer: Any) -> None:
        self._heard_at = self._clock.monotonic()
        self._pinged = self._doubted = False
        match answer:
            case [b"subscribe", bytes() as name, _]:
                self._confirmed.add(name)
                self._changed.set()
                # Between the loss and now something may have been said.
                self._tell(name, None)
            case [b"message", bytes() as name, bytes() as said]:
                self._tell(name, said)
            case Refused():
                # Without the right to listen: who waits looks by himself.
                self._refused = True
                self._changed.set()
            case _:
                pass

    def _tell(self, name: bytes, said: bytes | None) -> None:
        heard = self._channels.get(name)
        if heard is not None:
            heard(said)

    def _watch(self) -> None:
        """Notice a connection that is open here and nowhere else."""
        connection = self._connection
        if connection is None or connection.lost is not None:
            return
        silent = self._clock.monotonic() - self._heard_at
        wait = max(0.1, _PING_EVERY - silent)
        if self._pinged and silent >= _PING_EVERY + self._patience:
            if self._doubted:
                connection.abort("nothing was heard, not even the answer to a ping")
                return
            # The answer may lie here unread, behind whatever kept this loop from its turn.
            self._doubted, wait = True, 0.05
        elif self._pinged or silent >= _PING_EVERY:
            if not self._pinged:
                self._pinged = True
                connection.say("PING")
            wait = self._patience
        self._timer = self._clock.call_later(wait, self._watch)

    def _forget(self) -> None:
        self._connection = None
        self._confirmed.clear()
        self._refused = self._pinged = self._doubted = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
