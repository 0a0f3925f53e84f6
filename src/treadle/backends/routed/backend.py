"""Several backends as the ports describe one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, cast

import msgspec

from treadle.backends.common.untold import Untold
from treadle.backends.routed.cells import Cells
from treadle.backends.routed.claiming import Claims
from treadle.backends.routed.crossing import Crossing
from treadle.backends.routed.ending import Endings
from treadle.backends.routed.finding import Finder
from treadle.backends.routed.listening import merged
from treadle.backends.routed.part import Part
from treadle.backends.routed.routes import Routes
from treadle.clock import Clock
from treadle.errors import BackendUnavailable, InvalidOption, Unsupported
from treadle.events import Event
from treadle.fates import Fate
from treadle.ids import Ids
from treadle.logs import get_logger
from treadle.ports import (
    Altered,
    Backend,
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
    Transactions,
    Unit,
    Wait,
    Write,
    placing,
)
from treadle.queuenames import check_queue
from treadle.records import Ask, NewJob, Pushed, Renewal, Session, SessionInfo, Settled
from treadle.together import all_of, ended, split

__all__ = ["RoutedBackend"]

_log = get_logger("treadle.routed")
_PATIENCE = 2.0
"""Seconds that those have to open which are not the first to do so."""
_OF_ONE = frozenset({Feature.ORDER, Feature.TOGETHER})
"""What no composition serves."""
_OF_ALL = frozenset({Feature.BOUNDS, Feature.PUSHES_WAKE, Feature.CROSS_PROCESS})
"""What it serves where each of them does."""


class RoutedBackend:
    """Queues in several backends.

    What has no queue is in the first of them: locks, limits and cells of code, events. A job is
    where its queue is routed to, with all that it names.

    Args:
        backends: by name, the first one that of all queues without a route.
        routes: a queue, with its subqueues, to the name of its backend.
        clock, ids: of the app.
    """

    def __init__(
        self, backends: Mapping[str, Backend], routes: Mapping[str, str], *, clock: Clock, ids: Ids
    ) -> None:
        self.parts = dict(backends)
        self._untold = untold = Untold()
        self._parts = [Part(name, one, clock, untold) for name, one in backends.items()]
        self._home = self._parts[0]
        names = list(backends)
        self._routes = Routes({queue: names.index(name) for queue, name in routes.items()})
        self._crossing = Crossing(self._parts, self._routes)
        self._claims = Claims(self._parts, self._routes, untold, clock=clock, ids=ids)
        self._endings = Endings(self._parts, self._routes, self._claims)
        self._finder = Finder(self._parts, self._routes)
        self._cells = Cells(self._parts, self._routes)
        self._clock = clock
        self.url = self._home.backend.url
        own = [one.features for one in backends.values()]
        self.features: frozenset[Feature] = own[0] - _OF_ONE
        for one in own:
            self.features -= _OF_ALL - one
        if any(Feature.RECORDS in one for one in own):
            self.features |= {Feature.RECORDS}

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Reach the backends and check that they can be used.

        One that is away is opened when it is needed, unless all are.
        """
        opening = [asyncio.ensure_future(one.open()) for one in self._parts]
        try:
            pending = set(opening)
            while pending and not any(one.done() and _is_well(one) for one in opening):
                _, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            await ended(self._clock, _PATIENCE, asyncio.gather(*opening, return_exceptions=True))
        finally:
            silent = [one for one in opening if not one.done()]
            for one in silent:
                one.cancel()
            await asyncio.gather(*opening, return_exceptions=True)
        failures: list[BackendUnavailable] = []
        for part, one in zip(self._parts, opening, strict=True):
            error = part.silent(_PATIENCE) if one in silent else one.exception()
            if isinstance(error, BackendUnavailable):
                failures.append(error)
            elif error is not None:
                raise error
        if len(failures) == len(self._parts):
            raise failures[0]
        for failure in failures:
            _log.warning("part.not_opened", error=str(failure))

    async def aclose(self) -> None:
        """Close the clients of the running loop."""
        await all_of(one.aclose() for one in self._parts)

    def close(self) -> None:
        """Close all backends."""
        for one in self._parts:
            one.backend.close()

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``, by the names of the backends."""
        facts = await all_of(one.ask(lambda backend: backend.probe()) for one in self._parts)
        return {one.name: fact for one, fact in zip(self._parts, facts, strict=True)}

    # ------------------------------------------------------------- routes

    async def reach(self, name: str) -> Backend:
        """One of the backends, connected for the running loop.

        Raises:
            BackendError: it cannot be reached or used.
        """
        part = next(one for one in self._parts if one.name == name)
        await part.ready()
        return part.backend

    def route(self, queue: str) -> str:
        """The name of the backend of a queue."""
        return self._parts[self._routes.of(queue)].name

    def alone(self, queue: str) -> bool:
        """Whether all its subqueues live in the same backend."""
        return len(self._routes.touched(queue)) == 1

    def placed(self, job: NewJob) -> str:
        """The id of a job: one that its backend wants, which says nothing of which that is.

        Raises:
            InvalidOption: it names what belongs to another one.
            Unsupported: it is bounded by jobs of several.
        """
        check_queue(job.queue)
        within = placing(self._parts[self._routes.of(job.queue)].backend)
        if within is not None:
            job = msgspec.structs.replace(job, id=within(job))
        self._crossing.place(job)
        return job.id

    # ------------------------------------------------------------- jobs

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present in each backend that has some of its queues."""
        return await self._claims.open(info, nonce)

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        await self._claims.close(session)
        return self._untold.beside(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs: one step for each backend that gets some."""
        if not jobs:
            return []
        places: dict[int, int] = {}
        for job in jobs:
            check_queue(job.queue)
            places[id(job)] = self._crossing.place(job)
        if any(job.after is not None for job in jobs):
            await self._crossing.check_after(jobs)

        async def some(to: int, part: list[NewJob]) -> Sequence[Pushed]:
            return await self._parts[to].ask(lambda one: one.push(part))

        return self._untold.beside(await split(jobs, lambda job: places[id(job)], some))

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs: one step for each backend that is asked."""
        return self._untold.beside(await self._claims.claim(ask))

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim in any backend."""
        await self._claims.wait(queues, timeout, exclude)
        return self._untold.beside(())

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound."""
        part = self._parts[self._routes.of(queue)]
        fates = await part.ask(lambda one: one.wait_for_room(queue, bound, timeout))
        return self._untold.beside(tuple(fates))

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew the leases that are listed, and presence."""
        return self._untold.beside(await self._endings.extend(session, held, lease))

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts: one step for each backend that had some."""
        return self._untold.beside(await self._endings.settle(ends))

    async def find(self, query: Query) -> Page:
        """Look at jobs."""
        return self._untold.beside(await self._finder.find(query))

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change the jobs that a query finds."""
        return self._untold.beside(await self._finder.alter(query, change))

    # ------------------------------------------------------------- transactions

    def transaction(self, limit: float) -> AbstractContextManager[Unit]:
        """A transaction of the first backend."""
        return cast("Transactions", self._home.backend).transaction(limit)

    def atransaction(self, limit: float) -> AbstractAsyncContextManager[Unit]:
        """A transaction of the first backend."""
        return cast("Transactions", self._home.backend).atransaction(limit)

    async def push_within(self, within: Any, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Push jobs on a connection of the caller.

        Raises:
            Unsupported, InvalidOption: the jobs do not live where the connection leads.
        """
        places = {self._crossing.place(job): job for job in jobs}
        for to, job in places.items():
            part = self._parts[to]
            if len(places) > 1 or Feature.TRANSACTIONS not in part.backend.features:
                raise Unsupported(
                    f"within= of task {job.task!r}: its queue {job.queue!r} lives in backend "
                    f"{part}, and the connection is one of "
                    f"{' or '.join(str(one) for one in self._parts if one is not part)}; enqueue "
                    "it after the commit, without within=",
                    backend=part.backend.url,
                    feature=Feature.TRANSACTIONS.value,
                )
        [(to, job)] = places.items()
        part = self._parts[to]
        try:
            return await cast("Transactions", part.backend).push_within(within, jobs)
        except InvalidOption as error:
            raise InvalidOption(
                f"{error} Queue {job.queue!r} of task {job.task!r} lives in backend {part}; what "
                f"is in {' or '.join(str(one) for one in self._parts if one is not part)} does "
                "not share its transactions",
                option="within",
                value=within,
            ) from error

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none."""
        self._crossing.check_asks(asks)
        return await self._home.ask(lambda one: one.acquire(asks, who, ticket, lease))

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        return await self._home.ask(lambda one: one.renew(permit, lease))

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        await self._home.ask(lambda one: one.adjust(permit, used))

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        await self._home.ask(lambda one: one.release(permit))

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        await self._home.ask(lambda one: one.cancel(ticket))

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        return await self._cells.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none; rules are brought to all backends that they hold for."""
        return await self._cells.write(writes)

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        await self._home.ask(lambda one: one.publish(events))

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches the glob, from now on."""
        return merged([one.backend.subscribe(pattern) for one in self._parts])


def _is_well(task: asyncio.Future[None]) -> bool:
    return not task.cancelled() and task.exception() is None
