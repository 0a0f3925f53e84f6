"""Everything of one namespace on one event loop, which is that of a thread."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from treadle.backends.common.untold import Untold
from treadle.backends.rabbitmq.address import Address
from treadle.backends.rabbitmq.bell import Bell
from treadle.backends.rabbitmq.claim import Claims
from treadle.backends.rabbitmq.events import Broadcast
from treadle.backends.rabbitmq.intake import Intake
from treadle.backends.rabbitmq.layout import Names
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.probe import facts, no_queues
from treadle.backends.rabbitmq.publish import Publisher
from treadle.backends.rabbitmq.registry import Registry
from treadle.backends.rabbitmq.sessions import Desks
from treadle.backends.rabbitmq.settle import Ends
from treadle.backends.rabbitmq.topology import Topology
from treadle.clock import Clock
from treadle.errors import BackendUnavailable, LeaseLost, OutcomeUnknown
from treadle.ids import Ids
from treadle.ports import Claim, Claimed, Held, Vacancy
from treadle.records import NewJob, Pushed, PushStatus, Renewal, Session

__all__ = ["Client"]


class Client:
    """Carries out the verbs. Not safe to use from other loops.

    Args:
        address: where the server is.
        namespace: prefix of the queues.
        clock: what jobs and leases are stamped with.
        ids: names consumers and tells processes apart.
    """

    def __init__(self, address: Address, namespace: str, clock: Clock, ids: Ids) -> None:
        names = Names(namespace, address.max_failed)
        self._names = names
        self.link = link = Link(address)
        self.desks = Desks()
        self._bell = Bell(link, names, clock)
        self._topology = topology = Topology(link, names)
        # It may be another server, or the same without its data.
        link.connected = topology.forget
        self._registry = registry = Registry(link, names, topology, ids=ids, heard=self._bell.heard)
        self._bell.learns = registry.know
        self._bell.opened = registry.doubt
        publisher = Publisher(link, names, topology, registry, clock)
        self._publisher = publisher
        self._intake = Intake(link, names, topology, registry, ids)
        self.untold = Untold()
        self._claims = Claims(link, self._intake, publisher, clock, self.untold)
        self.ends = Ends(link, self.desks, publisher, clock, self.untold)
        self.broadcast = Broadcast(link, names, ids)

    async def open(self) -> None:
        """Reach the server and make what every namespace has."""
        await self._topology.base()

    async def push(self, jobs: Sequence[NewJob]) -> list[Pushed]:
        """Add jobs, answers in order."""
        first = list({job.id: at for at, job in reversed(list(enumerate(jobs)))}.values())
        kept = [jobs[at] for at in sorted(first)]
        try:
            await self._publisher.push(kept)
        except BackendUnavailable as error:
            once = next((job for job in kept if job.at_most_once), None)
            if once is None:
                raise
            # To send it again might make two of it.
            raise OutcomeUnknown(
                f"whether job {once.id}, which may run at most once, was accepted is not known: "
                f"{error}",
                job_id=once.id,
            ) from error
        answers = [Pushed(PushStatus.EXISTS)] * len(jobs)
        for at in first:
            answers[at] = Pushed(PushStatus.CREATED)
        return answers

    async def claim(self, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs; asked again, answer the same."""
        desk = self.desks.find(ask.session.nonce)
        if desk is None:
            raise LeaseLost(
                f"session {ask.session.info.name!r} is closed or of another process; open another"
            )
        async with desk.claiming:
            if ask.request > desk.request:
                await self.ends.lapse(desk)
                desk.answer = await self._claims.claim(desk, ask)
                desk.request = ask.request
            return desk.answer

    async def wait(self, queues: Sequence[str], timeout: float, exclude: Sequence[str]) -> None:
        """Return when there may be something to claim."""
        if not self.broadcast.nobody:
            # After a connection was lost, who listens is to hear again.
            await self.broadcast.hear()
        await self._bell.wait(self._intake, queues, timeout, exclude)

    async def extend(
        self, session: Session, held: Sequence[Held], lease: float
    ) -> Sequence[Renewal]:
        """Renew leases, and say which are held."""
        answers = await self.ends.extend(held, lease)
        desk = self.desks.find(session.nonce)
        if desk is not None:
            await self.ends.lapse(desk)
        return answers

    async def close_session(self, session: Session) -> None:
        """Give back what a session holds."""
        desk = self.desks.remove(session.nonce)
        if desk is not None:
            async with desk.claiming:
                await self.ends.close(desk)

    async def counts(self) -> dict[str, int]:
        """Jobs of each queue that could be claimed now."""
        await self._registry.read()
        found: dict[str, int] = {}
        for queue in list(self._registry.queues):
            lines = [self._names.line(line) for line in self._registry.lines(queue)]
            found[queue] = sum([await self._topology.ready(name) or 0 for name in lines])
        return found

    async def probe(self) -> dict[str, Any]:
        """Facts for ``treadle doctor``."""
        counts = await self.counts()
        dead = await self._topology.ready(self._names.dead) or 0
        return facts(self.link.server, counts, dead, blocked=await self.link.in_alarm())

    async def survey(self) -> Vacancy | None:
        """Whether the server has no queues of the namespace; makes none."""
        if await self._topology.has(self._names.names):
            return None
        found = facts(self.link.server, {}, 0, blocked=await self.link.in_alarm())
        return no_queues(self._names, found)

    async def aclose(self) -> None:
        """Close the connections; who waits looks again, and ends."""
        self._bell.wake_all()
        await self.link.aclose()
