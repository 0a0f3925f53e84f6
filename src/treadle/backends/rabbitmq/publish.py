"""Messages on their way to the server, many at a time, each confirmed."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import TYPE_CHECKING, cast

import msgspec
from aiormq.exceptions import PublishError
from pamqp.commands import Basic

from treadle.backends.rabbitmq.endings import Ended
from treadle.backends.rabbitmq.envelope import DeadLetter, Envelope, delay_of, encode, sealed
from treadle.backends.rabbitmq.layout import Line, Names, delay_key, levels
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.refusals import told
from treadle.backends.rabbitmq.registry import Registry
from treadle.backends.rabbitmq.topology import Topology
from treadle.clock import Clock
from treadle.errors import BackendUnavailable
from treadle.records import NewJob

if TYPE_CHECKING:
    from aiormq import Channel

__all__ = ["Named", "Publisher"]

_TYPE = "application/vnd.treadle.job+msgpack"


class Named(msgspec.Struct, frozen=True, kw_only=True):
    """A job that a companion has, and where a message about it goes."""

    job_id: str
    line: Line
    # Seconds until it can be claimed.
    delay: float = 0.0


class _Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A message and where it goes."""

    body: bytes
    job_id: str
    exchange: str = ""
    key: str
    headers: dict[str, str] = {}
    # What must be there for it to arrive.
    line: Line | None = None
    pauses: list[int] = []
    # Told that there is something to claim.
    rings: Line | None = None


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
        self._window = asyncio.Semaphore(link.address.window)

    async def push(self, jobs: Iterable[NewJob]) -> None:
        """Add jobs, in order. Raises unless all of them were confirmed."""
        now = self._clock.now()
        await self.send([await self._job(sealed(job, now), delay_of(job, now)) for job in jobs])

    async def carry_out(self, ended: Ended) -> None:
        """Publish what the end of an attempt leaves behind."""
        parcels: list[_Parcel] = []
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

    async def _named(self, one: Named) -> _Parcel:
        await self._registry.ensure(one.line)
        body = one.job_id.encode()
        if one.delay > 0:
            return await self._delayed(body, one.job_id, one.line, one.delay)
        return _Parcel(body=body, job_id=one.job_id, key=self._names.line(one.line), line=one.line)

    async def _job(self, envelope: Envelope, delay: float) -> _Parcel:
        spec = envelope.spec
        line = Line(spec.queue, spec.priority)
        await self._registry.ensure(line)
        body = encode(envelope)
        if delay > 0:
            return await self._delayed(body, spec.id, line, delay)
        return _Parcel(body=body, job_id=spec.id, key=self._names.line(line), line=line, rings=line)

    async def _delayed(self, body: bytes, job_id: str, line: Line, delay: float) -> _Parcel:
        pauses = levels(delay)
        await self._topology.make_levels(pauses)
        return _Parcel(
            body=body,
            job_id=job_id,
            exchange=self._names.step(pauses[0]),
            key=delay_key(pauses, line),
            line=line,
            pauses=pauses,
        )

    def _letter(self, dead: DeadLetter) -> _Parcel:
        spec = dead.envelope.spec
        headers = {"treadle-task": spec.task, "treadle-queue": spec.queue,
                   "treadle-cause": dead.cause.value}  # fmt: skip
        if dead.fault is not None:
            headers["treadle-error"] = f"{dead.fault.type}: {dead.fault.message}"[:500]
        return self._dead(encode(dead), spec.id, headers)

    def _dead(self, body: bytes, job_id: str, headers: dict[str, str]) -> _Parcel:
        return _Parcel(body=body, job_id=job_id, key=self._names.dead, headers=headers)

    # ------------------------------------------------------------- sending

    async def send(self, parcels: list[_Parcel]) -> None:
        """Return when all are confirmed.

        Raises:
            BackendFull: the server takes none now, or refused one.
            BackendUnavailable: some may have arrived and some not.
        """
        if not parcels:
            return
        sending = [asyncio.ensure_future(self._send(parcel)) for parcel in parcels]
        # They reach the channel in the order of their tasks.
        done = await asyncio.gather(*sending, return_exceptions=True)
        for said in done:
            if isinstance(said, BaseException):
                raise said
        await self._ring({parcel.rings for parcel in parcels if parcel.rings is not None})

    async def _send(self, parcel: _Parcel) -> None:
        async with self._window:
            with told(self._link.address.url):
                try:
                    await self._publish(parcel)
                except PublishError:
                    # Somebody has deleted the queue: it is made again, once.
                    await self._renew(parcel)
                    await self._publish(parcel)

    async def _publish(self, parcel: _Parcel) -> None:
        # Only its own class says that it need not wait.
        channel = cast("Channel", await self._link.publisher())
        properties = Basic.Properties(
            content_type=_TYPE,
            delivery_mode=2,
            message_id=parcel.job_id,
            headers=dict(parcel.headers),
        )
        try:
            await channel.basic_publish(
                parcel.body,
                exchange=parcel.exchange,
                routing_key=parcel.key,
                mandatory=True,
                properties=properties,
                # The confirmation says more than that it was written to the connection.
                wait=False,
                timeout=self._link.address.patience,
            )
        except TimeoutError:
            # What still stands in line here must not be sent later, when it was sent again.
            await self._link.drop("publish")
            raise BackendUnavailable(
                f"{self._link.address.url} has not confirmed a message within "
                f"{self._link.address.patience:g} s",
                backend=self._link.address.url,
            ) from None

    async def _renew(self, parcel: _Parcel) -> None:
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
