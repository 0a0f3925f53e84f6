"""RabbitMQ with a companion: another backend has the jobs, and messages name them to foremen.

The companion decides: every verb is one step of it, and its answer is the answer. What goes through
the server comes after that step, and may be lost at any point:

- **push**: the job is written to the companion, then a message names it.
- **claim**: messages are delivered, then the companion is asked for jobs, those that were named
  before all others, then the messages are acknowledged, whatever became of their jobs.
- **settle**: the companion ends the attempt, then a message names what is to be tried again.

A message about a job that is over, runs or waits is passed over by the claim, and dropped. A job
without a message (its process died before it sent one, it was waiting for a key, for others or for
a lease to lapse) is granted when a claim has places left; and when none had for a second, the next
one goes by the order of the companion alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

from msgspec.structs import replace

from treadle.backends.common.ofprocess import OfProcess
from treadle.backends.rabbitmq.address import Address
from treadle.backends.rabbitmq.envelope import delay_of
from treadle.backends.rabbitmq.layout import Line
from treadle.backends.rabbitmq.messages import Messages, Named, Taken
from treadle.backends.rabbitmq.threaded import Threaded
from treadle.clock import Clock
from treadle.events import Event
from treadle.failpoints import failpoint
from treadle.fates import Fate, with_fates
from treadle.ids import Ids
from treadle.ports import (
    Altered,
    Backend,
    Cancel,
    Cell,
    Change,
    Claim,
    Claimed,
    Delete,
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
    durability_of,
    surveying,
)
from treadle.records import (
    Ask,
    JobRecord,
    NewJob,
    Pushed,
    PushStatus,
    Renewal,
    Session,
    SessionInfo,
    Settled,
    Token,
)
from treadle.verdicts import Again, Done, Released

__all__ = ["CompanionBackend"]

_SWEEP = 1.0
"""Seconds without a place left over, after which a claim goes by the order of the companion."""
_NAMED = frozenset({PushStatus.CREATED, PushStatus.REPLACED})


class _Notes:
    """What this process has seen of jobs, and when."""

    def __init__(self, clock: Clock) -> None:
        # Where the jobs of leases are named again.
        self.lines: dict[Token, Line] = {}
        # Those of which a job was seen.
        self.met: set[Line] = set()
        # When a claim last had places for jobs without a message.
        self.swept = clock.monotonic()
        self.sweeping = False


class CompanionBackend(Threaded[Messages]):
    """Jobs in another backend, given to foremen through RabbitMQ.

    Made by :func:`treadle.backends.rabbitmq.connect`. As safe to use from loops and threads as the
    companion is.

    Args:
        address: where the server is.
        namespace: prefix of the queues.
        companion: has the jobs.
        clock: of the companion.
        ids: names consumers.
    """

    def __init__(
        self, address: Address, namespace: str, companion: Backend, *, clock: Clock, ids: Ids
    ) -> None:
        mark = "&" if "?" in address.url else "?"
        self.url = f"{address.url}{mark}companion={companion.url}"
        # A transaction would have to hold for both stores.
        self.features = companion.features - {Feature.TRANSACTIONS}
        self.companion = companion
        self._address = address
        self._namespace = namespace
        self._clock = clock
        self._ids = ids
        self._notes = OfProcess(lambda: _Notes(clock), lambda _: None)
        super().__init__()

    def _made(self) -> Messages:
        return Messages(self._address, self._namespace, self._ids)

    @property
    def _noted(self) -> _Notes:
        return self._notes.get()

    @property
    def durability(self) -> str | None:
        """What the companion gives, which has the jobs."""
        return durability_of(self.companion)

    # ------------------------------------------------------------- life

    async def open(self) -> None:
        """Reach the companion, and the server if it is there."""
        await self.companion.open()
        await super().open()

    async def aclose(self) -> None:
        """The running loop is done; with the last one the connections are closed."""
        await super().aclose()
        await self.companion.aclose()

    def close(self) -> None:
        """Close both stores."""
        super().close()
        self.companion.close()

    async def survey(self) -> Vacancy | None:
        """What is missing of the companion, or of the queues; makes nothing."""
        self._join()
        survey = surveying(self.companion)
        vacancy = None if survey is None else await survey()
        if vacancy is not None:
            return replace(vacancy, facts=await self._beside(vacancy.facts))
        if await self._on_thread(self._client.survey()):
            return None
        await self.companion.open()
        return Vacancy(
            says="RabbitMQ has no queues of the namespace",
            comes="an app makes them when it first uses the store; there is nothing to install",
            facts=await self.probe(),
        )

    async def probe(self) -> Mapping[str, Any]:
        """Facts of both for ``treadle doctor``."""
        return await self._beside(await self.companion.probe())

    async def _beside(self, facts: Mapping[str, Any]) -> Mapping[str, Any]:
        broker = await self._on_thread(self._client.facts())
        findings = [*broker.pop("findings"), *facts.get("findings", ())]
        return {**facts, **broker, "findings": findings}

    # ------------------------------------------------------------- jobs

    async def open_session(self, info: SessionInfo, nonce: int | None = None) -> Session:
        """Make a foreman present."""
        return await self.companion.open_session(info, nonce)

    async def close_session(self, session: Session) -> Sequence[Fate]:
        """End presence and give back every lease."""
        fates = await self.companion.close_session(session)
        lines = self._noted.lines
        for token in [one for one in list(lines) if one.nonce == session.nonce]:
            del lines[token]
        return fates

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Add jobs, then name those that were added."""
        answers = await self.companion.push(jobs)
        await self._name(
            [
                self._named(job)
                for job, answer in zip(jobs, answers, strict=True)
                if answer.status in _NAMED and not _waits(job)
            ]
        )
        return answers

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs, first those that messages name."""
        taken = await self._take(ask)
        first = () if self._sweeps(ask, taken) else taken.ids
        try:
            claimed = await self.companion.claim(replace(ask, first=(*ask.first, *first)))
        except BaseException:
            if taken.messages:
                await self._on_thread(self._client.finish(taken))
            raise
        noted = self._noted
        for lease in claimed.leases:
            noted.lines[lease.token] = Line(lease.spec.queue, lease.spec.priority)
        if taken.messages:
            used = first or {lease.token.job_id for lease in claimed.leases}
            failpoint("message.before_ack")
            await self._on_thread(self._client.finish(taken, used))
            failpoint("message.after_ack")
        lines = {noted.lines[lease.token] for lease in claimed.leases} - noted.met
        if lines:
            noted.met |= lines
            await self._on_thread(self._client.meet(lines))
        return claimed

    async def _take(self, ask: Claim) -> Taken:
        places = ask.limit - len(ask.first)
        if places <= 0:
            return Taken()
        taking = self._thread.start(self._client.take(replace(ask, limit=places)))
        try:
            return await asyncio.shield(asyncio.wrap_future(taking))
        except asyncio.CancelledError:
            taking.add_done_callback(self._give_back)
            raise

    def _sweeps(self, ask: Claim, taken: Taken) -> bool:
        """Whether a claim is to go by the order of the companion; never two in a row."""
        now, noted = self._clock.monotonic(), self._noted
        full = 0 < ask.limit <= len(taken.messages)
        sweeps = full and not noted.sweeping and now - noted.swept >= _SWEEP
        if sweeps or not full:
            noted.swept = now
        noted.sweeping = sweeps
        return sweeps

    def _give_back(self, taking: Future[Taken]) -> None:
        """Nobody waits any more for what was taken."""
        if not taking.cancelled() and taking.exception() is None:
            self._thread.start(self._client.finish(taking.result()))

    async def wait(
        self, queues: Sequence[str], timeout: float, exclude: Sequence[str] = ()
    ) -> Sequence[Fate]:
        """Return when there may be something to claim."""
        return await self.companion.wait(queues, timeout, exclude)

    async def wait_for_room(self, queue: str, bound: int, timeout: float) -> Sequence[Fate]:
        """Return when a queue may be below a bound."""
        return await self.companion.wait_for_room(queue, bound, timeout)

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew leases."""
        answers = await self.companion.extend(session, held, lease)
        for one, answer in zip(held, answers, strict=True):
            if answer is Renewal.LOST:
                self._noted.lines.pop(one.token, None)
        return answers

    async def settle(self, ends: Sequence[Settlement]) -> Sequence[Settled]:
        """End attempts, then name what is to be tried again and what they have enqueued."""
        answers = await self.companion.settle(ends)
        named: list[Named] = []
        for end, answer in zip(ends, answers, strict=True):
            line = self._noted.lines.pop(end.token, None)
            if answer is not Settled.OK:
                continue
            match end.verdict:
                case Again(delay=delay) | Released(delay=delay) if line is not None:
                    named.append(Named(job_id=end.token.job_id, line=line, delay=delay))
                case Done():
                    named += [self._named(job) for job in end.follow_ups if not _waits(job)]
                case _:
                    pass
        await self._name(named)
        return answers

    def _named(self, job: NewJob) -> Named:
        delay = delay_of(job, self._clock.now())
        return Named(job_id=job.id, line=Line(job.queue, job.priority), delay=delay)

    def _renamed(self, record: JobRecord) -> Named:
        delay = 0.0 if record.due is None else record.due - self._clock.now()
        line = Line(record.spec.queue, record.priority)
        return Named(job_id=record.id, line=line, delay=delay)

    async def _name(self, named: Sequence[Named]) -> None:
        if named:
            failpoint("message.before_send")
            await self._on_thread(self._client.send(named))
            failpoint("message.after_send")

    async def find(self, query: Query) -> Page:
        """Look at jobs."""
        return await self.companion.find(query)

    async def alter(self, query: Query, change: Change) -> Altered:
        """Change jobs, then name those that are to run now or at another time."""
        altered = await self.companion.alter(query, change)
        if altered.done and not isinstance(change, Cancel | Delete):
            page = await self.companion.find(Query(ids=altered.done, limit=len(altered.done)))
            await self._name([self._renamed(record) for record in page.records])
            return with_fates(altered, page.fates)
        return altered

    # ------------------------------------------------------------- shared state

    async def acquire(
        self,
        asks: Sequence[Ask],
        who: str,
        ticket: Ticket | None = None,
        lease: float = 30.0,
    ) -> Granted | Wait:
        """Take all asks or none."""
        return await self.companion.acquire(asks, who, ticket, lease)

    async def renew(self, permit: Permit, lease: float = 30.0) -> bool:
        """Keep what is held."""
        return await self.companion.renew(permit, lease)

    async def adjust(self, permit: Permit, used: Mapping[str, float]) -> None:
        """Settle the real cost of rates."""
        await self.companion.adjust(permit, used)

    async def release(self, permit: Permit) -> None:
        """Free what is held."""
        await self.companion.release(permit)

    async def cancel(self, ticket: Ticket) -> None:
        """Leave the line."""
        await self.companion.cancel(ticket)

    async def read(self, keys: Sequence[str]) -> Mapping[str, Cell]:
        """The cells that exist."""
        return await self.companion.read(keys)

    async def write(self, writes: Sequence[Write]) -> bool:
        """All writes, or none."""
        return await self.companion.write(writes)

    # ------------------------------------------------------------- events

    async def publish(self, events: Sequence[Event]) -> None:
        """Tell whoever listens now."""
        await self.companion.publish(events)

    def subscribe(self, pattern: str) -> AsyncIterator[Event]:
        """Events whose name matches the glob, from now on."""
        return self.companion.subscribe(pattern)


def _waits(job: NewJob) -> bool:
    """Whether others have to end before it."""
    return job.after is not None and bool(job.after.ids)
