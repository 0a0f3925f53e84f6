"""Claim: deliveries for the free places, judged one by one."""

from __future__ import annotations

from aiormq.abc import DeliveredMessage

from treadle.backends.common.untold import Untold
from treadle.backends.rabbitmq import fates
from treadle.backends.rabbitmq.endings import Ended, Lease, delivered
from treadle.backends.rabbitmq.envelope import DeadLetter, decode
from treadle.backends.rabbitmq.intake import MOST, Intake
from treadle.backends.rabbitmq.layout import Line
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.publish import Publisher
from treadle.backends.rabbitmq.receipts import Handed, Receipts
from treadle.backends.rabbitmq.sessions import Delivery, Desk
from treadle.clock import Clock
from treadle.errors import BackendError, NewerFormat, NotDecodable
from treadle.logs import get_logger
from treadle.ports import Claim, Claimed
from treadle.records import Cause, Token
from treadle.records import Lease as Granted

__all__ = ["Claims"]

_log = get_logger("treadle.rabbitmq")
_SUSPECTS = 20
"""Suspects that one session keeps until it may run them."""
_LATER = 10.0
"""Seconds after which a message of a newer version is looked at again."""


class Claims:
    """Gives out the jobs of one namespace.

    Args:
        link: to the server.
        intake: has the messages.
        publisher: takes what is over.
        clock: what leases are stamped with.
        untold: takes what became of jobs by themselves.
    """

    def __init__(
        self, link: Link, intake: Intake, publisher: Publisher, clock: Clock, untold: Untold
    ) -> None:
        self._link = link
        self._intake = intake
        self._publisher = publisher
        self._clock = clock
        self._untold = untold

    async def claim(self, desk: Desk, ask: Claim) -> Claimed:
        """Lease up to ``limit`` jobs."""
        receipts = await desk.open_channel(self._link)
        if desk.suspects and not ask.holding:
            return self._alone(desk, ask)
        plan = await self._intake.plan(ask)
        granted: list[Granted] = []
        short = any(count > MOST for count in plan.lines.values())
        for line, count in plan.lines.items():
            if len(desk.suspects) >= _SUSPECTS:
                break
            for handed in await self._consume(desk, receipts, line, min(count, MOST)):
                lease = await self._vet(handed, line)
                if lease is None or lease.envelope.suspect:
                    short = True
                if lease is not None:
                    granted += await self._take(desk, ask, handed, lease)
        if desk.suspects and not granted and not ask.holding:
            return self._alone(desk, ask)
        more = short or bool(plan.more)
        if plan.more is None and not more:
            more = await self._intake.anything(ask.queues, ask.exclude)
        return Claimed(leases=tuple(granted), more=more, suspects_wait=bool(desk.suspects))

    async def _take(self, desk: Desk, ask: Claim, handed: Handed, lease: Lease) -> list[Granted]:
        """The lease of a message, if it is to be given out now."""
        delivery = Delivery(handed=handed, lease=lease)
        if lease.envelope.suspect:
            desk.suspects.append(delivery)
            return []
        if desk.holds(lease.envelope.spec.id):
            # The same job in two messages: the other one goes on.
            await handed.acknowledge()
            return []
        return [self._grant(desk, delivery, ask)]

    # ------------------------------------------------------------- taking

    async def _consume(
        self, desk: Desk, receipts: Receipts, line: Line, count: int
    ) -> list[Handed]:
        try:
            return await self._intake.consume(receipts, line, count)
        except BackendError:
            # All that this channel has been given goes back.
            await desk.leave_channel()
            raise

    async def _vet(self, handed: Handed, line: Line) -> Lease | None:
        """The attempt that a message is; ``None`` when it is none, and goes elsewhere."""
        try:
            return await self._judge(handed, line)
        except BackendError as error:
            # It cannot be put where it belongs now: it stays, for the next claim.
            _log.warning("message.not_moved", queue=line.queue, error=str(error))
            await handed.give_back()
            return None

    async def _judge(self, handed: Handed, line: Line) -> Lease | None:
        message, job_id = handed.message, handed.job_id
        body, now = bytes(message.body), self._clock.now()
        try:
            envelope = decode(body)
            judged = delivered(envelope, _lost(message), now)
        except NewerFormat:
            await self._publisher.defer(body, job_id, line, _LATER)
        except NotDecodable as error:
            _log.error("message.undecodable", job_id=job_id, error=str(error))
            await self._publisher.put_aside(body, job_id, Cause.UNDECODABLE.value)
            self._untold.fates.append(fates.unreadable(job_id, line.queue))
        else:
            if not isinstance(judged, DeadLetter):
                if judged.crashes > envelope.crashes:
                    self._untold.fates.append(fates.crashed(judged))
                return Lease(envelope=judged, holder="", granted=now, note=judged.note)
            await self._publisher.carry_out(Ended(dead=judged))
            self._untold.fates.append(fates.dead(judged))
        await handed.acknowledge()
        return None

    # ------------------------------------------------------------- granting

    def _alone(self, desk: Desk, ask: Claim) -> Claimed:
        """The first suspect, and nothing else."""
        one = desk.suspects.pop(0)
        granted = self._grant(desk, one, ask)
        return Claimed(leases=(granted,), more=bool(desk.suspects))

    def _grant(self, desk: Desk, delivery: Delivery, ask: Claim) -> Granted:
        lease = delivery.lease
        envelope = lease.envelope
        lease.holder = desk.session.info.name
        lease.granted = self._clock.now()
        lease.until = self._clock.monotonic() + ask.lease
        token = Token(envelope.spec.id, envelope.fence, desk.session.nonce)
        desk.leases[token] = delivery
        return Granted(
            token=token,
            spec=envelope.spec,
            tries=envelope.tries,
            crashes=envelope.crashes,
            releases=envelope.releases,
            aside_since=envelope.aside_since,
            suspect=envelope.suspect,
            created=envelope.created,
            started=lease.granted,
            note=envelope.note,
        )


def _lost(message: DeliveredMessage) -> int:
    """Deliveries of a message that ended with their channel."""
    count = (message.header.properties.headers or {}).get("x-delivery-count", 0)
    return count if isinstance(count, int) else 0
