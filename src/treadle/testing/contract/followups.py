"""Follow-ups: jobs that are pushed by the settle of another."""

from __future__ import annotations

import pytest

from treadle.ports import Feature
from treadle.records import (
    After,
    In,
    JobState,
    OnConflict,
    Pushed,
    PushStatus,
    Settled,
    Unique,
)
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = ["FollowupsContract"]

OTHERS: list[Verdict] = [Again(), Failed(), Released(), Cancelled()]


class FollowupsContract(Contract):
    """``ctx.enqueue`` is part of the settle of a successful attempt."""

    async def test_pushed_in_the_same_step(self, store: Driver) -> None:
        """3.6. Token → result → … → follow-ups pushed."""
        lease = await store.run()
        jobs = [store.job(queue="next"), store.job(queue="next", due=In(5.0))]
        assert await store.settle(lease, Done(), *jobs) is Settled.OK
        assert await store.states([job.id for job in jobs]) == ["queued", "scheduled"]
        assert await store.claimed(5) == [jobs[0].id]

    async def test_a_repeat_pushes_nothing_more(self, store: Driver) -> None:
        """3.6. With ids made once in the verdict, a repeat changes nothing."""
        lease = await store.run()
        job = store.job()
        await store.settle(lease, Done(), job)
        assert await store.settle(lease, Done(), job, store.job()) is Settled.ALREADY
        assert await store.claimed(5) == [job.id]

    @pytest.mark.parametrize("verdict", OTHERS, ids=lambda verdict: type(verdict).__name__)
    async def test_only_with_done(self, store: Driver, verdict: Verdict) -> None:
        """Settle: follow-ups are pushed only with ``Done``."""
        lease = await store.run()
        job = store.job()
        assert await store.settle(lease, verdict, job) is Settled.OK
        assert await store.gone(job.id) is None

    async def test_not_by_who_lost_the_lease(self, store: Driver) -> None:
        """Fencing: a stale token changes nothing, follow-ups included."""
        lease = await store.run()
        await store.lapse()
        job = store.job()
        assert await store.settle(lease, Done(), job) is Settled.LOST
        assert await store.gone(job.id) is None

    async def test_bounds_do_not_count(self, store: Driver) -> None:
        """3.6. Follow-ups ignore queue bounds."""
        await store.add(queue="full")
        lease = await store.run()
        job = store.job(queue="full", bound=1)
        await store.settle(lease, Done(), job)
        assert await store.state(job.id) is JobState.QUEUED

    @needs(Feature.UNIQUE)
    @pytest.mark.parametrize("conflict", OnConflict)
    async def test_a_unique_conflict_is_skipped(self, store: Driver, conflict: OnConflict) -> None:
        """3.6. Unique conflicts resolve to ``skip`` and are recorded; the settle succeeds."""
        holder = await store.add(queue="held", unique=Unique(key="u"))
        lease = await store.run()
        job = store.job(unique=Unique(key="u", on_conflict=conflict))
        free = store.job()
        assert await store.settle(lease, Done(), job, free) is Settled.OK
        assert await store.state(holder) is JobState.QUEUED
        gone = await store.gone(job.id)
        assert gone is not None
        assert gone.pushed == Pushed(PushStatus.DUPLICATE, holder)
        assert await store.push(job) == [Pushed(PushStatus.DUPLICATE, holder)]
        assert await store.state(free.id) is JobState.QUEUED

    @needs(Feature.UNIQUE)
    async def test_the_key_of_the_settled_job_is_free(self, store: Driver) -> None:
        """Settle: the unique key is released before the follow-ups are pushed."""
        lease = await store.run(unique=Unique(key="u"))
        job = store.job(unique=Unique(key="u"))
        await store.settle(lease, Done(), job)
        assert await store.state(job.id) is JobState.QUEUED

    @needs(Feature.AFTER)
    async def test_a_follow_up_after_the_settled_job(self, store: Driver) -> None:
        """Follow-ups see the job as ended, and each other in any order."""
        lease = await store.run()
        first = store.job(after=After(ids=(lease.spec.id,)))
        second = store.job(after=After(ids=(first.id,)))
        await store.settle(lease, Done(), second, first)
        assert await store.states([first.id, second.id]) == ["queued", "waiting"]

    @needs(Feature.KEYS)
    async def test_the_lease_is_given_up_first(self, store: Driver) -> None:
        """Settle: the key is released before, so that a follow-up with it need not wait."""
        lease = await store.run(key="k")
        job = store.job(key="k")
        await store.settle(lease, Done(), job)
        assert await store.claimed(5) == [job.id]

    async def test_a_known_id_is_left_alone(self, store: Driver) -> None:
        """3.1. Push is idempotent by id here too; a settle never fails because of it."""
        known = store.job(queue="a")
        await store.push(known)
        lease = await store.run()
        assert await store.settle(lease, Done(), known) is Settled.OK
        assert await store.claimed(5) == [known.id]
        assert await store.claimed(5) == []
