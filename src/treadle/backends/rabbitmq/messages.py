"""Messages that name jobs: how foremen are given the jobs that a companion has.

They say where to look and grant nothing. So nothing depends on them: one that is lost, late or
there twice costs time and changes nothing, and while the server is away there are none.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Container, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec

from treadle.backends.rabbitmq.address import Address
from treadle.backends.rabbitmq.intake import MOST, Intake
from treadle.backends.rabbitmq.layout import IdNames, Line
from treadle.backends.rabbitmq.link import Link, end, is_lost
from treadle.backends.rabbitmq.probe import away, beside
from treadle.backends.rabbitmq.publish import Named, Publisher
from treadle.backends.rabbitmq.receipts import Handed, Receipts
from treadle.backends.rabbitmq.refusals import is_silent
from treadle.backends.rabbitmq.registry import Registry
from treadle.backends.rabbitmq.topology import Topology
from treadle.clock import Clock, SystemClock
from treadle.errors import BackendError, BackendUnavailable
from treadle.ids import Ids
from treadle.logs import get_logger
from treadle.ports import Claim

__all__ = ["Messages", "Named", "Taken"]

_log = get_logger("treadle.rabbitmq")
_AWAY = 5.0
"""Seconds for which a server that has failed is left alone."""
_PATIENCE = 2.0
"""Seconds that one request may take; those who ask can do without."""
_OF_LEASE = 0.25
"""Share of a lease that a claim may wait: it begins when the claim is sent."""


class Taken(msgspec.Struct, frozen=True):
    """Messages that were delivered, in the order in which their jobs come."""

    messages: tuple[Handed, ...] = ()

    @property
    def ids(self) -> tuple[str, ...]:
        """The jobs that they name."""
        return tuple(message.job_id for message in self.messages)


class Messages:
    """The messages of one namespace, on one event loop.

    Args:
        address: where the server is.
        namespace: prefix of the queues.
        ids: names consumers.
    """

    def __init__(self, address: Address, namespace: str, ids: Ids) -> None:
        names = IdNames(namespace)
        self.link = link = Link(address)
        self._names = names
        # Of the network, so always that of the machine.
        self._clock: Clock = SystemClock()
        self._topology = topology = Topology(link, names)
        link.connected = topology.forget
        self._registry = registry = Registry(link, names, topology, ids=ids, heard=lambda _: None)
        self._publisher = Publisher(link, names, topology, registry, self._clock)
        self._intake = Intake(link, names, topology, registry, ids)
        # How many are asked for is a setting of the channel: one who takes at a time.
        self._taking = asyncio.Lock()
        self._receipts: Receipts | None = None
        self._away_until = 0.0
        self._away = False
        # Looks whether the server is back.
        self._looking: asyncio.Task[None] | None = None
        # What nobody waits for.
        self._behind: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Make what every namespace has. A server that is away is not waited for.

        Raises:
            BackendError: it answers, and cannot be used.
        """
        try:
            await self._topology.base()
        except BackendUnavailable as error:
            if not is_silent(error):
                raise
            self._leave_alone("open", error)

    async def send(self, named: Sequence[Named]) -> None:
        """Name jobs, as far as the server can be reached."""
        if self._reachable():
            async with self._tried("send", jobs=len(named)):
                await self._publisher.announce(named)

    async def take(self, ask: Claim) -> Taken:
        """As many messages as jobs are asked for; none while the server cannot be reached."""
        found: list[Handed] = []
        patience = min(_PATIENCE, ask.lease * _OF_LEASE)
        async with self._taking:
            if not self._reachable():
                return Taken()
            async with self._tried("take", patience):
                try:
                    plan = await self._intake.plan(ask)
                    for line, count in plan.lines.items():
                        receipts = await self._open_channel()
                        found += await self._intake.consume(receipts, line, min(count, MOST))
                except BaseException:
                    # What was handed out cannot be known: all of it goes back.
                    found.clear()
                    self._leave_channel()
                    raise
        return Taken(tuple(found))

    async def finish(self, taken: Taken, used: Container[str] = ()) -> None:
        """Have the server forget the messages that name these jobs, and take back the others."""
        with suppress(Exception):  # they go back with their channel, and name what is over
            there = [one for one in taken.messages if not one.lost]
            for receipts in {one.receipts for one in there}:
                mine = [one for one in there if one.receipts is receipts]
                await receipts.acknowledge(one.tag for one in mine if one.job_id in used)
                await receipts.give_back(one.tag for one in mine if one.job_id not in used)

    async def meet(self, lines: Iterable[Line]) -> None:
        """A job of these lines was seen: messages of them are to be taken, too."""
        if self._reachable():
            async with self._tried("meet"):
                for line in lines:
                    await self._registry.ensure(line)

    async def survey(self) -> bool:
        """Whether the server has queues of the namespace, or is away; makes none."""
        try:
            return await self._topology.has(self._names.names)
        except BackendUnavailable as error:
            if not is_silent(error):
                raise
            return True

    async def facts(self) -> dict[str, Any]:
        """What the server says of itself, for ``treadle doctor``; makes no queues."""
        url = self.link.address.url
        try:
            ready: int | None = None
            if await self._topology.has(self._names.names):
                await self._registry.read()
                ready = 0
                for queue in list(self._registry.queues):
                    for line in self._registry.lines(queue):
                        ready += await self._topology.ready(self._names.line(line)) or 0
            blocked = await self.link.in_alarm()
        except BackendUnavailable as error:
            return away(str(error))
        return beside(url, self.link.server, ready, blocked=blocked)

    async def aclose(self) -> None:
        """Close the connections."""
        self._receipts = None
        if self._looking is not None:
            self._looking.cancel()
        await asyncio.gather(*self._behind, return_exceptions=True)
        await self.link.aclose()

    # ------------------------------------------------------------- a server that fails

    def _reachable(self) -> bool:
        """Whether the server answered when it was last asked. If not, it is asked now and then."""
        if self._away and self._looking is None and self._clock.monotonic() >= self._away_until:
            self._looking = self._meanwhile(self._look())
        return not self._away

    async def _look(self) -> None:
        """Whether the server is back."""
        try:
            async with self._tried("look", self.link.address.patience):
                await self._topology.base()
                await self._topology.has(self._names.names)
        finally:
            self._looking = None

    @asynccontextmanager
    async def _tried(
        self, verb: str, patience: float = _PATIENCE, **facts: object
    ) -> AsyncIterator[None]:
        """What fails in the block is not missed; the server is left alone for a while."""
        try:
            async with asyncio.timeout(patience):
                yield
        except (BackendError, TimeoutError) as error:
            self._leave_alone(verb, error, **facts)
            for role in ("publish", "serve") if isinstance(error, TimeoutError) else ():
                # Nothing depends on what is still sent.
                self._meanwhile(self.link.drop(role))
        else:
            if self._away:
                _log.info("messages.back")
            self._away = False

    def _leave_alone(self, verb: str, error: Exception, **facts: object) -> None:
        self._away_until = self._clock.monotonic() + _AWAY
        if not self._away:
            _log.warning(
                "messages.away",
                verb=verb,
                error=str(error) or "it does not answer",
                hint="foremen take their jobs from the companion meanwhile",
                **facts,
            )
        self._away = True

    async def _open_channel(self) -> Receipts:
        receipts = self._receipts
        if receipts is None or is_lost(receipts.channel):
            channel = await self.link.channel("serve", publisher_confirms=False)
            receipts = self._receipts = Receipts(channel)
        return receipts

    def _leave_channel(self) -> None:
        receipts, self._receipts = self._receipts, None
        if receipts is not None and not is_lost(receipts.channel):
            self._meanwhile(end(receipts.channel))

    def _meanwhile(self, step: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Have something done that a server which does not answer may take long for."""
        task = asyncio.ensure_future(step)
        self._behind.add(task)
        task.add_done_callback(self._behind.discard)
        return task
