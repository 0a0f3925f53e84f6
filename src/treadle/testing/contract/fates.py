"""Fates: an answer says which jobs have ended by themselves in its step, or crashed."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from treadle.fates import Fate, fates_of
from treadle.ports import Cancel, Delete, Feature, Held, Query
from treadle.records import After, Cause, In, JobState, Keep, Lease, OnFailure
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Again, Done, Failed, Released

__all__ = ["FatesContract"]

BOTH = pytest.mark.parametrize(
    ("policy", "state", "cause"),
    [
        (OnFailure.FAIL, JobState.FAILED, Cause.DEPENDENCY),
        (OnFailure.CANCEL, JobState.CANCELLED, None),
    ],
)


def fate(job_id: str, state: JobState, cause: Cause | None = None, **fields: object) -> Fate:
    """What an answer says of a job of this suite."""
    whole = {"task": "tests.task", "queue": "default", **fields}
    return Fate(id=job_id, state=state, cause=cause, **whole)  # type: ignore[arg-type]


def crashed(lease: Lease, state: JobState = JobState.FAILED, crashes: int = 1) -> Fate:
    """What an answer says of a job whose process died."""
    return fate(lease.spec.id, state, Cause.CRASHED, attempt=lease.attempt, crashes=crashes)


async def gave_up(store: Driver, *leases: Lease, started: bool = True) -> Sequence[Fate]:
    """Give leases up; what the answer says besides."""
    held = [Held(token=one.token, started=started) for one in leases]
    return fates_of(await store.backend.extend(await store.session(), held, 0.0))


class FatesContract(Contract):
    """What ended in a step without a verdict is in its answer, once."""

    async def test_a_crash_that_is_followed_by_another_attempt(self, store: Driver) -> None:
        """Fates: ``queued`` with the cause ``crashed``, and how often it has crashed."""
        lease = await store.run(max_crashes=3)
        assert await gave_up(store, lease) == (crashed(lease, JobState.QUEUED),)

    async def test_the_last_crash(self, store: Driver) -> None:
        """3.5. After ``max_crashes`` it fails, and the answer says so."""
        lease = await store.run(max_crashes=1)
        assert await gave_up(store, lease) == (crashed(lease),)

    @needs(Feature.RECORDS)
    async def test_a_lease_that_lapses_for_the_last_time(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """3.2. The verb that takes back what lapsed tells of it."""
        lease = await store.run(max_crashes=1)
        await store.start(lease)
        clock.advance(31)
        assert (await store.ask(who="two")).fates == (crashed(lease),)
        assert (await store.ask(who="two")).fates == ()

    @needs(Feature.RECORDS)
    async def test_at_most_once(self, store: Driver, clock: ManualClock) -> None:
        """3.7. A lapse is the end, whether it was reported started or not."""
        lease = await store.run(at_most_once=True)
        clock.advance(31)
        assert (await store.ask(who="two")).fates == (crashed(lease, crashes=0),)

    @needs(Feature.RECORDS)
    async def test_what_is_not_blamed_is_not_told(self, store: Driver) -> None:
        """Fates: what goes back uncounted has not ended and has not crashed."""
        lease, other = await store.run(), await store.run()
        assert await gave_up(store, lease, started=False) == ()
        assert await store.backend.close_session(await store.session()) == ()
        assert await store.state(other.spec.id) is JobState.QUEUED

    async def test_a_session_that_is_closed(self, store: Driver) -> None:
        """Close session: what it had started has crashed."""
        lease, other = await store.run(max_crashes=1), await store.run(max_crashes=2)
        assert await store.extend(lease, other, started=True)
        fates = await store.backend.close_session(await store.session())
        found = {one.id: one for one in fates}
        assert len(fates) == 2
        assert found[lease.spec.id] == crashed(lease)
        assert found[other.spec.id] == crashed(other, JobState.QUEUED)

    @needs(Feature.RECORDS)
    async def test_a_cancelled_job_whose_lease_lapses(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """3.8. It ends ``cancelled``, and nobody else says so."""
        lease = await store.run()
        await store.cancel(lease.spec.id)
        clock.advance(31)
        page = await store.backend.find(Query(limit=1))
        assert page.fates == (fate(lease.spec.id, JobState.CANCELLED, attempt=1),)

    @needs(Feature.RECORDS)
    @pytest.mark.parametrize("verdict", [Again(), Released()])
    async def test_an_attempt_that_was_to_be_repeated(
        self, store: Driver, verdict: Again | Released
    ) -> None:
        """3.8. Asked to end, it is not given out again: the answer says what became of it."""
        lease = await store.run()
        await store.cancel(lease.spec.id)
        answers = await store.backend.settle([store.end(lease, verdict)])
        assert fates_of(answers) == (fate(lease.spec.id, JobState.CANCELLED, attempt=1),)

    @needs(Feature.RECORDS, Feature.DELAY)
    @pytest.mark.parametrize("verb", ["claim", "find", "wait"])
    async def test_what_expires(self, store: Driver, clock: ManualClock, verb: str) -> None:
        """3.2. Each verb that moves time forward tells what has expired with it."""
        job_id = await store.add(expires=In(5.0), queue="other")
        expired = fate(job_id, JobState.FAILED, Cause.EXPIRED, queue="other")
        await store.session()
        clock.advance(6)
        if verb == "claim":
            fates = (await store.ask(queues=("none",))).fates
        elif verb == "find":
            fates = (await store.backend.find(Query(limit=1))).fates
        else:
            fates = tuple(await store.backend.wait(("none",), 0.0))
        assert fates == (expired,)
        assert (await store.backend.find(Query(limit=1))).fates == ()

    @needs(Feature.RECORDS)
    async def test_it_is_told_though_nothing_is_kept(self, store: Driver) -> None:
        """Fates: also of a job of which only the tombstone is left."""
        keep = Keep(succeeded=0.0, failed=0.0, cancelled=0.0)
        lease = await store.run(max_crashes=1, keep=keep)
        assert await gave_up(store, lease) == (crashed(lease),)
        assert await store.gone(lease.spec.id) is not None

    @needs(Feature.AFTER)
    @BOTH
    async def test_those_that_waited_for_a_failed_job(
        self, store: Driver, policy: OnFailure, state: JobState, cause: Cause | None
    ) -> None:
        """3.6. A settle tells which dependants ended with it, and with those the next ones."""
        lease = await store.run()
        first = await store.add(after=After(ids=(lease.spec.id,), on_failure=policy), queue="b")
        second = await store.add(after=After(ids=(first,)), queue="b")
        answers = await store.backend.settle([store.end(lease, Failed())])
        assert fates_of(answers) == (
            fate(first, state, cause, queue="b", reason=f"after:{lease.spec.id}"),
            fate(second, JobState.FAILED, Cause.DEPENDENCY, queue="b", reason=f"after:{first}"),
        )

    @needs(Feature.AFTER)
    async def test_those_that_wait_for_a_success_have_no_fate(self, store: Driver) -> None:
        """Fates: who may run now has not ended."""
        lease = await store.run()
        await store.add(after=After(ids=(lease.spec.id,)))
        assert fates_of(await store.backend.settle([store.end(lease, Done())])) == ()

    @needs(Feature.AFTER)
    @pytest.mark.parametrize("change", [Cancel(), Delete()])
    async def test_those_that_waited_for_a_changed_job(
        self, store: Driver, change: Cancel | Delete
    ) -> None:
        """Alter: what was asked for is ``done``, what followed from it is a fate."""
        first = await store.add()
        second = await store.add(after=After(ids=(first,)))
        altered = await store.alter(first, change)
        assert altered.done == (first,)
        assert altered.fates == (
            fate(second, JobState.FAILED, Cause.DEPENDENCY, reason=f"after:{first}"),
        )

    @needs(Feature.AFTER)
    @BOTH
    async def test_one_that_is_pushed_too_late(
        self, store: Driver, policy: OnFailure, state: JobState, cause: Cause | None
    ) -> None:
        """3.6. A job that ends with its push is told by the push, and by no repeat."""
        lease = await store.run()
        await store.fail(lease)
        job = store.job(after=After(ids=(lease.spec.id,), on_failure=policy))
        answers = await store.backend.push([job])
        assert fates_of(answers) == (fate(job.id, state, cause, reason=f"after:{lease.spec.id}"),)
        again = await store.backend.push([job])
        assert (len(again), fates_of(again)) == (1, ())

    @needs(Feature.AFTER)
    async def test_those_of_a_job_that_crashed(self, store: Driver) -> None:
        """Fates: a cascade begins with what began it."""
        lease = await store.run(max_crashes=1)
        waiting = await store.add(after=After(ids=(lease.spec.id,)))
        fates = [*await gave_up(store, lease)]
        # A store in parts brings the news to another part with the next verb.
        fates += (await store.backend.find(Query(limit=1))).fates
        assert fates == [
            crashed(lease),
            fate(waiting, JobState.FAILED, Cause.DEPENDENCY, reason=f"after:{lease.spec.id}"),
        ]

    @needs(Feature.AFTER)
    async def test_a_cascade_in_steps_is_told_whole(self, store: Driver) -> None:
        """3.6. In steps of 50: each verb tells of those that it has moved on, none twice."""
        lease = await store.run()
        waiting = await store.add_many(120, after=After(ids=(lease.spec.id,)), queue="b")
        fates = [*fates_of(await store.backend.settle([store.end(lease, Failed())]))]
        for _ in range(20):
            fates += (await store.ask()).fates
        assert sorted(one.id for one in fates) == sorted(waiting)
