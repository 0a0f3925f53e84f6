"""Unique keys: scopes × conflicts × states of the holder."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.ports import Delete, Feature, Query
from treadle.records import (
    After,
    In,
    JobState,
    Keep,
    OnConflict,
    Pushed,
    PushStatus,
    Scope,
    Unique,
)
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Cancelled

__all__ = ["UniqueContract"]

NOT_RUNNING = (JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED)
HELD = {
    Scope.UNTIL_STARTED: NOT_RUNNING,
    Scope.UNTIL_DONE: (*NOT_RUNNING, JobState.RUNNING),
    Scope.FOR: tuple(JobState),
}
TTL = 60.0


def unique(
    scope: Scope = Scope.UNTIL_DONE, on_conflict: OnConflict = OnConflict.SKIP, key: str = "u"
) -> Unique:
    """The key of these cases."""
    ttl = TTL if scope is Scope.FOR else None
    return Unique(key=key, scope=scope, ttl=ttl, on_conflict=on_conflict)


def created() -> Pushed:
    """The answer when nothing is in the way."""
    return Pushed(PushStatus.CREATED)


def held_in(*states: JobState) -> list[Any]:
    """The cells of the table in which the key is held by a holder in one of the states."""
    cells = [(scope, state) for scope in Scope for state in states if state in HELD[scope]]
    return [pytest.param(*cell, id=f"{cell[0]}-{cell[1]}") for cell in cells]


@needs(Feature.UNIQUE)
class UniqueContract(Contract):
    """At most one job per key."""

    @pytest.mark.parametrize("conflict", OnConflict)
    @pytest.mark.parametrize("state", JobState)
    @pytest.mark.parametrize("scope", Scope)
    async def test_a_free_key(
        self, store: Driver, scope: Scope, state: JobState, conflict: OnConflict
    ) -> None:
        """Unique: beyond its scope a job does not hold the key any more."""
        if state in HELD[scope]:
            await self._check_held(store, scope, state, conflict)
            return
        await store.put(state, unique=unique(scope))
        assert await store.push(store.job(unique=unique(scope, conflict))) == [created()]

    async def _check_held(
        self, store: Driver, scope: Scope, state: JobState, conflict: OnConflict
    ) -> None:
        holder = await store.put(state, unique=unique(scope))
        new = store.job(unique=unique(scope, conflict), due=In(50.0))
        expected = PushStatus.DUPLICATE
        if state in NOT_RUNNING and conflict is OnConflict.REPLACE:
            expected = PushStatus.REPLACED
        elif state in NOT_RUNNING and conflict is OnConflict.RESCHEDULE:
            expected = PushStatus.RESCHEDULED
        assert await store.push(new) == [Pushed(expected, holder)]

    @pytest.mark.parametrize(("scope", "state"), held_in(*JobState))
    async def test_skip_leaves_the_holder(
        self, store: Driver, scope: Scope, state: JobState
    ) -> None:
        """Push: ``skip`` → ``duplicate(of)``, recorded; the new job does not exist."""
        holder = await store.put(state, unique=unique(scope))
        new = store.job(unique=unique(scope))
        answer = Pushed(PushStatus.DUPLICATE, holder)
        assert await store.push(new) == [answer]
        assert await store.push(new) == [answer]
        assert await store.state(holder) is state
        gone = await store.gone(new.id)
        assert gone is not None
        assert (gone.pushed, gone.state) == (answer, None)

    @pytest.mark.parametrize(("scope", "state"), held_in(*NOT_RUNNING))
    async def test_replace_removes_a_holder_that_does_not_run(
        self, store: Driver, scope: Scope, state: JobState
    ) -> None:
        """Push: the holder is removed with a tombstone, the new one is created."""
        old = store.job(unique=unique(scope))
        fields = {name: getattr(old, name) for name in ("id", "task", "payload", "unique")}
        await store.put(state, **fields)
        new = store.job(unique=unique(scope, OnConflict.REPLACE))
        answer = Pushed(PushStatus.REPLACED, old.id)
        assert await store.push(new) == [answer]
        assert await store.gone(old.id) is not None
        assert await store.push(old) == [Pushed(PushStatus.EXISTS)]
        assert await store.push(new) == [answer]
        assert await store.claimed(5) == [new.id]

    @pytest.mark.parametrize(("scope", "state"), held_in(*NOT_RUNNING))
    async def test_reschedule_moves_a_holder_that_does_not_run(
        self, store: Driver, clock: ManualClock, scope: Scope, state: JobState
    ) -> None:
        """Push: the holder gets the new due time."""
        holder = await store.put(state, unique=unique(scope))
        new = store.job(unique=unique(scope, OnConflict.RESCHEDULE), due=In(50.0))
        answer = Pushed(PushStatus.RESCHEDULED, holder)
        assert await store.push(new) == [answer]
        record = await store.record(holder)
        assert record.due == clock.now() + 50
        waits = state is JobState.WAITING
        assert record.state is (JobState.WAITING if waits else JobState.SCHEDULED)
        assert await store.push(new) == [answer]
        assert await store.gone(new.id) is not None

    @pytest.mark.parametrize("conflict", OnConflict)
    async def test_a_running_holder_is_not_touched(
        self, store: Driver, conflict: OnConflict
    ) -> None:
        """3.1. ``replace`` and ``reschedule`` answer ``duplicate(of)`` for a running holder."""
        lease = await store.run(unique=unique())
        new = store.job(unique=unique(on_conflict=conflict), due=In(9.0))
        assert await store.push(new) == [Pushed(PushStatus.DUPLICATE, lease.spec.id)]
        await store.done(lease)

    async def test_queue_and_task_do_not_matter(self, store: Driver) -> None:
        """Names: two jobs conflict on the key whatever their queues and tasks."""
        holder = await store.add(queue="a", task="one", unique=unique())
        new = store.job(queue="b", task="two", unique=unique())
        assert await store.push(new) == [Pushed(PushStatus.DUPLICATE, holder)]
        assert await store.push(store.job(unique=unique(key="other"))) == [created()]

    async def test_a_conflict_within_one_push(self, store: Driver) -> None:
        """Push is one step, and its jobs see each other."""
        first, second = store.job(unique=unique()), store.job(unique=unique())
        answers = await store.push(first, second)
        assert answers == [created(), Pushed(PushStatus.DUPLICATE, first.id)]

    async def test_for_lapses_by_time_only(self, store: Driver, clock: ManualClock) -> None:
        """Settle: ``FOR`` keys lapse by time only, from the push."""
        holder = await store.add(unique=unique(Scope.FOR))
        clock.advance(TTL - 1)
        blocked = store.job(unique=unique(Scope.FOR))
        assert await store.push(blocked) == [Pushed(PushStatus.DUPLICATE, holder)]
        clock.advance(2)
        assert await store.push(store.job(unique=unique(Scope.FOR))) == [created()]
        assert await store.state(holder) is JobState.QUEUED

    @pytest.mark.parametrize("conflict", OnConflict)
    async def test_for_outlives_its_job(
        self, store: Driver, clock: ManualClock, conflict: OnConflict
    ) -> None:
        """Push: a final or removed holder of a ``FOR`` key answers ``duplicate`` till its time."""
        lease = await store.run(unique=unique(Scope.FOR), keep=Keep(succeeded=0.0))
        await store.done(lease)
        new = store.job(unique=unique(Scope.FOR, conflict))
        assert await store.push(new) == [Pushed(PushStatus.DUPLICATE, lease.spec.id)]
        clock.advance(TTL + 1)
        assert await store.push(store.job(unique=unique(Scope.FOR, conflict))) == [created()]

    async def test_started_frees_for_good(self, store: Driver) -> None:
        """Claim 6: ``UNTIL_STARTED`` is held until the first claim, and not again after."""
        lease = await store.run(unique=unique(Scope.UNTIL_STARTED))
        await store.release(lease)
        assert await store.push(store.job(unique=unique(Scope.UNTIL_STARTED))) == [created()]

    async def test_a_former_holder_frees_nothing(self, store: Driver) -> None:
        """Settle: the end of a job frees its own key, not that of who has it now."""
        former = await store.run(unique=unique(Scope.UNTIL_STARTED))
        holder = await store.add(unique=unique(Scope.UNTIL_STARTED))
        await store.done(former)
        new = store.job(unique=unique(Scope.UNTIL_STARTED))
        assert await store.push(new) == [Pushed(PushStatus.DUPLICATE, holder)]

    async def test_until_done_is_held_through_retries(self, store: Driver) -> None:
        """Unique: ``UNTIL_DONE`` is held until a final state."""
        lease = await store.run(unique=unique())
        await store.again(lease, delay=10.0)
        duplicate = Pushed(PushStatus.DUPLICATE, lease.spec.id)
        assert await store.push(store.job(unique=unique())) == [duplicate]

    @pytest.mark.parametrize("end", ["done", "fail", "expire", "crash", "delete", "cancelled"])
    async def test_however_the_holder_ends_the_key_is_free(
        self, store: Driver, clock: ManualClock, end: str
    ) -> None:
        """Settle: freed with the end of the holder, in the same step."""
        if end in {"expire", "delete"}:
            job_id = await store.add(unique=unique(), expires=In(5.0))
            clock.advance(6)
            if end == "delete":
                await store.alter(job_id, Delete())
            else:
                assert await store.state(job_id) is JobState.FAILED
        else:
            lease = await store.run(unique=unique(), max_crashes=1)
            match end:
                case "done":
                    await store.done(lease)
                case "fail":
                    await store.fail(lease)
                case "cancelled":
                    await store.settle(lease, Cancelled())
                case _:
                    await store.crash(lease)
        assert await store.push(store.job(unique=unique())) == [created()]

    async def test_a_holder_kept_for_no_time_frees_too(self, store: Driver) -> None:
        """Settle: freed also when nothing of the job is kept."""
        lease = await store.run(unique=unique(), keep=Keep(succeeded=0.0))
        await store.done(lease)
        assert await store.push(store.job(unique=unique())) == [created()]

    @needs(Feature.AFTER)
    async def test_replacing_a_job_fails_its_dependants(self, store: Driver) -> None:
        """Alter: removing a job is a failure for those that wait for it."""
        holder = await store.add(unique=unique())
        waiting = await store.add(after=After(ids=(holder,)))
        await store.push(store.job(unique=unique(on_conflict=OnConflict.REPLACE)))
        assert await store.state(waiting) is JobState.FAILED

    @needs(Feature.AFTER)
    @pytest.mark.parametrize("on_conflict", [OnConflict.REPLACE, OnConflict.RESCHEDULE])
    async def test_a_job_that_waits_loses_its_key_in_the_push_that_brought_it(
        self, store: Driver, on_conflict: OnConflict
    ) -> None:
        """Push: whatever came before in the same step is there, and what was replaced is not."""
        awaited = store.job()
        first = store.job(unique=unique(), after=After(ids=(awaited.id,)))
        other = store.job(unique=unique(on_conflict=on_conflict), due=In(5.0))
        replaced = on_conflict is OnConflict.REPLACE
        status = PushStatus.REPLACED if replaced else PushStatus.RESCHEDULED
        answers = await store.push(awaited, first, other)
        assert answers == [created(), created(), Pushed(status, first.id)]
        page = await store.backend.find(Query(counts=True, limit=1))
        assert sum(page.counts[awaited.queue].values()) == 2
        assert await store.claimed(5) == [awaited.id]

    @needs(Feature.RECORDS)
    async def test_found_by_its_key(self, store: Driver) -> None:
        """3.12. ``unique`` is indexed."""
        holder = await store.add(unique=unique())
        await store.add_many(3)
        assert [record.id for record in await store.records(unique="u")] == [holder]

    @needs(Feature.RECORDS)
    async def test_only_the_holder_is_found(self, store: Driver) -> None:
        """Find: ``unique`` finds the job that holds the key, none that held it before."""
        before = await store.add(unique=unique())
        await store.cancel(before)
        assert await store.records(unique="u") == ()
        holder = await store.add(unique=unique())
        assert [record.id for record in await store.records(unique="u")] == [holder]
        assert await store.records(unique="u", ids=(before,)) == ()
