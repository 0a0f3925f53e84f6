"""Dependencies: jobs that wait for other jobs."""

from __future__ import annotations

import pytest

from treadle.ports import Cancel, Delete, Feature, Query, Settlement
from treadle.records import After, Cause, In, JobState, Keep, OnFailure, Unique
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Cancelled, Done, Failed, Verdict

__all__ = ["DependenciesContract"]

POLICIES = [
    (OnFailure.FAIL, JobState.FAILED),
    (OnFailure.CANCEL, JobState.CANCELLED),
    (OnFailure.RUN, JobState.QUEUED),
]


def after(*ids: str, on_failure: OnFailure = OnFailure.FAIL) -> After:
    """What to wait for."""
    return After(ids=ids, on_failure=on_failure)


@needs(Feature.AFTER)
class DependenciesContract(Contract):
    """``after``: the jobs that must end before this one may start."""

    async def test_it_waits_until_the_last_one_ended(self, store: Driver) -> None:
        """3.6. Dependants are made ready from a set of ids, with the settle."""
        one, two = await store.add(queue="a"), await store.add(queue="a")
        waiting = await store.add(after=after(one, two), queue="b")
        record = await store.record(waiting)
        assert (record.state, set(record.waits_for)) == (JobState.WAITING, {one, two})
        assert record.reason.startswith("after:")
        leases = {lease.spec.id: lease for lease in await store.claim(5)}
        assert set(leases) == {one, two}
        await store.done(leases[one])
        record = await store.record(waiting)
        assert (record.state, record.waits_for) == (JobState.WAITING, (two,))
        await store.done(leases[two])
        record = await store.record(waiting)
        assert (record.state, record.waits_for, record.reason) == (JobState.QUEUED, (), "")
        assert await store.claimed(5) == [waiting]

    async def test_a_repeated_settle_does_not_count_twice(self, store: Driver) -> None:
        """3.6. A set of ids, not a counter: a repeat removes nothing more."""
        first = await store.run(queue="a")
        other = await store.add(queue="a")
        waiting = await store.add(after=after(first.spec.id, other))
        for _ in range(3):
            await store.settle(first, Done())
        assert await store.state(waiting) is JobState.WAITING

    async def test_one_named_twice(self, store: Driver) -> None:
        """A dependency named twice is one."""
        first = await store.run()
        waiting = await store.add(after=after(first.spec.id, first.spec.id))
        await store.done(first)
        assert await store.state(waiting) is JobState.QUEUED

    async def test_an_attempt_that_is_repeated_is_not_the_end(self, store: Driver) -> None:
        """A retry does not release those that wait."""
        first = await store.run()
        waiting = await store.add(after=after(first.spec.id))
        await store.again(first)
        assert await store.state(waiting) is JobState.WAITING

    @needs(Feature.DELAY)
    async def test_its_own_time_still_counts(self, store: Driver, clock: ManualClock) -> None:
        """States: the last dependency ends → ``scheduled`` if its due time is ahead."""
        first = await store.run()
        waiting = await store.add(after=after(first.spec.id), due=In(60.0))
        await store.done(first)
        assert await store.state(waiting) is JobState.SCHEDULED
        clock.advance(60)
        assert await store.claimed(5) == [waiting]

    @pytest.mark.parametrize(("policy", "state"), POLICIES)
    @pytest.mark.parametrize("verdict", [Failed(), Cancelled()], ids=["failed", "cancelled"])
    async def test_a_failure(
        self, store: Driver, verdict: Verdict, policy: OnFailure, state: JobState
    ) -> None:
        """States: by ``on_failure``: ``failed``, ``cancelled``, or as if it had succeeded."""
        first = await store.run()
        waiting = await store.add(after=after(first.spec.id, on_failure=policy))
        await store.settle(first, verdict)
        record = await store.record(waiting)
        assert record.state is state
        assert record.cause == (Cause.DEPENDENCY if state is JobState.FAILED else None)

    @pytest.mark.parametrize("how", ["cancel", "delete", "expire", "crash"])
    async def test_however_it_did_not_succeed(
        self, store: Driver, clock: ManualClock, how: str
    ) -> None:
        """Alter: removing or cancelling a job is a failure for those that wait for it."""
        first = await store.add(expires=In(5.0) if how == "expire" else None, max_crashes=1)
        waiting = await store.add(after=after(first), queue="later")
        match how:
            case "cancel":
                await store.cancel(first)
            case "delete":
                await store.alter(first, Delete())
            case "expire":
                clock.advance(6)
                await store.claim(queues=["nothing"])
            case _:
                await store.crash(await store.take())
        assert await store.state(waiting) is JobState.FAILED

    @pytest.mark.parametrize("how", ["settle", "cancel", "delete", "expire", "crash"])
    @needs(Feature.ORDER)
    async def test_the_first_that_failed_is_why(
        self, store: Driver, clock: ManualClock, how: str
    ) -> None:
        """States: a dependency fails; of those that fail in one step it is the first."""
        fields = {"expires": In(5.0) if how == "expire" else None, "max_crashes": 1}
        one, two = await store.add_many(2, **fields)
        waiting = await store.add(after=after(two, one), queue="later")
        both = Query(ids=(one, two), oldest_first=True)
        match how:
            case "settle":
                leases = await store.claim(2)
                ends = [Settlement(token=lease.token, verdict=Failed()) for lease in leases]
                await store.backend.settle(ends)
            case "cancel":
                await store.backend.alter(both, Cancel())
            case "delete":
                await store.backend.alter(both, Delete())
            case "expire":
                clock.advance(6)
            case _:
                for lease in await store.claim(2):
                    await store.start(lease)
                clock.advance(31)
        record = await store.record(waiting)
        assert (record.state, record.reason) == (JobState.FAILED, f"after:{one}")

    @needs(Feature.ORDER)
    async def test_what_fails_when_it_is_pushed_has_failed_for_what_is_pushed_with_it(
        self, store: Driver
    ) -> None:
        """Dependencies: the first that failed is why, in the order in which they are named."""
        bad = store.job(after=after("nobody", on_failure=OnFailure.CANCEL))
        worse = store.job(after=after(bad.id, "nobody"))
        await store.push(bad, worse)
        records = [await store.record(bad.id), await store.record(worse.id)]
        assert [one.state for one in records] == [JobState.CANCELLED, JobState.FAILED]
        assert [one.reason for one in records] == ["after:nobody", f"after:{bad.id}"]

    async def test_with_run_it_waits_for_the_others(self, store: Driver) -> None:
        """OnFailure: ``run`` counts a failure as if it had succeeded, no more."""
        first, second = await store.run(), await store.run()
        ids = (first.spec.id, second.spec.id)
        waiting = await store.add(after=after(*ids, on_failure=OnFailure.RUN))
        await store.fail(first)
        assert await store.state(waiting) is JobState.WAITING
        await store.done(second)
        assert await store.state(waiting) is JobState.QUEUED

    async def test_each_end_is_a_change(self, store: Driver) -> None:
        """JobRecord: the version goes up with every change, here of what it still waits for."""
        first, second = await store.run(), await store.run()
        waiting = await store.add(after=after(first.spec.id, second.spec.id))
        before = await store.record(waiting)
        await store.done(first)
        record = await store.record(waiting)
        assert record.waits_for == (second.spec.id,)
        assert record.version > before.version

    @pytest.mark.parametrize("keep", [Keep(), Keep(succeeded=0.0)], ids=["kept", "tombstone"])
    async def test_one_that_has_succeeded(self, store: Driver, keep: Keep) -> None:
        """States: a job or a tombstone that succeeded holds nobody up."""
        first = await store.run(keep=keep)
        await store.done(first)
        waiting = await store.add(after=after(first.spec.id))
        assert await store.state(waiting) is JobState.QUEUED

    @pytest.mark.parametrize(("policy", "state"), POLICIES)
    @pytest.mark.parametrize("how", ["kept", "tombstone", "unknown"])
    async def test_one_that_has_failed(
        self, store: Driver, how: str, policy: OnFailure, state: JobState
    ) -> None:
        """States: an unknown dependency counts as failed; a tombstone counts by its state."""
        if how == "unknown":
            first = store.ids.new()
        else:
            keep = Keep(failed=0.0) if how == "tombstone" else Keep()
            lease = await store.run(keep=keep)
            await store.fail(lease)
            first = lease.spec.id
        waiting = await store.add(after=after(first, on_failure=policy))
        assert await store.state(waiting) is state

    @needs(Feature.UNIQUE)
    @pytest.mark.parametrize("how", ["duplicate", "deleted"])
    async def test_one_that_never_ended(self, store: Driver, how: str) -> None:
        """States: a tombstone of a job that never was, or was removed before its end, failed."""
        if how == "duplicate":
            await store.add(unique=Unique(key="u"))
            job = store.job(unique=Unique(key="u"))
            await store.push(job)
            first = job.id
        else:
            first = await store.add()
            await store.alter(first, Delete())
        waiting = await store.add(after=after(first))
        assert await store.state(waiting) is JobState.FAILED

    async def test_deleting_what_has_succeeded_changes_nothing(self, store: Driver) -> None:
        """Alter: deleting a final job changes nothing for those that wait for it."""
        first, other = await store.run(), await store.run()
        waiting = await store.add(after=after(first.spec.id, other.spec.id))
        await store.done(first)
        await store.alter(first.spec.id, Delete())
        assert await store.state(waiting) is JobState.WAITING
        await store.done(other)
        assert await store.state(waiting) is JobState.QUEUED

    @pytest.mark.parametrize(
        ("policy", "state"),
        [(OnFailure.FAIL, JobState.FAILED), (OnFailure.CANCEL, JobState.CANCELLED)],
    )
    async def test_a_failure_passes_on(
        self, store: Driver, policy: OnFailure, state: JobState
    ) -> None:
        """3.6. Failure cascades to dependants in steps of 50, the rest as time moves."""
        first = store.job()
        chain = [first]
        for _ in range(60):
            chain.append(store.job(after=after(chain[-1].id, on_failure=policy), queue="chain"))
        fan = [store.job(after=after(first.id, on_failure=policy)) for _ in range(120)]
        await store.push(*chain, *fan)
        await store.fail(await store.take())
        for _ in range(10):
            await store.claim(queues=["nothing"])
        page = await store.backend.find(Query(states=(state,), limit=500, counts=True))
        expected = len(chain) + len(fan) - (state is JobState.CANCELLED)
        assert sum(row.get(state, 0) for row in page.counts.values()) == expected

    async def test_a_diamond(self, store: Driver) -> None:
        """Two jobs after one, and one after both."""
        top = store.job()
        left, right = store.job(after=after(top.id)), store.job(after=after(top.id))
        end = store.job(after=after(left.id, right.id))
        await store.push(end, left, right, top)
        granted: list[str] = []
        while leases := await store.claim(5):
            granted += [lease.spec.id for lease in leases]
            for lease in leases:
                await store.done(lease)
        assert (granted[0], granted[-1]) == (top.id, end.id)
        assert set(granted[1:3]) == {left.id, right.id}

    @needs(Feature.KEYS)
    async def test_a_key_still_counts(self, store: Driver) -> None:
        """A job that has waited for others may still have to wait for its key."""
        first = await store.run()
        holder = await store.run(key="k")
        waiting = await store.add(after=after(first.spec.id), key="k")
        await store.done(first)
        assert await store.claimed(5) == []
        await store.done(holder)
        assert await store.claimed(5) == [waiting]
