"""Order inside a queue and between queues."""

from __future__ import annotations

from treadle.ports import Feature
from treadle.records import In, JobState
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["OrderContract"]


class OrderContract(Contract):
    """A job's place is (−priority, ``seq``)."""

    @needs(Feature.ORDER)
    async def test_equal_priorities_in_order_of_arrival(self, store: Driver) -> None:
        """Order: by ``seq``, given at the push, in the order of the push."""
        ids = await store.add_many(20) + await store.add_many(20)
        granted: list[str] = []
        for _ in range(8):
            granted += await store.claimed(5)
        assert granted == ids

    @needs(Feature.PRIORITY)
    @needs(Feature.ORDER)
    async def test_a_larger_priority_is_sooner(self, store: Driver) -> None:
        """Order: priority from -100 to 100, larger is sooner, whatever the arrival."""
        priorities = [0, -100, 100, 20, 0, -1, 100]
        for priority in priorities:
            await store.add(priority=priority)
        leases = await store.claim(10)
        assert [lease.spec.priority for lease in leases] == sorted(priorities, reverse=True)

    @needs(Feature.PRIORITY)
    @needs(Feature.ORDER)
    async def test_priority_then_arrival(self, store: Driver) -> None:
        """Order: equal priorities in order of arrival, inside each priority."""
        low = await store.add_many(3, priority=-5)
        high = await store.add_many(3, priority=5)
        low += await store.add_many(2, priority=-5)
        assert await store.claimed(10) == high + low

    @needs(Feature.PRIORITY)
    @needs(Feature.ORDER)
    async def test_the_best_come_first_when_few_are_asked_for(self, store: Driver) -> None:
        """Order holds between claims as inside one."""
        await store.add_many(5, priority=1)
        best = await store.add(priority=2)
        assert await store.claimed(1) == [best]

    @needs(Feature.ORDER)
    async def test_a_job_keeps_its_place(self, store: Driver, clock: ManualClock) -> None:
        """Order: ``seq`` is kept through releases and retries: back to the old place."""
        retried, released, delayed, other = await store.add_many(4)
        leases = await store.claim(3)
        await store.again(leases[0])
        await store.release(leases[1])
        await store.again(leases[2], delay=5.0)
        clock.advance(5)
        assert await store.claimed(4) == [retried, released, delayed, other]

    @needs(Feature.DELAY)
    @needs(Feature.ORDER)
    async def test_scheduled_jobs_go_by_arrival(self, store: Driver, clock: ManualClock) -> None:
        """Order: the place is from the push, not from the due time."""
        early_push = await store.add(due=In(10.0))
        late_push = await store.add(due=In(5.0))
        between = await store.add()
        clock.advance(10)
        assert await store.claimed(3) == [early_push, late_push, between]

    @needs(Feature.ORDER)
    async def test_queues_in_the_order_given(self, store: Driver) -> None:
        """3.11. Between the queues asked for, the given order."""
        await store.add_many(3, queue="b", priority=50)
        first = await store.add_many(3, queue="a", priority=-50)
        leases = await store.claim(4, queues=["a", "b"])
        assert [lease.spec.id for lease in leases[:3]] == first
        assert [lease.spec.queue for lease in leases] == ["a", "a", "a", "b"]

    @needs(Feature.ORDER)
    async def test_the_given_order_holds_for_families(self, store: Driver) -> None:
        """3.11. A name with its subqueues comes before the next name."""
        await store.add_many(2, queue="z")
        await store.add_many(2, queue="a.x")
        await store.add_many(2, queue="a.y")
        leases = await store.claim(5, queues=["a", "z"])
        assert sorted(lease.spec.queue for lease in leases[:4]) == ["a.x", "a.x", "a.y", "a.y"]
        assert leases[4].spec.queue == "z"

    async def test_a_queue_named_twice_is_served_once(self, store: Driver) -> None:
        """Claim: a job is granted once, also when two names cover it."""
        ids = await store.add_many(3, queue="a.b")
        granted = await store.claimed(10, queues=["a.b", "a", "*"])
        assert sorted(granted) == sorted(ids)
        assert await store.states(ids) == [JobState.RUNNING] * 3
