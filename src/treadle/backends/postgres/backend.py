"""The PostgreSQL backend as the ports describe it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, cast

from treadle.backends.common.cells import check
from treadle.backends.common.ofprocess import OfProcess
from treadle.backends.common.pushing import check_queues
from treadle.backends.common.settings import Settings
from treadle.backends.common.waiting import Room
from treadle.backends.postgres import cells, tickets
from treadle.backends.postgres.address import Address
from treadle.backends.postgres.alter import alter
from treadle.backends.postgres.claim import claim
from treadle.backends.postgres.find import find
from treadle.backends.postgres.plain import Plain
from treadle.backends.postgres.probe import probe
from treadle.backends.postgres.push import push
from treadle.backends.postgres.sessions import close_session, extend, open_session
from treadle.backends.postgres.settle import settle
from treadle.backends.postgres.store import Store
from treadle.backends.postgres.waiting import Waiting
from treadle.backends.postgres.within import push_within
from treadle.backends.postgres.within_unit import atransaction, transaction
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

__all__ = ["PostgresBackend"]


class PostgresBackend:
    """Jobs in a PostgreSQL database.

    Made by :func:`treadle.backends.postgres.connect`. Safe to use from any loop and thread; after
    a fork the child begins anew with connections of its own.
    """

    def __init__(
        self, address: Address, namespace: str, settings: Settings, *, clock: Clock, ids: Ids
    ) -> None:
        self.url = address.url
        # Nothing is heard of others where nothing is said.
        unserved: frozenset[Feature] = (
            frozenset() if address.notify else frozenset({Feature.PUSHES_WAKE})
        )
        self.features = frozenset(Feature) - unserved
        self._ids = ids

        def make() -> Plain:
            return Plain(Store(address, namespace, settings, clock=clock, ids=ids))

        self._own = OfProcess(make, lambda plain: plain.store.abandon())
        # The last answer by session, with the number of the request.
        self._answers: dict[int, tuple[int, Claimed]] = {}

    @property
    def _plain(self) -> Plain:
        return self._own.get()

    @property
    def _store(self) -> Store:
        return self._plain.store

    @property
    def _waiting(self) -> Waiting:
        return Waiting(self._store, self._ids.chance)

    @property
    def durability(self) -> str | None:
        """What it gives; ``None`` before the server was reached."""
        return self._store.durability

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Reach the server, and make the tables where they are missing."""
        await self._store.open()

    async def aclose(self) -> None:
        """Close the connections of the running loop; what waits in it ends."""
        if (plain := self._own.known()) is not None:
            await plain.store.aclose(asyncio.get_running_loop())

    def close(self) -> None:
        """Close all connections."""
        if (plain := self._own.known()) is not None:
            plain.store.close()

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``."""
        return await self._store.read(probe)

    async def survey(self) -> Vacancy | None:
        """What is missing of the tables; makes and changes none."""
        return await self._store.survey()

    # ------------------------------------------------------------- jobs

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present."""
        return await self._store.write(lambda tx: open_session(tx, info, nonce), durable=False)

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        await self._store.write(lambda tx: close_session(tx, session))
        self._answers.pop(session.nonce, None)
        return self._store.untold.beside(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs."""
        if not jobs:
            return []
        check_queues(jobs)
        answers = await self._plain.push(jobs)
        left = [job for job, answer in zip(jobs, answers, strict=True) if answer is None]
        if not left:
            return cast("list[Pushed]", answers)
        rest = iter(await self._store.write(lambda tx: push(tx, left)))
        return self._store.untold.beside(
            [next(rest) if answer is None else answer for answer in answers]
        )

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs.

        Not brought to the disk at once: a lease that a crash of the server takes back is as if it
        had not been granted, and its token is refused.
        """
        known = self._answers.get(ask.session.nonce)
        if known is not None and ask.request <= known[0]:
            return known[1]
        claimed = None
        if not ask.first:
            claimed = await self._plain.claim(ask, Matcher(ask.queues, ask.exclude))
        if claimed is None:
            claimed = await self._store.write(lambda tx: claim(tx, ask), durable=False)
        self._answers[ask.session.nonce] = ask.request, claimed
        return self._store.untold.beside(claimed)

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim."""
        await self._waiting.for_jobs(queues, timeout, exclude)
        return self._store.untold.beside(())

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound."""
        await self._waiting.for_room(Room(queue, bound), timeout)
        return self._store.untold.beside(())

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed."""
        answers = await self._plain.extend(session, held, lease)
        left = [item for item, answer in zip(held, answers, strict=True) if answer is None]
        if not left and lease > 0:
            return cast("list[Renewal]", answers)
        rest = iter(
            await self._store.write(lambda tx: extend(tx, session, left, lease), durable=False)
        )
        said = [next(rest) if answer is None else answer for answer in answers]
        # A renewal ends nothing, and comes from a thread where nobody is to be told anything.
        return said if lease > 0 else self._store.untold.beside(said)

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts."""
        if not ends:
            return []
        for end in ends:
            check_queues(end.follow_ups)
        answers = await self._plain.settle(ends)
        left = [end for end, answer in zip(ends, answers, strict=True) if answer is None]
        if not left:
            return cast("list[Settled]", answers)
        rest = iter(await self._store.write(lambda tx: settle(tx, left)))
        return self._store.untold.beside(
            [next(rest) if answer is None else answer for answer in answers]
        )

    async def find(self, query: Query) -> Page:
        """Look at jobs; with ``wait`` until the one asked for has changed."""
        if query.wait > 0 and len(query.ids) == 1:
            return self._store.untold.beside(await self._waiting.for_job(query))
        await self._waiting.pass_time()
        return self._store.untold.beside(
            await self._store.read(lambda reading: find(reading, query))
        )

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        await self._waiting.pass_time()
        altered = await self._store.write(lambda tx: alter(tx, query, change), again=False)
        return self._store.untold.beside(altered)

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none."""
        fresh = tickets.Fresh(self._ids.new)
        return await self._store.write(
            lambda tx: tickets.acquire(tx, asks, who, ticket, lease, fresh=fresh), durable=False
        )

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        return await self._store.write(lambda tx: tickets.renew(tx, permit, lease), durable=False)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        await self._store.write(
            lambda tx: tickets.adjust(tx, permit, used), durable=False, again=False
        )

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        await self._store.write(lambda tx: tickets.release(tx, permit.id), durable=False)

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        await self._store.write(lambda tx: tickets.cancel(tx, ticket), durable=False)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        return await self._store.read(lambda reading: cells.read(reading, keys))

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none."""
        check(writes)
        return await self._store.write(lambda tx: cells.write(tx, writes), again=False)

    # ------------------------------------------------------------- transactions of callers

    def transaction(self, limit: float) -> AbstractContextManager[Unit]:
        """A transaction for code that may block."""
        return transaction(self._store, limit)

    def atransaction(self, limit: float) -> AbstractAsyncContextManager[Unit]:
        """A transaction for code in an event loop."""
        return atransaction(self._store, limit)

    async def push_within(self, within: Any, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Push jobs on a connection of the caller, whose commit accepts them."""
        return await push_within(self._store, within, jobs)

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        if events:
            self._store.publish(events)

    async def _hear(self) -> None:
        store = self._store
        await store.open()
        if await store.link.local.ears.open():
            store.announce(store.wants)

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches, from now on."""
        return self._store.subscribers.subscribe(pattern, self._hear)
