"""The SQLite backend as the ports describe it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import partial
from typing import Any

from treadle.backends.common.cells import check
from treadle.backends.common.hub import Waiter
from treadle.backends.common.ofprocess import OfProcess
from treadle.backends.common.settings import Settings
from treadle.backends.common.waiting import Room
from treadle.backends.sqlite import cells, tickets
from treadle.backends.sqlite.address import Address
from treadle.backends.sqlite.advance import advance, horizon
from treadle.backends.sqlite.alter import alter
from treadle.backends.sqlite.claim import claim
from treadle.backends.sqlite.find import find
from treadle.backends.sqlite.migrate import lacking
from treadle.backends.sqlite.peek import Seen, peek
from treadle.backends.sqlite.probe import probe
from treadle.backends.sqlite.push import push
from treadle.backends.sqlite.rooms import wait_for_room
from treadle.backends.sqlite.sessions import close_session, extend, open_session
from treadle.backends.sqlite.settle import settle
from treadle.backends.sqlite.store import Store
from treadle.backends.sqlite.tx import Tx
from treadle.backends.sqlite.unit import atransaction, transaction, unit_of
from treadle.backends.sqlite.watch import glimpse
from treadle.clock import Clock
from treadle.events import Event
from treadle.fates import Fate
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
    Unit,
    Vacancy,
    Wait,
    Write,
)
from treadle.queuenames import Matcher
from treadle.records import Ask, NewJob, Pushed, Renewal, Session, SessionInfo, Settled

__all__ = ["SqliteBackend"]


_LONGEST = 10.0
"""Seconds after which a waiter looks by itself, whatever it was told."""
_FEW = 10
"""Jobs that are looked up without a thread's help."""
_MANY = 1000
"""Queues, above which the next look for a waiter is left to the reader's thread."""
_LATER = 0.01
"""Seconds after a claim that took all there was, before which nobody looks for more by himself."""
_SUSPECTS_EVERY = 1.0
"""Seconds between two looks at suspects that a claim has passed over."""


_Emptied = tuple[int, frozenset[str], frozenset[str]]


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
        self.durability = address.durability
        self._address = address
        self._namespace = namespace
        self._clock = clock
        self._ids = ids
        self._own = OfProcess(
            partial(Store, address, namespace, settings, clock=clock, ids=ids), Store.abandon
        )
        # Queues that were looked at for the last waiter.
        self._last_peek = 0
        # The last claim that took all there was: its queues, and how many notices there had been.
        self._emptied: _Emptied | None = None

    @property
    def _store(self) -> Store:
        return self._own.get()

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Make the file and its tables where they are missing, and check that they can be used."""
        await self._store.write(lambda tx: None, durable=False, frees=True)

    async def aclose(self) -> None:
        """Wake what waits in the running loop, so that it ends."""
        if (store := self._own.known()) is not None:
            loop = asyncio.get_running_loop()
            store.hub.wake_loop(loop)
            store.subscribers.close(loop)

    def close(self) -> None:
        """Finish what was asked and give up the file."""
        if (store := self._own.known()) is not None:
            store.close()

    async def survey(self) -> Vacancy | None:
        """What is missing of the file and its tables; makes and changes none."""
        says = await asyncio.to_thread(lacking, self._address, self._namespace)
        if says is None:
            return None
        comes = "an app makes them when it first uses the store; or 'treadle db install'"
        return Vacancy(says=says, comes=comes, facts={"sqlite": sqlite3.sqlite_version})

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

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present."""
        return await self._store.write(
            lambda tx: open_session(tx, info, nonce), durable=False, frees=True
        )

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        answers = self._store.answers

        def close(tx: Tx) -> None:
            close_session(tx, session)
            tx.then.append(lambda: answers.pop(session.nonce, None))

        await self._store.write(close, frees=True)
        return self._store.untold.beside(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs."""
        if not jobs:
            return []
        if len(jobs) == 1 and self._address.durability == "normal":
            # It is written at once, in this thread. Who enqueues in the same turn of the loop
            # is to go together in the push after this one, and not each alone.
            await self._clock.sleep(0)
        store = self._store
        return store.untold.beside(await store.write(lambda tx: push(tx, jobs), jobs=len(jobs)))

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs.

        Not brought to the disk at once: a lease that a power loss takes back has lost its foreman
        too. Only ``at_most_once`` needs to know of it afterwards, and syncs.
        """
        store = self._store
        claimed = await store.write(
            lambda tx: claim(tx, ask, store.answers), durable=False, frees=True, jobs=ask.limit
        )
        nothing_left = not (claimed.more or claimed.suspects_wait or claimed.next_due == 0)
        if nothing_left and store.peers.hears:
            self._emptied = store.hub.notices, frozenset(ask.queues), frozenset(ask.exclude)
        return store.untold.beside(claimed)

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed."""
        answers = await self._store.write(
            lambda tx: extend(tx, session, held, lease),
            durable=False,
            frees=True,
            jobs=len(held),
        )
        # A renewal ends nothing, and comes from a thread where nobody is to be told anything.
        return answers if lease > 0 else self._store.untold.beside(answers)

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts."""
        if not ends:
            return []
        answers = await self._store.write(lambda tx: settle(tx, ends), frees=True, jobs=len(ends))
        return self._store.untold.beside(answers)

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        await self._settle_time()
        altered = await self._store.write(lambda tx: alter(tx, query, change), frees=True)
        return self._store.untold.beside(altered)

    # ------------------------------------------------------------- waiting and looking

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim."""
        store = self._store
        end = self._clock.monotonic() + timeout
        await self._opened()
        waiter = Waiter(matcher=Matcher(queues, exclude))
        assert waiter.matcher is not None
        matcher = waiter.matcher
        store.hub.add(waiter)
        try:
            if self._emptied == (store.hub.notices, frozenset(queues), frozenset(exclude)):
                # A claim has just seen it. What the claim has given is being carried out now, and
                # a look would be in its way.
                waiter.look_at = self._clock.now()
                await waiter.sleep(self._clock, min(timeout, _LATER))
            while not waiter.ready:
                seen = await self._peek(queues, matcher)
                if seen.reached:
                    await store.write(advance, durable=False, frees=True)
                    seen = await self._peek(queues, matcher)
                left = end - self._clock.monotonic()
                if seen.ready or left <= 0 or store.untold.fates:
                    break
                pause = min(left, self._until(seen.next_at))
                if seen.suspects:
                    # Claims have passed them over. Only who holds nothing gets one, so to return
                    # at once would make the others ask without a pause.
                    end = min(end, self._clock.monotonic() + _SUSPECTS_EVERY)
                    pause = min(pause, _SUSPECTS_EVERY)
                waiter.look_at = self._clock.now() + pause
                await waiter.sleep(self._clock, pause)
            return store.untold.beside(())
        finally:
            store.hub.remove(waiter)

    async def _peek(self, queues: Sequence[str], matcher: Matcher) -> Seen:
        brief = self._last_peek <= _MANY
        seen = await self._store.read(lambda reading: peek(reading, queues, matcher), brief=brief)
        self._last_peek = seen.looked
        return seen

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound."""

        async def pass_time() -> float:
            return self._until(await self._settle_time())

        await wait_for_room(self._store, Room(queue, bound), timeout, pass_time)
        return self._store.untold.beside(())

    async def find(self, query: Query) -> Page:
        """Look at jobs; with ``wait`` until the one asked for has changed."""
        if query.wait > 0 and len(query.ids) == 1:
            return self._store.untold.beside(await self._watch(query))
        await self._opened()
        brief = 0 < len(query.ids) <= _FEW and not query.counts
        # Mostly nothing is due, so that is looked at together with the jobs.
        ahead, page = await self._store.read(
            lambda reading: (horizon(reading), find(reading, query)), brief=brief
        )
        if ahead.reached(self._clock.now()):
            await self._settle_time()
            page = await self._store.read(lambda reading: find(reading, query), brief=brief)
        return self._store.untold.beside(page)

    def _until(self, instant: float | None) -> float:
        """Seconds for which a waiter may sleep that has to look at an instant."""
        if instant is None:
            return _LONGEST
        return min(_LONGEST, max(0.0, instant - self._clock.now()))

    async def _settle_time(self) -> float | None:
        """Move time forward until nothing is due; when a job changes by itself next."""
        store = self._store
        await self._opened()
        ahead = await store.glance(horizon)
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
        await self._opened()
        waiter = Waiter(job_id=query.ids[0], ended=query.ended)
        store.hub.add(waiter)
        try:
            while not waiter.ready:
                seen = await store.glance(lambda reading: glimpse(reading, query.ids[0]))
                if seen.ahead.reached(self._clock.now()):
                    await self._settle_time()
                    continue
                left = end - self._clock.monotonic()
                if left <= 0 or seen.answers(query) or store.untold.fates:
                    break
                await waiter.sleep(self._clock, min(left, self._until(seen.ahead.next_change)))
            # Nothing is due that was not a moment ago; and what has ended stays so.
            return await store.read(lambda reading: find(reading, query), brief=True)
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
            lambda tx: tickets.acquire(tx, asks, who, ticket, lease), durable=False, jobs=1
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
            lambda tx: tickets.release(tx, permit.id), durable=False, frees=True, jobs=1
        )

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        await self._store.write(lambda tx: tickets.cancel(tx, ticket), durable=False, frees=True)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        await self._opened()
        return await self._store.read(
            lambda reading: cells.read(reading, keys), brief=len(keys) <= _FEW
        )

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none."""
        check(writes)
        return await self._store.write(lambda tx: cells.write(tx, writes))

    # ------------------------------------------------------------- transactions of callers

    def transaction(self, limit: float) -> AbstractContextManager[Unit]:
        """A transaction for code that may block."""
        return transaction(self._store, limit)

    def atransaction(self, limit: float) -> AbstractAsyncContextManager[Unit]:
        """A transaction for code in an event loop."""
        return atransaction(self._store, limit)

    async def push_within(self, within: Any, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Push jobs on a connection of a transaction, whose commit accepts them."""
        return unit_of(within, self._store).push(self._store, jobs)

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
