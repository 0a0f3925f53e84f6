"""Claims that name jobs: who is looked at first, and that this grants no more than before."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.ports import QUEUE_CELL, Feature, QueueRule, Write
from treadle.records import Hold, In, JobState
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["NamedContract"]


class NamedContract(Contract):
    """``Claim.first`` changes the order of a claim and nothing else."""

    @needs(Feature.ORDER)
    async def test_named_jobs_come_first(self, store: Driver) -> None:
        """Claim: ``first`` are granted before all others, in their order, then as ever."""
        ids = await store.add_many(6)
        await store.add_many(2, queue="other", priority=50)
        wanted = (ids[4], ids[2])
        assert await store.claimed(3, queues=["default"], first=wanted) == [*wanted, ids[0]]
        answer = await store.ask(3, queues=["default"], first=(ids[5],))
        assert [lease.spec.id for lease in answer.leases] == [ids[5], ids[1], ids[3]]
        assert not answer.more

    @needs(Feature.ORDER)
    async def test_no_more_named_jobs_than_were_asked_for(self, store: Driver) -> None:
        """Claim: ``limit`` holds for them too."""
        ids = await store.add_many(4)
        answer = await store.ask(2, first=(ids[3], ids[2], ids[1]))
        assert [lease.spec.id for lease in answer.leases] == [ids[3], ids[2]]
        assert answer.more
        assert await store.claimed(5) == ids[:2]

    async def test_to_be_named_gives_no_right(self, store: Driver) -> None:
        """Claim: who could not be granted is passed over."""
        running = (await store.run(who="two")).token.job_id
        later = await store.add(due=In(60.0))
        over = await store.put(JobState.SUCCEEDED)
        elsewhere = await store.add(queue="elsewhere")
        plain = await store.add()
        named = (running, later, over, elsewhere, "unknown", plain, plain)
        assert await store.claimed(9, queues=["default"], first=named) == [plain]
        assert await store.claimed(9, exclude=("elsewhere",), first=(elsewhere,)) == []
        assert await store.state(elsewhere) is JobState.QUEUED

    @needs(Feature.KEYS)
    async def test_a_named_job_waits_for_its_key(self, store: Driver) -> None:
        """Claim: ``first`` changes who is looked at first, not what may run beside what."""
        held = await store.run(key="k")
        other = await store.add()
        one, two = await store.add_many(2, key="k")
        assert await store.claimed(5, first=(two, one)) == [other]
        await store.done(held)
        # It was the first in line, and the key is its by now.
        assert await store.claimed(5, first=(two,)) == [one]
        assert await store.state(two) is JobState.WAITING

    @needs(Feature.KEYS)
    async def test_a_named_job_does_not_overtake(self, store: Driver) -> None:
        """Claim: with ``ordered`` the arrival decides, whatever is named."""
        one, two = await store.add_many(2, key="k", ordered=True)
        assert await store.claimed(5, first=(two,)) == [one]
        assert await store.state(two) is JobState.WAITING

    @needs(Feature.KEYS)
    async def test_a_named_job_waits_for_its_slot(self, store: Driver) -> None:
        """Claim: one slot is one slot."""
        ids = await store.add_many(3, asks=(Hold(key="s", slots=1),))
        assert await store.claimed(5, first=(ids[2], ids[1])) == [ids[2]]

    @needs(Feature.SHARED)
    @needs(Feature.BOUNDS)
    async def test_a_named_job_of_a_full_queue_waits(self, store: Driver) -> None:
        """Claim: pauses and bounds of queues hold for them too."""
        ids = await store.add_many(4)
        await self._rule(store, max_running=2)
        assert await store.claimed(4, first=tuple(ids[1:])) == ids[1:3]
        await self._rule(store, paused=True)
        assert await store.claimed(4, first=(ids[0],)) == []

    async def _rule(self, store: Driver, **fields: Any) -> None:
        value = msgspec.msgpack.encode(QueueRule(**fields))
        assert await store.backend.write([Write(key=QUEUE_CELL + "default", value=value)])
