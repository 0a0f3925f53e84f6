"""The ends of attempts: what comes next is published and confirmed, then the message acknowledged.

Between the two the process may die, and the job is there twice; it is never gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress

from treadle.backends.common.untold import Untold
from treadle.backends.rabbitmq import fates
from treadle.backends.rabbitmq.endings import Ended, ended, given_back
from treadle.backends.rabbitmq.link import Link, is_lost
from treadle.backends.rabbitmq.publish import Publisher
from treadle.backends.rabbitmq.receipts import Receipts
from treadle.backends.rabbitmq.refusals import told
from treadle.backends.rabbitmq.sessions import Delivery, Desk, Desks, confirmed
from treadle.clock import Clock
from treadle.errors import BackendError
from treadle.logs import get_logger
from treadle.ports import Held, Settlement
from treadle.records import Renewal, Settled, Token

__all__ = ["Ends"]

_log = get_logger("treadle.rabbitmq")


class Ends:
    """Ends attempts, and gives back what was not ended.

    Args:
        link: to the server.
        desks: the leases.
        publisher: takes what comes next.
        clock: what ends are stamped with.
        untold: takes what became of jobs by themselves.
    """

    def __init__(
        self, link: Link, desks: Desks, publisher: Publisher, clock: Clock, untold: Untold
    ) -> None:
        self._link = link
        self._desks = desks
        self._publisher = publisher
        self._clock = clock
        self._untold = untold

    async def settle(self, ends: Sequence[Settlement]) -> list[Settled]:
        """End attempts, answers in order.

        Raises:
            BackendError: some are settled, and some not; the same again settles the rest.
        """
        # The first of each token; a second one finds it settled.
        first = {end.token: end for end in reversed(ends)}
        said = await asyncio.gather(
            *(self._settle(end) for end in first.values()), return_exceptions=True
        )
        outcomes = dict(zip(first, said, strict=True))
        await self._acknowledge(outcomes)
        for outcome in outcomes.values():
            if isinstance(outcome, BaseException):
                raise outcome
        answers: list[Settled] = []
        for end in ends:
            outcome = outcomes[end.token]
            answers.append(Settled.OK if isinstance(outcome, Delivery) else _plain(outcome))
            if isinstance(outcome, Delivery):
                outcomes[end.token] = Settled.ALREADY
        return answers

    async def _settle(self, end: Settlement) -> Delivery | Settled:
        """Publish what an end leaves behind; its message is acknowledged with those of others."""
        held = self._desks.held(end.token)
        if held is None:
            return Settled.ALREADY if self._desks.was_settled(end.token) else Settled.LOST
        if end.note is not None:
            held.lease.note = end.note
        now = self._clock.now()
        held.lease.ending = True
        try:
            await self._publisher.carry_out(ended(held.lease, end.verdict, end.follow_ups, now))
        except BaseException:
            held.lease.ending = False
            raise
        return held

    async def _acknowledge(self, outcomes: dict[Token, Delivery | Settled | BaseException]) -> None:
        """Have the server read the acknowledgements, or take their leases for lost."""
        ended: dict[Receipts, dict[Token, Delivery]] = {}
        for token, outcome in outcomes.items():
            if isinstance(outcome, Delivery):
                ended.setdefault(outcome.handed.receipts, {})[token] = outcome
        for receipts, held in ended.items():
            try:
                await self._answer(receipts, held.values())
                await confirmed(receipts.channel, self._link)
            except BackendError as error:
                outcomes.update(dict.fromkeys(held, error))
                continue
            for token in held:
                self._desks.over(token)
                self._desks.settled(token)

    async def _answer(self, receipts: Receipts, held: Collection[Delivery]) -> None:
        try:
            with told(self._link.address.url):
                await receipts.acknowledge(one.handed.tag for one in held)
        except BaseException:
            for one in held:
                one.lease.ending = False
            raise

    # ------------------------------------------------------------- without an end

    async def lapse(self, desk: Desk) -> None:
        """Give back what nobody renews: a foreman may have dropped it without a word."""
        now = self._clock.monotonic()
        late = [
            (token, held)
            for token, held in desk.leases.items()
            if held.lease.until < now and not held.lease.ending
        ]
        # All of them at once: another call may lapse the same.
        for token, _ in late:
            del desk.leases[token]
        for _, held in late:
            await self._give_back(held, given_back(held.lease, self._clock.now(), closed=False))

    async def extend(self, held: Sequence[Held], lease: float) -> list[Renewal]:
        """Renew leases, and say which are held."""
        until = self._clock.monotonic() + lease
        answers: list[Renewal] = []
        given: list[tuple[Token, Delivery]] = []
        for one in held:
            delivery = self._desks.held(one.token)
            answers.append(Renewal.LOST if delivery is None else Renewal.HELD)
            if delivery is None:
                continue
            delivery.lease.until = until
            delivery.lease.started = delivery.lease.started or one.started
            if one.note is not None:
                delivery.lease.note = one.note
            if lease <= 0:
                given.append((one.token, delivery))
        for token, delivery in given:
            self._desks.over(token)
            end = given_back(delivery.lease, self._clock.now(), closed=False)
            await self._give_back(delivery, end)
        return answers

    async def close(self, desk: Desk) -> None:
        """Give back what a session holds, and close its channel."""
        leases, desk.leases = [*desk.leases.values()], {}
        waiting, desk.suspects = desk.suspects, []
        for delivery in leases:
            end = given_back(delivery.lease, self._clock.now(), closed=True)
            await self._give_back(delivery, end)
        for delivery in waiting:
            # It was never given out.
            await self._give_back(delivery, Ended(again=delivery.lease.envelope))
        if desk.channel is not None and not is_lost(desk.channel):
            with suppress(BackendError):
                await confirmed(desk.channel, self._link)
        await desk.leave_channel()

    async def _give_back(self, delivery: Delivery, end: Ended) -> None:
        if delivery.lost:
            return
        try:
            await self._publisher.carry_out(end)
            self._note(delivery, end)
            with told(self._link.address.url):
                await delivery.handed.acknowledge()
        except BackendError as error:
            # The server gives it to others when the channel is closed.
            _log.warning(
                "lease.not_given_back", job_id=delivery.lease.envelope.spec.id, error=str(error)
            )

    def _note(self, delivery: Delivery, end: Ended) -> None:
        if end.dead is not None:
            self._untold.fates.append(fates.dead(end.dead))
        elif end.again is not None and end.again.crashes > delivery.lease.envelope.crashes:
            self._untold.fates.append(fates.crashed(end.again))


def _plain(outcome: Delivery | Settled | BaseException) -> Settled:
    assert isinstance(outcome, Settled)
    return outcome
