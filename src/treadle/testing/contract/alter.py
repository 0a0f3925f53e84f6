"""Alter: the table of changes and states, cell by cell."""

from __future__ import annotations

from typing import Any

import pytest

from treadle.faults import Fault
from treadle.ports import (
    ALTER_MAX,
    Altered,
    Cancel,
    Change,
    Delete,
    Feature,
    Query,
    Reprioritise,
    Reschedule,
    Retry,
)
from treadle.records import (
    FINAL,
    At,
    Cause,
    In,
    JobState,
    Pushed,
    PushStatus,
    Renewal,
    Scope,
    Settled,
    Unique,
)
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

__all__ = ["AlterContract"]

W, S, Q, R = JobState.WAITING, JobState.SCHEDULED, JobState.QUEUED, JobState.RUNNING
OK, FAILED, CANCELLED = JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED
GONE, ASKED, REFUSED = "gone", "asked", "refused"

# What a change makes of a job in each state: another state, or one of the three words.
TABLE: dict[str, tuple[Change, dict[JobState, Any]]] = {
    "cancel": (
        Cancel(),
        {W: CANCELLED, S: CANCELLED, Q: CANCELLED, R: ASKED}
        | dict.fromkeys((OK, FAILED, CANCELLED), REFUSED),
    ),
    "retry": (
        Retry(),
        dict.fromkeys((W, S, Q, R, OK), REFUSED) | {FAILED: Q, CANCELLED: Q},
    ),
    "retry later": (
        Retry(due=In(9.0)),
        dict.fromkeys((W, S, Q, R, OK), REFUSED) | {FAILED: S, CANCELLED: S},
    ),
    "reschedule": (
        Reschedule(due=In(9.0)),
        {W: W, S: S, Q: S} | dict.fromkeys((R, OK, FAILED, CANCELLED), REFUSED),
    ),
    "reprioritise": (
        Reprioritise(priority=9),
        {W: W, S: S, Q: Q} | dict.fromkeys((R, OK, FAILED, CANCELLED), REFUSED),
    ),
    "delete": (
        Delete(),
        {R: REFUSED} | dict.fromkeys((W, S, Q, OK, FAILED, CANCELLED), GONE),
    ),
}
CELLS = [
    pytest.param(change, state, expected, id=f"{name}-{state}")
    for name, (change, row) in TABLE.items()
    for state, expected in row.items()
]


@needs(Feature.RECORDS)
class AlterContract(Contract):
    """Change × state."""

    @pytest.mark.parametrize(("change", "state", "expected"), CELLS)
    async def test_a_cell(
        self, store: Driver, change: Change, state: JobState, expected: JobState | str
    ) -> None:
        """3.8. A table of change × state stands in the docs and is tested cell by cell."""
        job_id = await store.put(state)
        before = await store.record(job_id)
        answer = await store.alter(job_id, change)
        match expected:
            case "refused":
                assert answer == Altered(refused={job_id: state})
                assert await store.record(job_id) == before
            case "asked":
                assert answer == Altered(asked=(job_id,))
                record = await store.record(job_id)
                assert (record.state, record.cancel_asked) == (JobState.RUNNING, True)
            case "gone":
                assert answer == Altered(done=(job_id,))
                assert await store.gone(job_id) is not None
            case _:
                assert answer == Altered(done=(job_id,))
                record = await store.record(job_id)
                assert record.state is expected
                assert record.version > before.version

    # ------------------------------------------------------------- cancel

    @pytest.mark.parametrize("state", [W, S, Q])
    async def test_a_cancelled_job_is_final(
        self, store: Driver, clock: ManualClock, state: JobState
    ) -> None:
        """3.8. Not running → final at once."""
        job_id = await store.put(state)
        clock.advance(1)
        await store.cancel(job_id)
        record = await store.record(job_id)
        assert (record.finished, record.tries) == (clock.now(), 0)
        clock.advance(4000)
        assert await store.claimed(10, queues=["default"]) == []

    @pytest.mark.parametrize(
        ("verdict", "state"),
        [
            (Done(), OK),
            (Again(), CANCELLED),
            (Again(delay=5.0), CANCELLED),
            (Released(), CANCELLED),
            (Released(reason="unknown task", delay=5.0), CANCELLED),
            (Cancelled(), CANCELLED),
            (Failed(), FAILED),
        ],
        ids=lambda value: type(value).__name__ if not isinstance(value, str) else str(value),
    )
    async def test_settle_and_cancel_race(
        self, store: Driver, verdict: Any, state: JobState
    ) -> None:
        """3.8. Running → asked; the first of settle and cancel wins."""
        lease = await store.run()
        await store.cancel(lease.spec.id)
        assert await store.settle(lease, verdict) is Settled.OK
        assert await store.state(lease.spec.id) is state
        assert await store.claimed() == []

    async def test_asking_twice(self, store: Driver) -> None:
        """Cancel is idempotent for a running job."""
        lease = await store.run()
        assert (await store.cancel(lease.spec.id)).asked == (lease.spec.id,)
        assert (await store.cancel(lease.spec.id)).asked == (lease.spec.id,)
        assert await store.extend(lease) == [Renewal.CANCEL]

    # ------------------------------------------------------------- retry

    async def test_retry_starts_afresh(self, store: Driver) -> None:
        """States: counters, ``fault`` and ``cause`` are cleared, ``fence`` is kept."""
        lease = await store.run(max_crashes=5)
        await store.crash(lease)
        await store.again(await store.take())
        lease = await store.take()
        await store.fail(lease, fault=Fault(type="E", message="m"))
        await store.alter(lease.spec.id, Retry())
        record = await store.record(lease.spec.id)
        assert (record.tries, record.crashes, record.fault, record.cause) == (0, 0, None, None)
        assert (record.finished, record.suspect, record.cancel_asked) == (None, False, False)
        again = await store.take()
        assert (again.token.fence, again.attempt) == (lease.token.fence + 1, 1)
        assert await store.settle(lease, Done()) is not Settled.OK
        await store.done(again)

    @needs(Feature.ORDER)
    async def test_retry_goes_to_the_end(self, store: Driver) -> None:
        """Order: ``Retry`` by ``alter`` gives a new ``seq``."""
        lease = await store.run()
        await store.fail(lease)
        other = await store.add()
        await store.alter(lease.spec.id, Retry())
        assert await store.claimed(2) == [other, lease.spec.id]

    async def test_a_retried_job_is_not_asked_to_stop(self, store: Driver) -> None:
        """Retry of a cancelled job clears what cancelled it."""
        lease = await store.run()
        await store.cancel(lease.spec.id)
        await store.settle(lease, Cancelled())
        await store.alter(lease.spec.id, Retry())
        again = await store.take()
        assert await store.extend(again) == [Renewal.HELD]

    async def test_a_retried_job_does_not_expire(self, store: Driver, clock: ManualClock) -> None:
        """Alter: its ``expires`` no longer holds."""
        job_id = await store.add(expires=In(5.0))
        clock.advance(6)
        assert await store.state(job_id) is FAILED
        await store.alter(job_id, Retry())
        assert await store.claimed() == [job_id]

    @needs(Feature.UNIQUE)
    async def test_retry_takes_no_key_for_a_time(self, store: Driver, clock: ManualClock) -> None:
        """Alter: ``FOR`` keys are not taken again."""
        unique = Unique(key="u", scope=Scope.FOR, ttl=5.0)
        lease = await store.run(unique=unique)
        await store.fail(lease)
        clock.advance(6)
        await store.alter(lease.spec.id, Retry())
        assert await store.push(store.job(unique=unique)) == [Pushed(PushStatus.CREATED)]

    @needs(Feature.UNIQUE)
    async def test_retry_does_not_break_uniqueness(self, store: Driver) -> None:
        """Alter: a retried job whose unique key has a new holder is refused."""
        old = await store.run(unique=Unique(key="u"))
        await store.fail(old)
        new = await store.add(unique=Unique(key="u"))
        answer = await store.alter(old.spec.id, Retry())
        assert answer == Altered(refused={old.spec.id: FAILED})
        await store.cancel(new)
        assert (await store.alter(old.spec.id, Retry())).done == (old.spec.id,)
        duplicate = await store.push(store.job(unique=Unique(key="u")))
        assert duplicate == [Pushed(PushStatus.DUPLICATE, old.spec.id)]

    async def test_retry_for_a_time_does_not_break_uniqueness(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Alter: the same for a key that was held for a time, and is held until done by now."""
        old = await store.run(unique=Unique(key="u", scope=Scope.FOR, ttl=5.0))
        await store.fail(old)
        clock.advance(6)
        await store.add(unique=Unique(key="u"))
        answer = await store.alter(old.spec.id, Retry())
        assert answer == Altered(refused={old.spec.id: FAILED})

    # ------------------------------------------------------------- reschedule, reprioritise

    @pytest.mark.parametrize("due", [In(9.0), "at"])
    @needs(Feature.ORDER)
    async def test_a_new_due_time_counts(self, store: Driver, clock: ManualClock, due: Any) -> None:
        """Alter: scheduled → new due; queued → ``scheduled``."""
        ids = [await store.put(S), await store.put(Q)]
        when = At(clock.now() + 9.0) if due == "at" else due
        for job_id in ids:
            await store.alter(job_id, Reschedule(due=when))
            assert (await store.record(job_id)).due == clock.now() + 9
        clock.advance(8)
        assert await store.claimed(5) == []
        clock.advance(1)
        assert await store.claimed(5) == ids

    async def test_rescheduled_to_now(self, store: Driver) -> None:
        """Alter: a due time that has come makes a scheduled job ready at once."""
        job_id = await store.put(S)
        await store.alter(job_id, Reschedule(due=In(0.0)))
        assert await store.state(job_id) is JobState.QUEUED
        assert await store.claimed() == [job_id]

    @needs(Feature.AFTER)
    async def test_a_waiting_job_waits_on_and_then_for_its_time(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """Alter: waiting: due is set, keeps waiting; then ``scheduled`` if it is ahead."""
        job_id = await store.put(W)
        await store.alter(job_id, Reschedule(due=In(100.0)))
        record = await store.record(job_id)
        assert (record.state, record.due) == (W, clock.now() + 100)
        [blocker] = await store.records(queue="blockers")
        await store.alter(blocker.id, Reschedule(due=In(0.0)))
        await store.done(await store.take(queues=["blockers"]))
        assert await store.state(job_id) is S
        clock.advance(100)
        assert await store.claimed() == [job_id]

    @needs(Feature.PRIORITY)
    @pytest.mark.parametrize("state", [S, Q])
    @needs(Feature.ORDER)
    async def test_a_new_priority_counts(
        self, store: Driver, clock: ManualClock, state: JobState
    ) -> None:
        """Alter: new place; the spec says what was pushed, the record what holds."""
        other = await store.add(priority=5)
        job_id = await store.put(state)
        await store.alter(job_id, Reprioritise(priority=9))
        record = await store.record(job_id)
        assert (record.priority, record.spec.priority) == (9, 0)
        clock.advance(3600)
        assert await store.claimed(2) == [job_id, other]

    @needs(Feature.PRIORITY)
    @needs(Feature.ORDER)
    async def test_a_new_priority_outlives_a_retry(self, store: Driver) -> None:
        """Alter: a changed priority is the job's own from then on."""
        job_id = await store.add()
        await store.alter(job_id, Reprioritise(priority=9))
        await store.again(await store.take())
        other = await store.add(priority=5)
        assert await store.claimed(2) == [job_id, other]

    # ------------------------------------------------------------- many

    async def test_many_by_query(self, store: Driver) -> None:
        """3.12. Alter works over the same query as find."""
        mine = await store.add_many(3, queue="a.b", tags=("t",))
        lease = (await store.claim(1, queues=["a.b"]))[0]
        other = await store.add_many(2, queue="a.b") + await store.add_many(2, queue="c")
        answer = await store.backend.alter(Query(queue="a", tags=("t",)), Cancel())
        assert set(answer.done) == set(mine) - {lease.spec.id}
        assert answer.asked == (lease.spec.id,)
        assert await store.states(other) == [JobState.QUEUED] * 4

    async def test_at_most_so_many_a_call(self, store: Driver) -> None:
        """3.12. At most ``ALTER_MAX`` a call; the cursor goes on."""
        ids = await store.add_many(ALTER_MAX + 200, queue="bulk")
        changed: list[str] = []
        query, calls = Query(queue="bulk", states=(Q,), limit=ALTER_MAX), 0
        while True:
            answer = await store.backend.alter(query, Cancel())
            assert len(answer.done) <= ALTER_MAX
            changed += answer.done
            calls += 1
            assert calls < 10
            if answer.cursor is None:
                break
            query = Query(queue="bulk", states=(Q,), limit=ALTER_MAX, cursor=answer.cursor)
        assert sorted(changed) == sorted(ids)

    async def test_nothing_found(self, store: Driver) -> None:
        """Alter of what is not there changes nothing and says nothing."""
        assert await store.alter(store.ids.new(), Cancel()) == Altered()

    async def test_what_is_deleted_before_its_end_has_not_ended(self, store: Driver) -> None:
        """Gone: the tombstone of a removed job says no state, and what a second push is told."""
        job_id = await store.add()
        await store.alter(job_id, Delete())
        gone = await store.gone(job_id)
        assert gone is not None
        assert (gone.pushed.status, gone.state) == (PushStatus.EXISTS, None)

    async def test_a_deleted_dead_letter_is_gone_for_good(self, store: Driver) -> None:
        """Alter: delete removes a final job, its counts too."""
        lease = await store.run()
        await store.fail(lease, cause=Cause.ERROR)
        await store.alter(lease.spec.id, Delete())
        page = await store.backend.find(Query(counts=True))
        assert page.counts.get("default", {}).get(FAILED, 0) == 0
        assert page.failures.get("tests.task", 0) == 0
        assert page.records == ()
        gone = await store.gone(lease.spec.id)
        assert gone is not None
        assert gone.state in FINAL
