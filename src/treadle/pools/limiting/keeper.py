"""Who counts the limits of a set: this process, a region that processes share, or a store."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

from treadle.clock import Clock
from treadle.policies.turnstile import Count, KeyState, Turnstile
from treadle.pools.noticing import waiting
from treadle.ports import Granted, Permit, Ticket, Wait
from treadle.records import Ask

__all__ = ["Awaited", "Keeper", "LocalKeeper", "Moved", "Quick"]


class Keeper(Protocol):
    """Counts limits. Safe to use from any thread; only :meth:`turn` blocks.

    :attr:`awaited` has the same verbs for event loops.
    """

    clock: Clock

    @property
    def awaited(self) -> Awaited:
        """The same verbs, to be awaited."""
        ...

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        ...

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Block until it may be the turn of a ticket, or the seconds have passed.

        Raises:
            BaseException: why the call has to end that waits here, when it has to.
        """
        ...

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        ...

    def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        ...

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        ...

    def look(self, asks: Sequence[Ask]) -> dict[str, KeyState]:
        """What counts for the keys of these asks."""
        ...


class Awaited(Protocol):
    """The verbs of a keeper, to be awaited."""

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Awaitable[Granted | Wait]:
        """Take all asks or none, first come first served."""
        ...

    def turn(self, ticket: Ticket, seconds: float) -> Awaitable[None]:
        """Wait until it may be the turn of a ticket, or the seconds have passed."""
        ...

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> Awaitable[None]:
        """Settle the real cost of rates, by key."""
        ...

    def release(self, permit: Permit, unused: bool) -> Awaitable[None]:
        """Free what is held; with ``unused`` give back what was spent, too."""
        ...

    def withdraw(self, ticket: Ticket) -> Awaitable[None]:
        """Leave the line."""
        ...


class Quick:
    """The awaited verbs of a keeper whose plain ones never wait for anybody.

    Args:
        keeper: carries them out.
        turn: waits in an event loop.
    """

    def __init__(self, keeper: Keeper, turn: Callable[[Ticket, float], Awaitable[None]]) -> None:
        self._keeper = keeper
        self._turn = turn

    async def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        return self._keeper.acquire(asks, ticket)

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait until it may be the turn of a ticket, or the seconds have passed."""
        await self._turn(ticket, seconds)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        self._keeper.adjust(permit, used)

    async def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        self._keeper.release(permit, unused)

    async def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        self._keeper.withdraw(ticket)


class Moved:
    """Where what a keeper has counted is now, and what its permits and tickets are there.

    Args:
        keeper: goes on with it.
        permits, tickets: the new ones by the ids of the old.
    """

    def __init__(
        self, keeper: Keeper, permits: dict[str, Permit], tickets: dict[str, Ticket]
    ) -> None:
        self.keeper = keeper
        self._permits = permits
        self._tickets = tickets

    def ticket(self, ticket: Ticket) -> Ticket:
        """The ticket that stands for one."""
        return self._tickets.get(ticket.id, ticket)

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        return self.keeper.acquire(asks, None if ticket is None else self.ticket(ticket))

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        self.keeper.adjust(self._permits.get(permit.id, permit), used)

    def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        self.keeper.release(self._permits.pop(permit.id, permit), unused)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        self.keeper.withdraw(self.ticket(ticket))


class LocalKeeper:
    """Counts for the threads and event loops of this process.

    Args:
        clock: measures time; its monotonic side, so that no calendar moves a rate.
    """

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.awaited = Quick(self, self._aturn)
        self.forget()

    def forget(self) -> None:
        """Begin anew; in a forked child nobody will release what the parent held."""
        self._lock = threading.Lock()
        self._turnstile = Turnstile()
        # What wakes those who wait, and tickets that were to be woken before they waited.
        self._wakers: dict[str, Callable[[], object]] = {}
        self._early: set[str] = set()
        self._moved: Moved | None = None

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        with self._lock:
            if self._moved is not None:
                return self._moved.acquire(asks, ticket)
            answer = self._turnstile.acquire(asks, self.clock.monotonic(), ticket)
            if ticket is None:
                return answer
            if isinstance(answer, Granted):
                self._early.discard(ticket.id)
            wakers = self._stirred()
        _call(wakers)
        return answer

    def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        with self._lock:
            if self._moved is not None:
                self._moved.release(permit, unused)
                return
            self._turnstile.release(permit, self.clock.monotonic(), unused=unused)
            wakers = self._stirred()
        _call(wakers)

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        with self._lock:
            if self._moved is not None:
                self._moved.adjust(permit, used)
                return
            self._turnstile.adjust(permit, used, self.clock.monotonic())
            wakers = self._stirred()
        _call(wakers)

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        with self._lock:
            if self._moved is not None:
                self._moved.withdraw(ticket)
                return
            self._turnstile.withdraw(ticket)
            self._early.discard(ticket.id)
            wakers = self._stirred()
        _call(wakers)

    def look(self, asks: Sequence[Ask]) -> dict[str, KeyState]:
        """What counts for the keys of these asks."""
        with self._lock:
            return self._turnstile.look(asks, self.clock.monotonic())

    def move(self, take_over: Callable[[Count], Moved]) -> None:
        """Have another keeper go on with all of it; who came here is sent there."""
        with self._lock:
            if self._moved is None:
                self._moved = take_over(self._turnstile.count)
            wakers, self._wakers = list(self._wakers.values()), {}
        _call(wakers)

    def _stirred(self) -> list[Callable[[], object]]:
        wakers: list[Callable[[], object]] = []
        for one in self._turnstile.turns():
            waker = self._wakers.pop(one, None)
            if waker is None:
                self._early.add(one)
            else:
                wakers.append(waker)
        return wakers

    # ------------------------------------------------------------- waiting

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Block until it may be the turn of a ticket, or the seconds have passed."""
        if self._moved is not None:
            self._moved.keeper.turn(self._moved.ticket(ticket), seconds)
            return
        event = threading.Event()
        if not self._listen(ticket, event.set):
            return
        try:
            with waiting(event.set):
                self.clock.wait(event, None if math.isinf(seconds) else seconds)
        finally:
            self._stop_listening(ticket)

    async def _aturn(self, ticket: Ticket, seconds: float) -> None:
        if self._moved is not None:
            await self._moved.keeper.awaited.turn(self._moved.ticket(ticket), seconds)
            return
        loop = asyncio.get_running_loop()
        woken: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def wake_from_anywhere() -> None:
            try:
                loop.call_soon_threadsafe(wake)
            except RuntimeError:  # its loop was closed with the task in it: nobody comes back
                self.withdraw(ticket)

        if not self._listen(ticket, wake_from_anywhere):
            return
        timer = None if math.isinf(seconds) else self.clock.call_later(seconds, wake)
        try:
            await woken
        finally:
            if timer is not None:
                timer.cancel()
            self._stop_listening(ticket)

    def _listen(self, ticket: Ticket, waker: Callable[[], object]) -> bool:
        """Have a waker called once; False when it was to be called already."""
        with self._lock:
            if self._moved is not None:
                return False
            if ticket.id in self._early:
                self._early.discard(ticket.id)
                return False
            self._wakers[ticket.id] = waker
            return True

    def _stop_listening(self, ticket: Ticket) -> None:
        with self._lock:
            self._wakers.pop(ticket.id, None)


def _call(wakers: list[Callable[[], Any]]) -> None:
    for wake in wakers:
        wake()
