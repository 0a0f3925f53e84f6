"""The RabbitMQ backend as the ports describe it, as far as a broker can serve them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from treadle.backends.rabbitmq.address import Address
from treadle.backends.rabbitmq.client import Client
from treadle.backends.rabbitmq.layout import CRASHES_MAX
from treadle.backends.rabbitmq.threaded import Threaded
from treadle.clock import Clock
from treadle.durability import Durability
from treadle.errors import BackendError, InvalidOption, Unsupported
from treadle.events import Event
from treadle.fates import Fate
from treadle.ids import Ids
from treadle.logs import get_logger
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
    Vacancy,
    Wait,
    Write,
)
from treadle.queuenames import check_queue
from treadle.records import Ask, JobState, NewJob, Pushed, Renewal, Session, SessionInfo, Settled

__all__ = ["RabbitBackend"]

_log = get_logger("treadle.rabbitmq")
_PRESENCE = 60.0
_COUNTS = Query(counts=True)


class RabbitBackend(Threaded[Client]):
    """Jobs in RabbitMQ.

    Made by :func:`treadle.backends.rabbitmq.connect`. Safe to use from any loop and thread.

    Args:
        address: where the server is.
        namespace: prefix of the queues.
        clock: what jobs and leases are stamped with.
        ids: where nonces come from.
    """

    features = frozenset(
        {
            Feature.PRIORITY,
            Feature.DELAY,
            Feature.PUSHES_WAKE,
            Feature.CROSS_PROCESS,
            Feature.ORDER,
            Feature.TOGETHER,
        }
    )

    def __init__(self, address: Address, namespace: str, *, clock: Clock, ids: Ids) -> None:
        self.url = address.url
        # Confirmed means written to the disks of a majority.
        self.durability = Durability.FULL
        self._address = address
        self._namespace = namespace
        self._clock = clock
        self._ids = ids
        super().__init__()

    def _made(self) -> Client:
        return Client(self._address, self._namespace, self._clock, self._ids)

    # ------------------------------------------------------------- life

    async def aclose(self) -> None:
        """The running loop is done; with the last one the connections are closed."""
        if (own := self._own.known()) is not None:
            own.client.broadcast.close(asyncio.get_running_loop())
        await super().aclose()

    def close(self) -> None:
        """Close the connections, and end the thread."""
        if (own := self._own.known()) is not None:
            own.client.broadcast.close(None)
        super().close()

    async def survey(self) -> Vacancy | None:
        """Whether the server has no queues of the namespace; makes none."""
        self._join()
        return await self._on_thread(self._client.survey())

    async def probe(self) -> Mapping[str, Any]:
        """Facts for ``treadle doctor``."""
        return await self._on_thread(self._client.probe())

    # ------------------------------------------------------------- jobs

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present, in this process only: a broker has no place to show it."""
        now = self._clock.now()
        stamped = msgspec.structs.replace(info, opened=now, until=now + _PRESENCE)
        number = self._ids.nonce() if nonce is None else nonce
        session = Session(nonce=number, info=stamped)

        async def add() -> None:
            self._client.desks.add(session)

        await self._on_thread(add())
        return session

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """Give back every lease: as crashed if it was started, else unblamed."""
        await self._on_thread(self._client.close_session(session))
        return self._client.untold.beside(())

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs. All are accepted, or it raises, and some may have been."""
        if not jobs:
            return []
        for job in jobs:
            self._check(job)
        return self._client.untold.beside(await self._on_thread(self._client.push(jobs)))

    def _check(self, job: NewJob) -> None:
        check_queue(job.queue)
        needs = {
            Feature.UNIQUE: job.unique is not None,
            Feature.KEYS: job.key is not None or bool(job.asks),
            Feature.AFTER: job.after is not None and bool(job.after.ids),
            "bounds of queues": job.bound is not None,
        }
        for feature, needed in needs.items():
            if needed:
                raise self._refusal(str(feature))
        if job.max_crashes > CRASHES_MAX:
            raise InvalidOption(
                f"max_crashes={job.max_crashes}: {self.url} allows at most {CRASHES_MAX}",
                option="max_crashes",
                value=job.max_crashes,
            )

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs, as long as they are renewed and their channel is open."""
        return self._client.untold.beside(await self._on_thread(self._client.claim(ask)))

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim."""
        # Not shielded: who gives up waiting waits no more.
        await asyncio.wrap_future(
            self._thread.start(self._client.wait(tuple(queues), timeout, tuple(exclude)))
        )
        return self._client.untold.beside(())

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Never: no queue here has a bound."""
        raise self._refusal("bounds of queues")

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Say which leases are held, and note what is told of them."""
        answers = await self._on_thread(self._client.extend(session, held, lease))
        # A renewal comes from a thread where nobody is to be told anything: the next claim says it.
        return answers if lease > 0 else self._client.untold.beside(answers)

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts."""
        if not ends:
            return []
        for end in ends:
            for job in end.follow_ups:
                self._check(job)
        return self._client.untold.beside(await self._on_thread(self._client.ends.settle(ends)))

    async def find(self, query: Query) -> Page:
        """Counts of what is queued, and nothing else."""
        if query.counts and msgspec.structs.replace(query, limit=_COUNTS.limit) == _COUNTS:
            counts = await self._on_thread(self._client.counts())
            return Page(counts={queue: {JobState.QUEUED: n} for queue, n in counts.items()})
        raise self._refusal(Feature.RECORDS)

    async def alter(self, query: Query, change: Change) -> Altered:
        """Never: a broker cannot look into its queues."""
        raise self._refusal(Feature.RECORDS)

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Never: a broker keeps no state."""
        raise self._refusal(Feature.SHARED)

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Never."""
        raise self._refusal(Feature.SHARED)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Never."""
        raise self._refusal(Feature.SHARED)

    async def release(self, permit: Permit) -> None:
        """Never."""
        raise self._refusal(Feature.SHARED)

    async def cancel(self, ticket: Ticket) -> None:
        """Never."""
        raise self._refusal(Feature.SHARED)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """Never."""
        raise self._refusal(Feature.SHARED)

    async def write(self, writes: Sequence[Write]) -> bool:
        """Never."""
        raise self._refusal(Feature.SHARED)

    def _refusal(self, feature: str) -> Unsupported:
        return Unsupported(
            f"{self.url} does not serve {str(feature)!r}: RabbitMQ keeps jobs and no records of "
            "them; give it a companion that does: companion='redis://…' (or postgresql://, "
            "sqlite://)",
            backend=self.url,
            feature=str(feature),
        )

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        if not events:
            return
        self._client.broadcast.here(events)
        try:
            await self._on_thread(self._client.broadcast.elsewhere(events))
        except BackendError as error:
            _log.warning("events.not_published", events=len(events), error=str(error))

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches the glob, from now on."""
        return self._client.broadcast.subscribe(
            pattern, lambda: self._on_thread(self._client.broadcast.hear())
        )
