"""Bounds on the size of a queue."""

from __future__ import annotations

import msgspec

from treadle.ports import Feature
from treadle.records import In, JobState, OnConflict, Pushed, PushStatus, Unique
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["BoundsContract"]

FULL = Pushed(PushStatus.FULL)
CREATED = Pushed(PushStatus.CREATED)


@needs(Feature.BOUNDS)
class BoundsContract(Contract):
    """``bound``: jobs not yet final that a queue with its subqueues may hold."""

    async def test_a_full_queue_refuses(self, store: Driver) -> None:
        """Push: jobs that are not final ≥ bound → ``full``."""
        await store.add_many(3, queue="q")
        assert await store.push(store.job(queue="q", bound=3)) == [FULL]
        assert await store.push(store.job(queue="q", bound=4)) == [CREATED]
        assert await store.push(store.job(queue="q")) == [CREATED]

    async def test_nothing_is_recorded(self, store: Driver) -> None:
        """Push: "``full``, nothing recorded": the id stays free."""
        lease = await store.run(queue="q")
        job = store.job(queue="q", bound=1)
        assert await store.push(job) == [FULL]
        assert await store.gone(job.id) is None
        await store.done(lease)
        assert await store.push(job) == [CREATED]

    async def test_an_id_that_was_refused_is_free_in_the_same_push(self, store: Driver) -> None:
        """Push: "``full``, nothing recorded"; what comes later under the id has its own place."""
        refused = store.job(queue="q", bound=0, due=In(5.0))
        between = store.job(queue="q")
        later = msgspec.structs.replace(refused, bound=None, due=None, payload=b"later")
        assert await store.push(refused, between, later) == [FULL, CREATED, CREATED]
        records = await store.records(queue="q", oldest_first=True)
        assert [record.spec for record in records] == [between, later]
        assert await store.claimed(2) == [between.id, later.id]

    async def test_jobs_of_the_same_push_count(self, store: Driver) -> None:
        """Push: jobs of the same push count."""
        jobs = [store.job(queue="q", bound=2) for _ in range(4)]
        assert await store.push(*jobs) == [CREATED, CREATED, FULL, FULL]

    async def test_subqueues_count(self, store: Driver) -> None:
        """3.11. ``mail`` covers ``mail.*`` for bounds; a subqueue has its own."""
        await store.add_many(2, queue="q.a")
        await store.add(queue="qq")
        assert await store.push(store.job(queue="q", bound=2)) == [FULL]
        assert await store.push(store.job(queue="q.b", bound=1)) == [CREATED]
        assert await store.push(store.job(queue="q.a", bound=2)) == [FULL]

    @needs(Feature.DELAY, Feature.AFTER)
    async def test_every_state_that_is_not_final_counts(self, store: Driver) -> None:
        """Push: running, scheduled and waiting jobs count, final ones do not."""
        lease = await store.run(queue="q")
        await store.add(queue="q", due=In(60.0))
        await store.put(JobState.WAITING, queue="q")
        assert await store.push(store.job(queue="q", bound=3)) == [FULL]
        await store.fail(lease)
        assert await store.push(store.job(queue="q", bound=3)) == [CREATED]

    @needs(Feature.UNIQUE)
    async def test_a_unique_key_is_looked_at_first(self, store: Driver) -> None:
        """Push: what it answers ``duplicate`` or ``rescheduled`` needs no room."""
        holder = await store.add(queue="q", unique=Unique(key="u"))
        for conflict, status in (
            (OnConflict.SKIP, PushStatus.DUPLICATE),
            (OnConflict.RESCHEDULE, PushStatus.RESCHEDULED),
        ):
            unique = Unique(key="u", on_conflict=conflict)
            job = store.job(queue="q", bound=1, unique=unique, due=In(5.0))
            assert await store.push(job) == [Pushed(status, holder)]

    @needs(Feature.UNIQUE)
    async def test_who_is_replaced_makes_room(self, store: Driver) -> None:
        """Push: the job that ``replace`` removes does not count, if it is of that queue."""
        inside = await store.add(queue="q", unique=Unique(key="u"))
        outside = await store.add(queue="other", unique=Unique(key="v"))
        jobs = [
            store.job(queue="q", bound=1, unique=Unique(key=k, on_conflict=OnConflict.REPLACE))
            for k in ("u", "v")
        ]
        assert await store.push(*jobs) == [Pushed(PushStatus.REPLACED, inside), FULL]
        assert await store.state(outside) is JobState.QUEUED

    async def test_a_known_id_is_known_also_at_the_bound(self, store: Driver) -> None:
        """3.1. A repeat gets the same answer, whatever happened since."""
        job = store.job(queue="q", bound=1)
        assert await store.push(job) == [CREATED]
        assert await store.push(job) == [Pushed(PushStatus.EXISTS)]
