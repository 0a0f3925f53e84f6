"""Rates as asks of jobs: a place is reserved, and the job scheduled for it."""

from __future__ import annotations

import pytest

from treadle.ports import Feature, Granted
from treadle.records import Algorithm, Hold, JobState, Spend
from treadle.testing.clock import START, ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["RatesContract"]


def rate(
    count: float, per: float = 10.0, cost: float = 1.0, burst: float | None = None
) -> tuple[Spend, ...]:
    """The asks of one rate."""
    return (Spend(key="r", count=count, per=per, cost=cost, burst=burst),)


def counted(algorithm: Algorithm) -> tuple[Spend, ...]:
    """Two a minute, counted in windows."""
    return (Spend(key="r", count=2, per=60.0, algorithm=algorithm),)


@needs(Feature.KEYS)
class RatesContract(Contract):
    """``Spend``: units of a rate."""

    async def dues(self, store: Driver, ids: list[str]) -> list[float | None]:
        """When the jobs are due, in seconds from the start of the clock; None when not ahead."""
        records = [await store.record(job_id) for job_id in ids]
        ahead = [record.state is JobState.SCHEDULED for record in records]
        return [
            None if record.due is None or not late else round(record.due - START, 3)
            for record, late in zip(records, ahead, strict=True)
        ]

    async def test_a_full_bucket_at_once_then_spaced(self, store: Driver) -> None:
        """Rates: GCRA; T = per / count, tau = T × count; then max(tat, now) + c·T − tau."""
        ids = await store.add_many(8, asks=rate(5))
        assert await store.claimed(10) == ids[:5]
        assert await self.dues(store, ids[5:]) == [2.0, 4.0, 6.0]

    async def test_a_burst_of_one_spaces_evenly(self, store: Driver) -> None:
        """Rates: token and leaky bucket are settings of GCRA."""
        ids = await store.add_many(3, asks=rate(5, burst=1))
        assert await store.claimed(10) == ids[:1]
        assert await self.dues(store, ids[1:]) == [2.0, 4.0]

    async def test_a_reserved_place_is_paid(self, store: Driver, clock: ManualClock) -> None:
        """Claim 5. Scheduled for its instant and *paid*: it does not ask again."""
        ids = await store.add_many(3, asks=rate(1))
        assert await store.claimed(10) == ids[:1]
        assert await store.claimed(10) == []
        for job_id in ids[1:]:
            clock.advance(9)
            assert await store.claimed(10) == []
            clock.advance(1)
            assert await store.claimed(10) == [job_id]

    async def test_a_place_is_used_once(self, store: Driver, clock: ManualClock) -> None:
        """Claim 5. ``paid`` is cleared when an attempt ends."""
        ids = await store.add_many(2, asks=rate(1))
        await store.done(await store.take())
        assert await store.claimed() == []
        clock.advance(10)
        lease = await store.take()
        assert lease.spec.id == ids[1]
        await store.again(lease)
        assert await store.claimed() == []
        assert await self.dues(store, ids[1:]) == [20.0]

    async def test_costs(self, store: Driver, clock: ManualClock) -> None:
        """Rates: a cost c moves the theoretical arrival time by c·T."""
        first = await store.add(asks=rate(4, cost=3))
        second = await store.add(asks=rate(4, cost=3))
        assert await store.claimed(5) == [first]
        assert await self.dues(store, [second]) == [5.0]
        clock.advance(5)
        assert await store.claimed(5) == [second]

    async def test_a_cost_that_can_never_be_granted(self, store: Driver) -> None:
        """Claim 5. A store treats it as capped to the whole."""
        first = await store.add(asks=rate(2, cost=50))
        assert await store.claimed(5) == [first]
        second = await store.add(asks=rate(2))
        assert await store.claimed(5) == []
        assert await self.dues(store, [second]) == [5.0]

    async def test_a_rest_fills_the_bucket_and_no_more(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """I10. Starts never exceed the bound in any window."""
        await store.add_many(2, asks=rate(2))
        for lease in await store.claim(5):
            await store.done(lease)
        clock.advance(1000)
        ids = await store.add_many(4, asks=rate(2))
        assert await store.claimed(5, who="two") == ids[:2]

    async def test_fixed_windows(self, store: Driver, clock: ManualClock) -> None:
        """Rates: windows start at multiples of ``per``; the place is booked there."""
        clock.advance(50)
        ids = await store.add_many(5, asks=counted(Algorithm.FIXED))
        assert await store.claimed(10) == ids[:2]
        assert await self.dues(store, ids[2:]) == [60.0, 60.0, 120.0]
        clock.advance(10)
        assert await store.claimed(10) == ids[2:4]

    async def test_sliding_windows(self, store: Driver, clock: ManualClock) -> None:
        """Rates: the last window weighted by its overlap, plus the present one."""
        ids = await store.add_many(3, asks=counted(Algorithm.SLIDING))
        for lease in await store.claim(10):
            await store.done(lease)
        assert await self.dues(store, ids) == [None, None, 90.0]
        clock.advance(90)
        assert await store.claimed(10, who="two") == ids[2:]

    @needs(Feature.TOGETHER)
    async def test_the_latest_of_several(self, store: Driver) -> None:
        """Claim 5. It is scheduled for the latest of the instants."""
        asks = (
            Spend(key="a", count=1, per=10.0),
            Spend(key="b", count=1, per=30.0),
        )
        ids = await store.add_many(2, asks=asks)
        assert await store.claimed(5) == ids[:1]
        assert await self.dues(store, ids[1:]) == [30.0]

    async def test_nothing_is_spent_when_a_slot_is_full(self, store: Driver) -> None:
        """Claim 5. Slots come before rates; the job that is parked has spent nothing."""
        held = (Hold(key="s", slots=1),)
        await store.run(asks=held)
        parked = await store.add(asks=held + rate(1))
        assert await store.claimed(5) == []
        assert (await store.record(parked)).reason == "limit:s"
        other = await store.add(asks=rate(1))
        assert await store.claimed(5) == [other]

    async def test_what_is_paid_is_kept_while_waiting(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Claim 5. A job that has to wait for a slot keeps what it has paid."""
        held = (Hold(key="s", slots=1),)
        await store.add(asks=rate(1))
        paid = await store.add(asks=held + rate(1))
        assert len(await store.claim(5)) == 1
        assert await self.dues(store, [paid]) == [10.0]
        blocker = await store.run(asks=held)
        clock.advance(10)
        assert await store.claimed(5) == []
        assert (await store.record(paid)).reason == "limit:s"
        await store.done(blocker)
        assert await store.claimed(5) == [paid]

    async def test_nobody_behind_is_held_up(self, store: Driver) -> None:
        """3.3. A limited job is moved away rather than polled."""
        await store.add_many(3, asks=rate(1))
        free = await store.add()
        assert free in await store.claimed(5)

    @needs(Feature.SHARED)
    async def test_jobs_and_permits_share_the_rate(self, store: Driver) -> None:
        """Shared: spends share the rate."""
        granted = await store.backend.acquire(rate(1), "me")
        assert isinstance(granted, Granted)
        job_id = await store.add(asks=rate(1))
        assert await store.claimed() == []
        assert await self.dues(store, [job_id]) == [10.0]

    async def test_next_due_is_the_reserved_instant(self, store: Driver) -> None:
        """Claim 7. A foreman knows when to come back."""
        await store.add_many(2, asks=rate(1))
        lease = await store.take()
        await store.done(lease)
        assert (await store.ask()).next_due == pytest.approx(10.0)

    @pytest.mark.parametrize("algorithm", list(Algorithm))
    async def test_parts_of_a_unit(self, store: Driver, algorithm: Algorithm) -> None:
        """Rates: costs that add up to all there is, but for what is lost in rounding."""
        asks = (Spend(key="r", count=10, per=60.0, cost=0.4, algorithm=algorithm),)
        ids = await store.add_many(26, asks=asks)
        assert await store.claimed(30) == ids[:25]
        [due] = await self.dues(store, ids[25:])
        assert due is not None
        assert due <= 120.0
