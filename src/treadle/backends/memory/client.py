"""The backend: awaitable verbs over the steps of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from treadle.backends.common.waiting import Room
from treadle.backends.memory import extend, shared
from treadle.backends.memory.advance import advance, advance_all, next_due
from treadle.backends.memory.alter import alter
from treadle.backends.memory.claim import claim, members, waiting_suspects
from treadle.backends.memory.events import Hub
from treadle.backends.memory.find import find, one
from treadle.backends.memory.job import RUNNING, SCHEDULED, Job
from treadle.backends.memory.push import push
from treadle.backends.memory.settle import settle
from treadle.backends.memory.shared import Request
from treadle.backends.memory.store import Store
from treadle.backends.memory.waiters import Waiter
from treadle.durability import Durability
from treadle.errors import NotOpen
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
    Wait,
    Write,
)
from treadle.records import (
    FINAL,
    Ask,
    NewJob,
    Pushed,
    Renewal,
    Session,
    SessionInfo,
    Settled,
)

__all__ = ["MemoryBackend"]

_EVERYTHING = Query()
_SUSPECTS_EVERY = 1.0
"""Seconds between two looks at suspects that a claim has passed over."""


class MemoryBackend:
    """Jobs in the memory of this process.

    Args:
        url: as it is shown.
        store: the jobs; several backends may share one.
        hub: the events of that store.
        ids: where nonces and ids come from.
        on_close: told when this backend is closed.
    """

    features = frozenset(Feature) - {Feature.CROSS_PROCESS, Feature.TRANSACTIONS}
    durability = Durability.MEMORY

    def __init__(
        self, url: str, store: Store, hub: Hub, ids: Ids, on_close: Callable[[], None]
    ) -> None:
        self.url = url
        self._shared = store
        self._hub = hub
        self._ids = ids
        self._on_close = on_close
        self._closed = False

    @property
    def _store(self) -> Store:
        if self._closed:
            self._check()
        return self._shared

    def _check(self) -> None:
        if self._closed:
            raise NotOpen(f"the backend {self.url} is closed; open another")

    # ------------------------------------------------------------ life

    async def open(self) -> None:
        """Nothing to reach."""
        self._check()

    async def aclose(self) -> None:
        """Nothing is held for a loop: who waits in it goes with it."""

    def close(self) -> None:
        """Close this backend; a store that no other one shares is forgotten."""
        if not self._closed:
            self._closed = True
            self._on_close()

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``."""
        with self._store as store:
            return {
                "backend": "memory",
                "durability": self.durability,
                "may_lose": "all jobs when this process ends",
                "jobs": len(store.jobs),
                "queues": len(store.queues),
                "tombstones": len(store.tombs),
                "sessions": len(store.presence.present(store.now)),
            }

    # ------------------------------------------------------------ jobs

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present."""
        number = self._ids.nonce() if nonce is None else nonce
        with self._store as store:
            return store.presence.open(number, info, store.now)

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        with self._store as store:
            extend.close_session(store, session)
            return store.telling(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs."""
        with self._store as store:
            answers = push(store, jobs)
            return store.telling(answers) if store.fates else answers

    async def claim(self, ask: Claim) -> Claimed:
        """Lease jobs."""
        with self._store as store:
            return claim(store, ask)

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim."""
        deadline = self._store.clock.monotonic() + timeout
        names = (tuple(queues), tuple(exclude))
        while True:
            with self._store as store:
                advance(store)
                matcher = store.matcher(*names)
                left = deadline - store.clock.monotonic()
                if left <= 0 or store.fates or _claimable(store, names):
                    return store.telling(())
                if waiting_suspects(store, matcher):
                    if store.fresh_suspects:
                        return ()
                    # A claim has passed them over. Only one that holds nothing gets them, so
                    # to return at once would make the others ask without a pause.
                    deadline = min(deadline, store.clock.monotonic() + _SUSPECTS_EVERY)
                    left = min(left, _SUSPECTS_EVERY)
                due = next_due(store, everything=True)
                waiter = Waiter(matcher=matcher)
                store.wait(waiter)
            await self._sleep(waiter, min(left, due if due is not None else left))

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound."""
        deadline = self._store.clock.monotonic() + timeout
        while True:
            with self._store as store:
                advance(store)
                left = deadline - store.clock.monotonic()
                known = store.queues.get(queue)
                if left <= 0 or store.fates or known is None or known.open < bound:
                    return store.telling(())
                due = next_due(store, everything=True)
                waiter = Waiter(room=Room(queue, bound))
                store.wait(waiter)
            await self._sleep(waiter, min(left, due if due is not None else left))

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew leases."""
        with self._store as store:
            answers = extend.extend(store, session, held, lease)
            # A renewal ends nothing, and comes from a thread where nobody is to be told anything.
            return store.telling(answers) if store.fates and lease <= 0 else answers

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts."""
        with self._store as store:
            answers = settle(store, ends)
            return store.telling(answers) if store.fates else answers

    async def find(self, query: Query) -> Page:
        """Look at jobs, and wait for a change of one where that is asked for."""
        left = query.wait
        while True:
            with self._store as store:
                advance_all(store)
                job = store.jobs.get(query.ids[0]) if len(query.ids) == 1 else None
                if left <= 0 or job is None or store.fates or _is_reached(job, query):
                    # What awaits a result asks for one job and nothing else.
                    page = find(store, query) if job is None or _filters(query) else one(job)
                    return store.telling(page) if store.fates else page
                waiter = Waiter(job_id=job.id, ended=query.ended)
                store.wait(waiter)
                began = store.clock.monotonic()
                pause = min([left, *_turns(job, store.now)])
            await self._sleep(waiter, pause)
            left -= store.clock.monotonic() - began

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change jobs."""
        with self._store as store:
            advance_all(store)
            return store.telling(alter(store, query, change))

    async def _sleep(self, waiter: Waiter, seconds: float) -> None:
        try:
            await waiter.sleep(self._shared.clock, seconds)
        except asyncio.CancelledError:
            with self._shared as store:
                store.waiters.remove(waiter)
                if waiter.chosen:
                    # What it was woken for is for another.
                    if waiter.room is not None:
                        store.freed(waiter.room.queue)
                    else:
                        store.waiters.all_queues()
            raise
        with self._shared as store:
            store.waiters.remove(waiter)

    # ------------------------------------------------------------ shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none."""
        known = ticket.id if ticket is not None else None
        with self._store as store:
            request = Request(asks=tuple(asks), who=who, ticket=known, lease=lease)
            return shared.acquire(store, self._ids, request)

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        with self._store as store:
            return shared.renew(store, permit, lease)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        with self._store as store:
            shared.adjust(store, permit, used)

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        with self._store as store:
            shared.release(store, permit)

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        with self._store as store:
            shared.cancel(store, ticket)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        with self._store as store:
            return shared.read(store, keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none."""
        with self._store as store:
            return shared.write(store, writes)

    # ------------------------------------------------------------ events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        self._check()
        self._hub.publish(events)

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches, from now on."""
        self._check()
        return self._hub.subscribe(pattern)


def _claimable(store: Store, names: tuple[tuple[str, ...], tuple[str, ...]]) -> bool:
    if not store.ready:
        return False
    matcher = store.matcher(*names)
    return any(
        store.queues[name].ready > 0
        for pattern in matcher.queues
        for name in members(store, matcher, pattern, store.ready)
    )


def _is_reached(job: Job, query: Query) -> bool:
    """Whether a job has come to what a query waits for."""
    return job.state in FINAL if query.ended else job.version > query.version


def _filters(query: Query) -> bool:
    """Whether a query asks for more than jobs by their ids."""
    rest = replace(query, ids=(), wait=0.0, version=-1, ended=False)
    return rest != _EVERYTHING


def _turns(job: Job, now: float) -> list[float]:
    """Seconds until time alone changes the job."""
    instants: list[float | None] = [
        job.due if job.state is SCHEDULED else None,
        job.lease_until if job.state is RUNNING else None,
        job.expires if job.state is not RUNNING else None,
    ]
    return [max(0.0, at - now) for at in instants if at is not None]
