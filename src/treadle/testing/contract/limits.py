"""Slots as asks of jobs: parked when full, freed with the lease."""

from __future__ import annotations

import pytest

from treadle.ports import Feature, Granted
from treadle.records import Hold, JobState, Keep
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["LimitsContract"]


def slots(number: int, units: int = 1, key: str = "s") -> tuple[Hold, ...]:
    """The asks of one limit."""
    return (Hold(key=key, slots=number, units=units),)


@needs(Feature.KEYS)
class LimitsContract(Contract):
    """``Hold``: units of a bounded number of slots."""

    async def test_only_so_many_hold_a_slot(self, store: Driver) -> None:
        """3.3. A full ``Slots`` parks the job; the reason says which."""
        ids = await store.add_many(4, asks=slots(2))
        assert await store.claimed(10) == ids[:2]
        record = await store.record(ids[2])
        assert (record.state, record.reason) == (JobState.WAITING, "limit:s")
        assert await store.claimed(10) == []

    @pytest.mark.parametrize("end", ["done", "again", "fail", "lapse", "gone"])
    async def test_however_an_attempt_ends_a_slot_is_free(self, store: Driver, end: str) -> None:
        """3.3. Holds belong to the lease: ``settle`` or lapse frees them and wakes the next."""
        keep = Keep(succeeded=0.0) if end == "gone" else Keep()
        lease = await store.run(asks=slots(1), keep=keep, max_crashes=1)
        waiting = await store.add(asks=slots(1))
        assert await store.claimed() == []
        match end:
            case "again":
                await store.again(lease, delay=60.0)
            case "fail":
                await store.fail(lease)
            case "lapse":
                await store.crash(lease)
            case _:
                await store.done(lease)
        assert await store.claimed(5) == [waiting]

    async def test_extend_renews_the_holds(self, store: Driver, clock: ManualClock) -> None:
        """3.3. ``extend`` renews them."""
        lease = await store.run(asks=slots(1))
        await store.add(asks=slots(1))
        for _ in range(3):
            clock.advance(20)
            await store.extend(lease)
            assert await store.claimed(5) == []

    async def test_units(self, store: Driver) -> None:
        """3.3. A job takes as many units as it asks for."""
        big = await store.add(asks=slots(3, units=2))
        second = await store.add(asks=slots(3, units=2))
        assert await store.claimed(5) == [big]
        assert await store.state(second) is JobState.WAITING

    async def test_more_units_than_there_are(self, store: Driver) -> None:
        """Claim 5. An ask that can never be granted is treated as capped to the whole."""
        lease = await store.run(asks=slots(2, units=5))
        waiting = await store.add(asks=slots(2))
        assert await store.claimed() == []
        await store.done(lease)
        assert await store.claimed() == [waiting]

    async def test_a_limit_that_is_asked_for_twice(self, store: Driver) -> None:
        """Claim 5. A job that asks for a limit twice holds the sum, capped to the whole."""
        lease = await store.run(asks=slots(2, units=2) + slots(2, units=2))
        more = await store.add(asks=slots(4, units=2))
        waiting = await store.add(asks=slots(4, units=1))
        assert await store.claimed(5) == [more]
        await store.done(lease)
        assert await store.claimed(5) == [waiting]

    async def test_asks_of_a_job_are_all_or_none(self, store: Driver) -> None:
        """Claim 5. All asks of a job are granted or none."""
        lease = await store.run(asks=slots(1, key="full"))
        both = await store.add(asks=slots(1, key="full") + slots(1, key="free"))
        assert await store.claimed(5) == []
        other = await store.add(asks=slots(1, key="free"))
        assert await store.claimed(5) == [other]
        assert (await store.record(both)).reason == "limit:full"
        await store.done(lease)
        assert await store.claimed(5) == []
        assert (await store.record(both)).reason == "limit:free"

    async def test_a_key_comes_before_slots(self, store: Driver) -> None:
        """Claim 5. In order: key → slots → rates; the first that is full decides."""
        await store.run(key="k")
        job_id = await store.add(key="k", asks=slots(1))
        assert (await store.record(job_id)).reason == "key:k"
        assert len(await store.claim(5)) == 0
        other = await store.add(asks=slots(1))
        assert await store.claimed(5) == [other]

    @needs(Feature.PRIORITY)
    async def test_the_line_of_a_slot(self, store: Driver) -> None:
        """Claim: the line of a slot is by (−priority, ``seq``)."""
        lease = await store.run(asks=slots(1))
        low = await store.add(asks=slots(1))
        high = await store.add(asks=slots(1), priority=5)
        assert await store.claimed(5) == []
        await store.done(lease)
        lease = await store.take()
        assert lease.spec.id == high
        await store.done(lease)
        assert await store.claimed() == [low]

    async def test_no_unrelated_job_is_held_up(self, store: Driver) -> None:
        """3.3. What is parked blocks nobody behind it."""
        await store.run(asks=slots(1))
        await store.add_many(20, asks=slots(1))
        free = await store.add()
        assert await store.claimed(5) == [free]

    @needs(Feature.SHARED)
    async def test_jobs_and_permits_share_the_slots(self, store: Driver) -> None:
        """Shared: holds of jobs and of permits on the same key share the slots."""
        ask = Hold(key="s", slots=1)
        granted = await store.backend.acquire([ask], "me")
        assert isinstance(granted, Granted)
        job_id = await store.add(asks=(ask,))
        assert await store.claimed() == []
        await store.backend.release(granted.permit)
        assert await store.claimed() == [job_id]
        assert not isinstance(await store.backend.acquire([ask], "me"), Granted)
