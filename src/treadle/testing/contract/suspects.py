"""Suspects: who was leased when a foreman died runs alone, until it is cleared or convicted."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.ports import Feature
from treadle.records import Cause, Hold, JobState, Lease
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Again, Done, Verdict

__all__ = ["SuspectsContract"]


class SuspectsContract(Contract):
    """A pill takes few foremen with it, and nobody else's jobs."""

    async def suspect(self, store: Driver, **overrides: Any) -> Lease:
        """A job whose lease lapsed with no report."""
        lease = await store.run(**overrides)
        await store.lapse()
        return lease

    @needs(Feature.ORDER)
    async def test_a_suspect_is_granted_alone(self, store: Driver) -> None:
        """Claim 3. To a session that holds nothing: that one suspect and nothing else."""
        lease = await self.suspect(store)
        await store.add_many(5)
        answer = await store.ask(10, holding=0)
        assert [(item.spec.id, item.suspect) for item in answer.leases] == [(lease.spec.id, True)]

    async def test_a_suspect_is_passed_over(self, store: Driver) -> None:
        """Claim 3. Otherwise suspects are passed over and ``suspects_wait`` says so."""
        await self.suspect(store)
        ordinary = await store.add_many(2)
        answer = await store.ask(10, holding=1)
        assert sorted(item.spec.id for item in answer.leases) == sorted(ordinary)
        assert answer.suspects_wait
        answer = await store.ask(10, holding=2)
        assert (answer.leases, answer.suspects_wait) == ((), True)

    @needs(Feature.ORDER)
    async def test_suspects_one_after_the_other(self, store: Driver) -> None:
        """3.5. A suspect goes only to a session that holds nothing else."""
        ids = await store.add_many(3)
        await store.claim(3)
        await store.lapse()
        for job_id in ids:
            lease = await store.take(limit=5)
            assert (lease.spec.id, lease.suspect) == (job_id, True)
            answer = await store.ask(5, holding=1)
            assert answer.leases == ()
            await store.done(lease)
        assert (await store.ask(5)).suspects_wait is False

    @needs(Feature.ORDER)
    async def test_suspects_of_other_queues_do_not_matter(self, store: Driver) -> None:
        """Claim 3. Only a suspect of the asked queues."""
        await self.suspect(store, queue="other")
        mine = await store.add_many(2, queue="mine")
        answer = await store.ask(5, queues=["mine"])
        assert [item.spec.id for item in answer.leases] == mine
        assert answer.suspects_wait is False

    @needs(Feature.ORDER)
    async def test_the_next_in_place_for_one_that_is_kept_back(self, store: Driver) -> None:
        """Claim 3. When a limit keeps the first suspect back, it is the next of all queues."""
        slot = Hold(key="s", slots=1)
        ids = [await store.add(queue="a.x", asks=(slot,))]
        ids.append(await store.add(queue="a"))
        ids.append(await store.add(queue="a.x"))
        assert len(await store.claim(3)) == 3
        await store.lapse()
        await store.backend.acquire((slot,), "somebody else")
        assert await store.claimed(3) == [ids[1]]

    async def test_a_suspect_counts_as_started_from_the_grant(self, store: Driver) -> None:
        """3.5. If that dies too, it is a crash, reported as started or not."""
        await self.suspect(store)
        lease = await store.take()
        await store.lapse()
        record = await store.record(lease.spec.id)
        assert (record.crashes, record.suspect) == (1, True)

    @pytest.mark.parametrize("verdict", [Done(), Again()], ids=["done", "again"])
    @needs(Feature.ORDER)
    async def test_surviving_clears_a_suspect(self, store: Driver, verdict: Verdict) -> None:
        """3.5. Any verdict except ``Released`` clears it."""
        await self.suspect(store)
        lease = await store.take()
        await store.settle(lease, verdict)
        assert (await store.record(lease.spec.id)).suspect is False
        if isinstance(verdict, Again):
            other = await store.add()
            assert await store.claimed(5) == [lease.spec.id, other]

    async def test_a_released_suspect_stays_one(self, store: Driver) -> None:
        """Leases: a release proves nothing."""
        await self.suspect(store)
        lease = await store.take()
        await store.release(lease)
        assert (await store.record(lease.spec.id)).suspect is True

    async def test_deaths_per_pill_are_bounded(self, store: Driver) -> None:
        """3.5. Deaths per pill ≤ ``max_crashes`` + 1, also for one that kills on its first line."""
        job_id = await store.add(max_crashes=3)
        deaths = 0
        while await store.claim():
            deaths += 1
            assert deaths <= 4
            await store.lapse()
        record = await store.record(job_id)
        assert (record.state, record.cause, deaths) == (JobState.FAILED, Cause.CRASHED, 4)

    async def test_others_are_unharmed(self, store: Driver) -> None:
        """5. Only jobs that had started are blamed."""
        ids = await store.add_many(3)
        leases = await store.claim(3)
        await store.start(leases[0])
        await store.lapse()
        crashes = [(await store.record(job_id)).crashes for job_id in ids]
        assert crashes == [int(job_id == leases[0].spec.id) for job_id in ids]
