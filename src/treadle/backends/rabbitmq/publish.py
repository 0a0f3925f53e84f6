"""Messages on their way to the server, many at a time, each confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import cast

import msgspec
from aiormq.exceptions import DeliveryError, PublishError

from treadle.backends.rabbitmq.endings import Ended
from treadle.backends.rabbitmq.envelope import DeadLetter, Envelope, delay_of, encode, sealed
from treadle.backends.rabbitmq.layout import Line, Names, delay_key, levels
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.parcels import Confirming, Parcel, batches, hand_over
from treadle.backends.rabbitmq.refusals import told
from treadle.backends.rabbitmq.registry import Registry
from treadle.backends.rabbitmq.topology import Topology
from treadle.clock import Clock, SystemClock
from treadle.errors import BackendUnavailable
from treadle.records import NewJob

__all__ = ["Named", "Publisher"]

_ELECTION = 5.0
"""Seconds for which a message is offered again that is refused: for as long a queue of a cluster
may be without a leader, after the node of the last one is lost."""
_PAUSE = 0.1
_Refused = tuple[Parcel, DeliveryError]


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a companion has, and where a message about it goes."""

    job_id: str
    line: Line
    # Seconds until it can be claimed.
    delay: float = 0.0


class Publisher:
    """Publishes what is confirmed before anybody goes on.

    Args:
        link: to the server.
        names: of the namespace.
        topology, registry: make the queues.
        clock: what jobs are stamped with.
    """

    def __init__(
        self, link: Link, names: Names, topology: Topology, registry: Registry, clock: Clock
    ) -> None:
        self._link = link
        self._names = names
        self._topology = topology
        self._registry = registry
        self._clock = clock
        # A test that moves the time of the jobs has not waited for the server.
        self._network: Clock = SystemClock()
        self._most = link.address.window
        self._window = asyncio.Semaphore(self._most)
        self._turn = asyncio.Lock()

    async def push(self, jobs: Iterable[NewJob]) -> None:
        """Add jobs, in order. Raises unless all of them were confirmed."""
        now = self._clock.now()
        await self.send([await self._job(sealed(job, now), delay_of(job, now)) for job in jobs])

    async def carry_out(self, ended: Ended) -> None:
        """Publish what the end of an attempt leaves behind."""
        parcels: list[Parcel] = []
        if ended.again is not None:
            parcels.append(await self._job(ended.again, ended.delay))
        if ended.dead is not None:
            parcels.append(self._letter(ended.dead))
        if parcels:
            await self.send(parcels)
        if ended.follow_ups:
            await self.push(ended.follow_ups)

    async def put_aside(self, body: bytes, job_id: str, reason: str) -> None:
        """Put a message that cannot be read to the dead letters as it is."""
        await self.send([self._dead(body, job_id, {"treadle-cause": reason})])

    async def defer(self, body: bytes, job_id: str, line: Line, seconds: float) -> None:
        """Put a message back as it is, to come again after a while."""
        await self.send([await self._delayed(body, job_id, line, seconds)])

    async def announce(self, named: Iterable[Named]) -> None:
        """Name jobs that a companion has."""
        await self.send([await self._named(one) for one in named])

    # ------------------------------------------------------------- what goes where

    async def _named(self, one: Named) -> Parcel:
        await self._registry.ensure(one.line)
        body = one.job_id.encode()
        if one.delay > 0:
            return await self._delayed(body, one.job_id, one.line, one.delay)
        return Parcel(body=body, job_id=one.job_id, key=self._names.line(one.line), line=one.line)

    async def _job(self, envelope: Envelope, delay: float) -> Parcel:
        spec = envelope.spec
        line = Line(spec.queue, spec.priority)
        await self._registry.ensure(line)
        body = encode(envelope)
        if delay > 0:
            return await self._delayed(body, spec.id, line, delay)
        return Parcel(body=body, job_id=spec.id, key=self._names.line(line), line=line, rings=line)

    async def _delayed(self, body: bytes, job_id: str, line: Line, delay: float) -> Parcel:
        pauses = levels(delay)
        await self._topology.make_levels(pauses)
        return Parcel(
            body=body,
            job_id=job_id,
            exchange=self._names.step(pauses[0]),
            key=delay_key(pauses, line),
            line=line,
            pauses=pauses,
        )

    def _letter(self, dead: DeadLetter) -> Parcel:
        spec = dead.envelope.spec
        headers = {"treadle-task": spec.task, "treadle-queue": spec.queue,
                   "treadle-cause": dead.cause.value}  # fmt: skip
        if dead.fault is not None:
            headers["treadle-error"] = f"{dead.fault.type}: {dead.fault.message}"[:500]
        return self._dead(encode(dead), spec.id, headers)

    def _dead(self, body: bytes, job_id: str, headers: dict[str, str]) -> Parcel:
        return Parcel(body=body, job_id=job_id, key=self._names.dead, headers=headers)

    # ------------------------------------------------------------- sending

    async def send(self, parcels: list[Parcel]) -> None:
        """Return when all are confirmed.

        Raises:
            BackendFull: the server takes none now, or refused one.
            BackendUnavailable: some may have arrived and some not.
        """
        if not parcels:
            return
        batched = batches(parcels, self._most)
        sending = [asyncio.ensure_future(self._send(batch)) for batch in batched]
        # They reach the channel in the order of their tasks.
        done = await asyncio.gather(*sending, return_exceptions=True)
        for said in done:
            if isinstance(said, BaseException):
                raise said
        await self._ring({parcel.rings for parcel in parcels if parcel.rings is not None})

    async def _send(self, batch: list[Parcel]) -> None:
        async with self._places(len(batch)):
            with told(self._link.address.url):
                refused = await self._publish(batch)
                if refused:
                    await self._insist(refused)

    async def _insist(self, refused: list[_Refused]) -> None:
        """Publish what came back or was refused again."""
        until = self._network.monotonic() + min(_ELECTION, self._link.address.patience)
        pause, renewed = _PAUSE, False
        while refused:
            returned = [parcel for parcel, error in refused if isinstance(error, PublishError)]
            if self._network.monotonic() >= until or (returned and renewed):
                raise refused[0][1]
            if returned:
                # Somebody has deleted the queue: it is made again, once.
                for parcel in returned:
                    await self._renew(parcel)
                renewed = True
            else:
                # A channel that was opened before the others had elected a leader goes on asking
                # the lost one, for ever.
                await self._link.renew_publisher()
                await self._network.sleep(pause)
                pause *= 2
            refused = await self._publish([parcel for parcel, _ in refused])

    @asynccontextmanager
    async def _places(self, count: int) -> AsyncIterator[None]:
        """So many places of the window for a block."""
        taken = 0
        try:
            # One after the other: two who had half of theirs each would wait for each other.
            async with self._turn:
                while taken < count:
                    await self._window.acquire()
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._window.release()

    async def _publish(self, batch: list[Parcel]) -> list[_Refused]:
        """Return when all are answered, with those that came back or were refused."""
        # Only its own class has what is written down of each message.
        channel = cast("Confirming", await self._link.publisher())
        try:
            async with asyncio.timeout(self._link.address.patience):
                waiting = await hand_over(channel, batch)
                said = await asyncio.gather(*waiting, return_exceptions=True)
        except TimeoutError:
            # What still stands in line here must not be sent later, when it was sent again.
            await self._link.drop("publish")
            raise BackendUnavailable(
                f"{self._link.address.url} has not confirmed a message within "
                f"{self._link.address.patience:g} s",
                backend=self._link.address.url,
            ) from None
        refused: list[_Refused] = []
        for parcel, outcome in zip(batch, said, strict=True):
            if isinstance(outcome, DeliveryError):
                refused.append((parcel, outcome))
            elif isinstance(outcome, BaseException):
                raise outcome
        return refused

    async def _renew(self, parcel: Parcel) -> None:
        self._topology.forget()
        await self._topology.base()
        if parcel.line is not None:
            await self._registry.ensure(parcel.line)
            await self._topology.make_levels(parcel.pauses)

    async def _ring(self, lines: set[Line]) -> None:
        """Tell who waits. It may be lost: they look by themselves after a few seconds."""
        for line in lines:
            try:
                with told(self._link.address.url):
                    channel = await self._link.teller()
                    await channel.basic_publish(
                        line.word.encode(), exchange=self._names.bell, routing_key=line.queue
                    )
            except BackendUnavailable:
                return
