"""The SQLite backend as the ports describe it."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

from treadle.backends.common.names import Matcher
from treadle.backends.sqlite import cells, tickets
from treadle.backends.sqlite.address import Address
from treadle.backends.sqlite.advance import advance, horizon
from treadle.backends.sqlite.alter import alter
from treadle.backends.sqlite.claim import claim
from treadle.backends.sqlite.find import find
from treadle.backends.sqlite.peek import peek
from treadle.backends.sqlite.probe import probe
from treadle.backends.sqlite.push import push
from treadle.backends.sqlite.sessions import close_session, extend, open_session
from treadle.backends.sqlite.settle import settle
from treadle.backends.sqlite.store import Store
from treadle.backends.sqlite.tx import Settings
from treadle.backends.sqlite.wake import Waiter
from treadle.clock import Clock
from treadle.events import Event
from treadle.ids import Ids
from treadle.ports import (
    Altered,
    Cell,
    Change,
    Claim,
    Claimed,
    Feature,
    Granted,
    Held,
    Page,
    Permit,
    Query,
    Settlement,
    Ticket,
    Wait,
    Write,
)
from treadle.records import Ask, NewJob, Pushed, Renewal, Session, SessionInfo, Settled

__all__ = ["SqliteBackend"]

_LONGEST = 10.0
"""Seconds after which a waiter looks by itself, whatever it was told."""
_SUSPECTS_EVERY = 1.0
"""Seconds between two looks at suspects that a claim has passed over."""


class SqliteBackend:
    """Jobs in one SQLite file, shared by the processes of a machine.

    Made by :func:`treadle.backends.sqlite.connect`. Safe to use from any loop and thread; after
    a fork the child begins anew with the same file.
    """

    features = frozenset(Feature)

    def __init__(
        self, address: Address, namespace: str, settings: Settings, *, clock: Clock, ids: Ids
    ) -> None:
        self.url = address.url
        self._address = address
        self._namespace = namespace
        self._settings = settings
        self._clock = clock
        self._ids = ids
        self._current: Store | None = None

    @property
    def _store(self) -> Store:
        store = self._current
        if store is not None and store.pid == os.getpid():
            return store
        if store is not None:
            store.abandon()
        self._current = Store(
            self._address, self._namespace, self._settings, clock=self._clock, ids=self._ids
        )
        return self._current

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Make the file and its tables where they are missing, and check that they can be used."""
        await self._store.write(lambda tx: None, durable=False, frees=True)

    async def aclose(self) -> None:
        """Wake what waits in the running loop, so that it ends."""
        if self._current is not None and self._current.pid == os.getpid():
            loop = asyncio.get_running_loop()
            self._current.hub.wake_loop(loop)
            self._current.subscribers.close(loop)

    def close(self) -> None:
        """Finish what was asked and give up the file."""
        if self._current is not None and self._current.pid == os.getpid():
            self._current.close()

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``."""
        await self.open()
        facts = await self._store.read(probe)
        return {
            **facts,
            "path": self._address.path,
            "durability": self._address.durability,
            "sqlite": sqlite3.sqlite_version,
            "full": self._store.journal.full,
        }

    # ------------------------------------------------------------- jobs

    async def open_session(self, info: SessionInfo) -> Session:
        """Make a foreman present."""
        return await self._store.write(lambda tx: open_session(tx, info), durable=False, frees=True)

    async def close_session(self, session: Session) -> None:
        """End presence and give back every lease."""
        await self._store.write(lambda tx: close_session(tx, session), frees=True)

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs."""
        if not jobs:
            return []
        return await self._store.write(lambda tx: push(tx, jobs))

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs.

        Not brought to the disk at once: a lease that a power loss takes back has lost its foreman
        too. Only ``at_most_once`` needs to know of it afterwards, and syncs.
        """
        store = self._store
        return await store.write(
            lambda tx: claim(tx, ask, store.answers), durable=False, frees=True
        )

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed."""
        return await self._store.write(
            lambda tx: extend(tx, session, held, lease), durable=False, frees=True
        )

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts."""
        if not ends:
            return []
        return await self._store.write(lambda tx: settle(tx, ends), frees=True)

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        await self._settle_time()
        return await self._store.write(lambda tx: alter(tx, query, change), frees=True)

    # ------------------------------------------------------------- waiting and looking

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> None:
        """Return when there may be something to claim."""
        store = self._store
        end = self._clock.monotonic() + timeout
        await self._opened()
        waiter = Waiter(matcher=Matcher(queues, exclude))
        assert waiter.matcher is not None
        matcher = waiter.matcher
        store.hub.add(waiter)
        try:
            while not waiter.ready:
                seen = await store.read(lambda reading: peek(reading, queues, matcher))
                if seen.reached:
                    await store.write(advance, durable=False, frees=True)
                    seen = await store.read(lambda reading: peek(reading, queues, matcher))
                left = end - self._clock.monotonic()
                if seen.ready or left <= 0:
                    return
                pause = min(left, self._until(seen.next_at))
                if seen.suspects:
                    # Claims have passed them over. Only who holds nothing gets one, so to return
                    # at once would make the others ask without a pause.
                    end = min(end, self._clock.monotonic() + _SUSPECTS_EVERY)
                    pause = min(pause, _SUSPECTS_EVERY)
                waiter.look_at = self._clock.now() + pause
                await waiter.sleep(self._clock, pause)
        finally:
            store.hub.remove(waiter)

    async def find(self, query: Query) -> Page:
        """Look at jobs; with ``wait`` until the one asked for has changed."""
        if query.wait > 0 and len(query.ids) == 1:
            return await self._watch(query)
        page, _ = await self._seen(query)
        return page

    async def _seen(self, query: Query) -> tuple[Page, float | None]:
        """What a query finds once nothing is due; and when a job changes by itself next.

        Mostly nothing is due, so that is looked at together with the jobs.
        """
        await self._opened()
        ahead, page = await self._store.read(
            lambda reading: (horizon(reading), find(reading, query))
        )
        if not ahead.reached(self._clock.now()):
            return page, ahead.next_change
        next_change = await self._settle_time()
        return await self._store.read(lambda reading: find(reading, query)), next_change

    def _until(self, instant: float | None) -> float:
        """Seconds for which a waiter may sleep that has to look at an instant."""
        if instant is None:
            return _LONGEST
        return min(_LONGEST, max(0.0, instant - self._clock.now()))

    async def _settle_time(self) -> float | None:
        """Move time forward until nothing is due; when a job changes by itself next."""
        store = self._store
        await self._opened()
        ahead = await store.read(horizon)
        # In steps, so that others have their turns between.
        while ahead.reached(self._clock.now()):
            ahead = await store.write(advance, durable=False, frees=True)
        return ahead.next_change

    async def _opened(self) -> None:
        if not self._store.journal.opened:
            await self.open()

    async def _watch(self, query: Query) -> Page:
        store = self._store
        end = self._clock.monotonic() + query.wait
        waiter = Waiter(job_id=query.ids[0])
        store.hub.add(waiter)
        try:
            while True:
                page, ahead = await self._seen(query)
                left = end - self._clock.monotonic()
                if left <= 0 or not page.records or page.records[0].version > query.version:
                    return page
                if waiter.ready:
                    return page
                pause = min(left, self._until(ahead))
                await waiter.sleep(self._clock, pause)
        finally:
            store.hub.remove(waiter)

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none."""
        return await self._store.write(
            lambda tx: tickets.acquire(tx, asks, who, ticket, lease), durable=False
        )

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        return await self._store.write(
            lambda tx: tickets.renew(tx, permit, lease), durable=False, frees=True
        )

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        await self._store.write(lambda tx: tickets.adjust(tx, permit, used), durable=False)

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        await self._store.write(
            lambda tx: tickets.release(tx, permit.id), durable=False, frees=True
        )

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        await self._store.write(lambda tx: tickets.cancel(tx, ticket), durable=False, frees=True)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        await self._opened()
        return await self._store.read(lambda reading: cells.read(reading, keys))

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none."""
        cells.check(writes)
        return await self._store.write(lambda tx: cells.write(tx, writes))

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        if events:
            self._store.publish(events)

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches, from now on."""
        store = self._store
        store.peers.listen(events=True)
        return store.subscribers.subscribe(pattern)
