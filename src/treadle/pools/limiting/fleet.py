"""Limits that a fleet shares: counted by the store of an app."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from treadle.clock import Clock
from treadle.errors import TreadleError, Unsupported
from treadle.logs import get_logger
from treadle.policies.turnstile import KeyState
from treadle.pools.limiting.keeper import Awaited
from treadle.pools.noticing import waiting
from treadle.ports import Granted, Permit, Shared, Ticket, Wait
from treadle.records import Ask, Hold, Spend

__all__ = ["AbsentKeeper", "FleetKeeper", "LimitStore"]

T = TypeVar("T")
_LEASE = 30.0
"""Seconds after which the store takes back what a process held that is gone."""
_log = get_logger("treadle.pools")


class LimitStore(Protocol):
    """What a fleet keeper needs of an app."""

    clock: Clock

    async def ready(self) -> Shared:
        """The store, connected for the running loop."""
        ...

    def call(self, verb: Callable[[], Coroutine[Any, Any, T]], name: str, twin: str) -> T:
        """Carry out a verb from plain code."""
        ...


class FleetKeeper:
    """Counts in a store, for every process that uses it.

    What is held is renewed until it is released. A store is not told of who waits elsewhere, so
    who waits asks again when the store has said.

    Args:
        store: of an app.
    """

    def __init__(self, store: LimitStore) -> None:
        self.clock = store.clock
        self._store = store
        self.awaited = _Verbs(store)

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        return self._call(lambda: self.awaited.acquire(asks, ticket))

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Block until it may be the turn of a ticket, or the seconds have passed."""
        event = threading.Event()
        with waiting(event.set):
            self._store.clock.wait(event, seconds)

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        self._call(lambda: self.awaited.adjust(permit, used))

    def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        self._call(lambda: self.awaited.release(permit, unused))

    def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        self._call(lambda: self.awaited.withdraw(ticket))

    def look(self, asks: Sequence[Ask]) -> dict[str, KeyState]:
        """What this process holds of these keys; a store does not tell of others."""
        return {ask.key: KeyState(used=self.awaited.held[ask.key]) for ask in asks}

    def _call(self, verb: Callable[[], Coroutine[Any, Any, T]]) -> T:
        return self._store.call(verb, "acquire", "aacquire")


class _Verbs:
    """The verbs of a fleet keeper, to be awaited."""

    def __init__(self, store: LimitStore) -> None:
        self._store = store
        self._who = f"pid {os.getpid()}"
        self.held: Counter[str] = Counter()
        self._renewals: dict[str, asyncio.Task[None]] = {}

    async def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Take all asks or none, first come first served."""
        shared = await self._store.ready()
        answer = await shared.acquire(asks, self._who, ticket, _LEASE)
        if isinstance(answer, Granted):
            self._count(answer.permit, 1)
            if any(isinstance(ask, Hold) for ask in asks):
                renewing = _renew(weakref.ref(self), shared, answer.permit, self._store.clock)
                task = asyncio.create_task(renewing, name="treadle-limits")
                self._renewals[answer.permit.id] = task
        return answer

    async def turn(self, ticket: Ticket, seconds: float) -> None:
        """Wait for as long as the store has said."""
        await self._store.clock.sleep(seconds)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates, by key."""
        await (await self._store.ready()).adjust(permit, used)

    async def release(self, permit: Permit, unused: bool) -> None:
        """Free what is held; with ``unused`` give back what was spent, too."""
        renewal = self._renewals.pop(permit.id, None)
        if renewal is not None:
            renewal.cancel()
        self._count(permit, -1)
        shared = await self._store.ready()
        if unused:
            nothing = {ask.key: 0.0 for ask in permit.asks if isinstance(ask, Spend)}
            await shared.adjust(permit, nothing)
        await shared.release(permit)

    async def withdraw(self, ticket: Ticket) -> None:
        """Leave the line."""
        await (await self._store.ready()).cancel(ticket)

    def _count(self, permit: Permit, sign: int) -> None:
        for ask in permit.asks:
            if isinstance(ask, Hold):
                self.held[ask.key] += sign * ask.units


async def _renew(verbs: weakref.ref[_Verbs], shared: Shared, permit: Permit, clock: Clock) -> None:
    """Keep a permit until it is released, or nobody is there to release it."""
    while True:
        await clock.sleep(_LEASE / 3)
        if verbs() is None:
            return
        try:
            if await shared.renew(permit, _LEASE):
                continue
        except TreadleError as error:
            _log.warning("limits.not_renewed", keys=_keys(permit), error=repr(error))
            continue
        _log.error("limits.lost", keys=_keys(permit), hint="this process stood still for too long")
        return


def _keys(permit: Permit) -> list[str]:
    return [ask.key for ask in permit.asks]


class AbsentKeeper:
    """Stands for the store of an app where there is no app: in a worker of another process."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock

    @property
    def awaited(self) -> Awaited:
        """Nothing can be taken here."""
        raise self._absent()

    def acquire(self, asks: tuple[Ask, ...], ticket: Ticket | None) -> Granted | Wait:
        """Nothing can be taken here."""
        raise self._absent()

    def turn(self, ticket: Ticket, seconds: float) -> None:
        """Never: nothing was asked for."""
        raise self._absent()

    def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Never: nothing is held."""
        raise self._absent()

    def release(self, permit: Permit, unused: bool) -> None:
        """Never: nothing is held."""
        raise self._absent()

    def withdraw(self, ticket: Ticket) -> None:
        """Never: nobody waits."""
        raise self._absent()

    def look(self, asks: Sequence[Ask]) -> dict[str, KeyState]:
        """Nothing is held here."""
        return {}

    def _absent(self) -> Unsupported:
        return Unsupported(
            "the limits of an app do not travel to another process: the calls of a pool take them, "
            "code there takes them from an app of its own",
            feature="limits",
        )
