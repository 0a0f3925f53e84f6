"""Push: idempotent by id, whole or not at all, into the right state."""

from __future__ import annotations

import msgspec
import pytest

from treadle.errors import InvalidOption
from treadle.ports import Delete, Feature, Query
from treadle.records import (
    After,
    At,
    In,
    JobState,
    Keep,
    Note,
    Pushed,
    PushStatus,
    Scope,
    Settled,
    Spend,
    StoredRetry,
    Unique,
)
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Done

__all__ = ["PushContract"]

CREATED = Pushed(PushStatus.CREATED)
EXISTS = Pushed(PushStatus.EXISTS)
REQUEST_TTL = 600.0


class PushContract(Contract):
    """What ``push`` answers and makes."""

    async def test_nothing_in_the_way_is_queued(self, store: Driver, clock: ManualClock) -> None:
        """States: push, nothing in the way → ``queued``."""
        job_id = await store.add(queue="mail", priority=7)
        record = await store.record(job_id)
        assert (record.state, record.priority, record.tries) == (JobState.QUEUED, 7, 0)
        assert (record.fence, record.crashes) == (0, 0)
        assert record.created == clock.now()
        assert record.started is record.finished is record.lease_until is None

    async def test_pushing_nothing(self, store: Driver) -> None:
        """An empty push is answered with nothing."""
        assert await store.push() == []

    @needs(Feature.TOGETHER)
    async def test_the_whole_record_comes_back(self, store: Driver) -> None:
        """A store keeps every field of the job as it was pushed."""
        job = store.job(
            queue="a.b",
            priority=-100,
            payload=bytes(range(256)),
            expires=In(100.0),
            unique=Unique(key="u", scope=Scope.FOR, ttl=9.0),
            key="k",
            key_slots=3,
            asks=(Spend(key="r", count=5.0, per=60.0, cost=2.0),),
            max_crashes=5,
            timeout=12.5,
            retries=-1,
            retry=StoredRetry(on=("OSError",), backoff="fixed", pauses={"pause": 2.5}),
            keep=Keep(succeeded=1.0, failed=None, cancelled=0.0),
            tags=("x", "y"),
            meta={"n": 1, "s": "ü", "deep": {"l": [1, None, True]}},
            flow="f",
        )
        assert await store.push(job) == [CREATED]
        assert (await store.record(job.id)).spec == job
        lease = await store.take()
        assert lease.spec == job

    async def test_pushes_are_answered_in_order(self, store: Driver) -> None:
        """Push: "answers in order"."""
        known = store.job()
        assert await store.push(known) == [CREATED]
        answers = await store.push(store.job(), known, store.job())
        assert [answer.status for answer in answers] == ["created", "exists", "created"]

    async def test_a_repeat_in_any_state_is_answered_exists(self, store: Driver) -> None:
        """3.1. Push is idempotent by the client-made id."""
        job = store.job()
        assert await store.push(job) == [CREATED]
        assert await store.push(job) == [EXISTS]
        lease = await store.take()
        assert await store.push(job) == [EXISTS]
        await store.done(lease)
        assert await store.push(job) == [EXISTS]
        assert (await store.record(job.id)).state is JobState.SUCCEEDED
        assert await store.claimed(10) == []

    async def test_one_id_twice_in_a_push(self, store: Driver) -> None:
        """3.1. The same id in one push is one job."""
        job = store.job()
        assert await store.push(job, job) == [CREATED, EXISTS]
        assert len(await store.claim(10)) == 1

    async def test_the_first_push_of_an_id_counts(self, store: Driver) -> None:
        """3.1. What a repeat says differently changes nothing."""
        job = store.job(queue="first")
        await store.push(job)
        await store.push(msgspec.structs.replace(job, queue="second", payload=b"other"))
        assert (await store.record(job.id)).spec == job

    async def test_a_tombstone_answers_a_repeat(self, store: Driver, clock: ManualClock) -> None:
        """3.1. Settled with nothing kept leaves a tombstone for ``request_ttl``."""
        job = store.job(keep=Keep(succeeded=0.0))
        await store.push(job)
        await store.done(await store.take())
        gone = await store.gone(job.id)
        assert gone is not None
        assert gone.state is JobState.SUCCEEDED
        clock.advance(REQUEST_TTL - 1)
        assert await store.push(job) == [EXISTS]
        assert await store.claimed() == []

    async def test_a_push_may_be_the_first_to_see_that_a_tombstone_is_over(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """3.1. A tombstone is kept for ``request_ttl``, whoever looked at the store since."""
        job = store.job(keep=Keep(succeeded=0.0))
        await store.push(job)
        await store.done(await store.take())
        clock.advance(REQUEST_TTL + 1)
        assert await store.push(job) == [Pushed(PushStatus.CREATED)]

    async def test_a_tombstone_goes_after_request_ttl(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """3.1. A tombstone is kept for ``request_ttl`` (600 s), not for ever."""
        job = store.job(keep=Keep(succeeded=0.0))
        await store.push(job)
        await store.done(await store.take())
        clock.advance(REQUEST_TTL + 1)
        assert await store.gone(job.id) is None

    @needs(Feature.RECORDS)
    @pytest.mark.parametrize("state", [JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED])
    async def test_a_deleted_job_is_not_made_again(self, store: Driver, state: JobState) -> None:
        """3.1. Deleted leaves a tombstone too."""
        job = store.job()
        await store.put(state, **msgspec.structs.asdict(job))
        await store.alter(job.id, Delete())
        assert await store.push(job) == [EXISTS]
        assert await store.claimed() == []

    @needs(Feature.DELAY)
    async def test_a_due_time_ahead_schedules(self, store: Driver, clock: ManualClock) -> None:
        """States: push with a due time ahead → ``scheduled``; its time comes → ``queued``."""
        relative = await store.add(due=In(10.0))
        absolute = await store.add(due=At(clock.now() + 20.0))
        assert await store.states([relative, absolute]) == ["scheduled", "scheduled"]
        assert (await store.record(relative)).due == clock.now() + 10
        assert await store.claimed(5) == []
        clock.advance(10)
        assert await store.states([relative, absolute]) == ["queued", "scheduled"]
        assert await store.claimed(5) == [relative]
        clock.advance(10)
        assert await store.claimed(5) == [absolute]

    @needs(Feature.DELAY)
    @pytest.mark.parametrize("due", [In(0.0), In(-5.0), At(1.0)])
    async def test_a_due_time_in_the_past_is_now(self, store: Driver, due: In | At) -> None:
        """A time that has come does not hold a job up."""
        job_id = await store.add(due=due)
        assert await store.state(job_id) is JobState.QUEUED
        assert await store.claimed() == [job_id]

    @pytest.mark.parametrize("queue", ["", ".", ".a", "a.", "a..b", "a b", "a/b", "é", "q" * 129])
    async def test_a_name_that_is_none(self, store: Driver, queue: str) -> None:
        """Names: what a queue may be called; nothing of such a push is carried out."""
        good = store.job()
        with pytest.raises(InvalidOption, match="queue"):
            await store.push(good, store.job(queue=queue))
        assert await store.records() == ()

    async def test_the_longest_names(self, store: Driver) -> None:
        """Names: letters, digits and ``_ . : -``, up to 128 of them."""
        for queue in ("q" * 128, "A.b-c_d:9", "0"):
            await store.add(queue=queue)

    @needs(Feature.AFTER)
    async def test_dependencies_may_be_named_in_any_order(self, store: Driver) -> None:
        """States: dependencies may name jobs of the same push, in any order."""
        first = store.job()
        second = store.job(after=After(ids=(first.id,)))
        assert await store.push(second, first) == [CREATED, CREATED]
        assert await store.states([second.id, first.id]) == ["waiting", "queued"]

    @needs(Feature.ORDER)
    async def test_a_large_push(self, store: Driver) -> None:
        """One step per call, also for thousands."""
        ids = await store.add_many(2000)
        assert await store.claimed(2000) == ids

    @needs(Feature.RECORDS)
    async def test_a_version_goes_up_with_every_change(self, store: Driver) -> None:
        """Record: ``version`` goes up with every change; what ``find`` waits on."""
        job_id = await store.add()
        seen = [(await store.record(job_id)).version]
        lease = await store.take()
        seen.append((await store.record(job_id)).version)
        await store.extend(lease, note=Note(current=1.0))
        seen.append((await store.record(job_id)).version)
        assert await store.settle(lease, Done()) is Settled.OK
        seen.append((await store.record(job_id)).version)
        assert seen == sorted(set(seen))

    @needs(Feature.RECORDS)
    @needs(Feature.ORDER)
    async def test_arrival_numbers_go_up(self, store: Driver) -> None:
        """Order: ``seq`` is given once, at the push, in the order of the push."""
        ids = await store.add_many(5)
        ids += await store.add_many(5)
        numbers = [record.seq for record in await store.records(oldest_first=True)]
        assert numbers == sorted(set(numbers))
        assert [record.id for record in await store.records(oldest_first=True)] == ids
        assert (await store.backend.find(Query(ids=(ids[0],)))).records[0].seq == numbers[0]
