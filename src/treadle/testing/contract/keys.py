"""Keys: mutual exclusion, lines, strict order."""

from __future__ import annotations

import msgspec
import pytest

from treadle.ports import PARK_MAX, QUEUE_CELL, Feature, QueueRule, Write
from treadle.records import Hold, In, JobState, Keep, Lease, Spend
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Again, Cancelled, Done, Failed, Released

__all__ = ["KeysContract"]


@needs(Feature.KEYS)
class KeysContract(Contract):
    """At most ``key_slots`` jobs of one key run at a time."""

    async def test_jobs_of_one_key_run_one_at_a_time(self, store: Driver) -> None:
        """3.10. ``key=`` is mutual exclusion."""
        ids = await store.add_many(3, key="k")
        for job_id in ids:
            lease = await store.take(limit=5)
            assert lease.spec.id == job_id
            assert await store.claimed(5) == []
            await store.done(lease)

    @needs(Feature.ORDER)
    async def test_other_keys_and_jobs_without_are_not_held_up(self, store: Driver) -> None:
        """3.10. What is parked costs later claims nothing and blocks nobody."""
        first, second = await store.add(key="k"), await store.add(key="k")
        others = [await store.add(key="other"), await store.add()]
        assert await store.claimed(5) == [first, *others]
        record = await store.record(second)
        assert (record.state, record.reason) == (JobState.WAITING, "key:k")

    async def test_a_push_for_a_full_key_waits_at_once(self, store: Driver) -> None:
        """Parking at push: a job whose key is full is parked at once."""
        await store.run(key="k")
        job_id = await store.add(key="k")
        record = await store.record(job_id)
        assert (record.state, record.reason) == (JobState.WAITING, "key:k")

    async def test_a_push_goes_behind_those_that_wait(self, store: Driver) -> None:
        """Parking at push: also when others are already parked in the key's line."""
        lease = await store.run(key="k")
        woken, parked = await store.add_many(2, key="k")
        await store.done(lease)
        new = await store.add(key="k")
        assert await store.states([woken, parked, new]) == ["queued", "waiting", "waiting"]

    @pytest.mark.parametrize("end", ["done", "fail", "again", "release", "cancelled", "lapse"])
    async def test_however_an_attempt_ends_the_next_is_woken(self, store: Driver, end: str) -> None:
        """3.3. ``settle`` or lapse frees the key and wakes the next."""
        lease = await store.run(key="k", max_crashes=1)
        waiting = await store.add(key="k")
        match end:
            case "done":
                await store.settle(lease, Done())
            case "fail":
                await store.settle(lease, Failed())
            case "again":
                await store.settle(lease, Again(delay=60.0))
            case "release":
                await store.settle(lease, Released(delay=60.0))
            case "cancelled":
                await store.settle(lease, Cancelled())
            case _:
                await store.crash(lease)
        assert await store.state(waiting) is JobState.QUEUED
        assert await store.claimed(5) == [waiting]

    async def test_a_suspect_has_given_its_key_back(self, store: Driver) -> None:
        """3.3. A lapse frees the key also of a job that is to run again."""
        lease = await store.run(key="k")
        waiting = await store.add(key="k")
        await store.crash(lease)
        assert await store.states([lease.spec.id, waiting]) == ["queued", "queued"]
        # Who holds something is not given the suspect.
        assert await store.claimed(5, holding=1) == [waiting]

    async def test_a_job_kept_for_no_time_frees_its_key(self, store: Driver) -> None:
        """Settle: freed also when nothing of the job is kept."""
        lease = await store.run(key="k", keep=Keep(succeeded=0.0))
        waiting = await store.add(key="k")
        await store.done(lease)
        assert await store.claimed() == [waiting]

    async def test_several_slots(self, store: Driver) -> None:
        """3.10. At most ``key_slots`` jobs of one key run at a time."""
        ids = await store.add_many(5, key="k", key_slots=2)
        leases = await store.claim(5)
        assert [lease.spec.id for lease in leases] == ids[:2]
        await store.done(leases[0])
        assert await store.claimed(5) == [ids[2]]
        assert await store.claimed(5) == []

    async def test_the_latest_push_sets_the_slots(self, store: Driver) -> None:
        """Push: the number given by the latest push of that key holds."""
        lease = await store.run(key="k", key_slots=1)
        ids = await store.add_many(3, key="k", key_slots=1)
        ids.append(await store.add(key="k", key_slots=3))
        await store.done(lease)
        assert await store.claimed(10) == ids[:3]

    @needs(Feature.PRIORITY)
    async def test_the_line_is_by_priority_then_arrival(self, store: Driver) -> None:
        """3.10. The line is by priority, then arrival."""
        lease = await store.run(key="k")
        low = await store.add(key="k")
        high = await store.add(key="k", priority=5)
        await store.done(lease)
        lease = await store.take()
        assert lease.spec.id == high
        await store.done(lease)
        assert await store.claimed() == [low]

    @needs(Feature.DELAY)
    async def test_a_due_job_of_a_full_key_waits(self, store: Driver, clock: ManualClock) -> None:
        """States: its time comes → ``queued``, or ``waiting`` when its key is full."""
        due = await store.add(key="k", due=In(5.0))
        lease = await store.run(key="k")
        clock.advance(5)
        record = await store.record(due)
        assert (record.state, record.reason) == (JobState.WAITING, "key:k")
        assert await store.claimed(5) == []
        await store.done(lease)
        assert await store.claimed(5) == [due]

    @needs(Feature.ORDER)
    async def test_a_wide_line_is_parked_in_steps(self, store: Driver) -> None:
        """3.10. A claim parks at most ``PARK_MAX`` and answers ``more``; nothing gets stuck."""
        head = await store.add(key="k")
        line = await store.add_many(3 * PARK_MAX, key="k")
        behind = await store.add()
        answer = await store.ask(2)
        assert answer.more
        granted = [lease.spec.id for lease in answer.leases]
        parked = await store.records(key="k", states=(JobState.WAITING,), limit=1000)
        assert len(parked) <= PARK_MAX
        for _ in range(10):
            answer = await store.ask(2 - len(granted))
            granted += [lease.spec.id for lease in answer.leases]
            if len(granted) == 2:
                break
            assert answer.more
        assert granted == [head, behind]
        assert await store.state(line[-1]) is JobState.WAITING

    @pytest.mark.parametrize("how", ["cancel", "expire"])
    async def test_who_leaves_the_line_is_passed_over(
        self, store: Driver, clock: ManualClock, how: str
    ) -> None:
        """Keys: a job that ended while it waited holds nobody up."""
        lease = await store.run(key="k")
        leaves = await store.add(key="k", expires=In(5.0) if how == "expire" else None)
        stays = await store.add(key="k")
        if how == "cancel":
            await store.cancel(leaves)
        clock.advance(6)
        await store.done(lease)
        assert await store.claimed(5) == [stays]

    async def test_a_woken_job_that_leaves(self, store: Driver) -> None:
        """Claim: what was meant for a woken job that leaves is meant for the next."""
        lease = await store.run(key="k")
        woken, following = await store.add_many(2, key="k")
        await store.done(lease)
        await store.cancel(woken)
        assert await store.claimed(5) == [following]

    @needs(Feature.SHARED)
    async def test_a_woken_job_of_a_paused_queue(self, store: Driver) -> None:
        """Claim: or whose queue is paused: nobody is held up by it."""
        lease = await store.run(key="k")
        held = await store.add(key="k", queue="paused")
        following = await store.add(key="k", queue="open")
        rule = msgspec.msgpack.encode(QueueRule(paused=True))
        await store.backend.write([Write(key=QUEUE_CELL + "paused", value=rule)])
        await store.done(lease)
        assert await store.claimed(5) == [following]
        assert await store.state(held) in {JobState.QUEUED, JobState.WAITING}

    async def test_never_more_run_than_may(self, store: Driver) -> None:
        """I8. At no instant do more than n holders of valid leases exist."""
        await store.add_many(30, key="k", key_slots=3)
        running: list[Lease] = []
        ended = 0
        while ended < 30:
            running += await store.claim(5, who=f"w{ended % 3}")
            assert 0 < len(running) <= 3
            await store.done(running.pop(0))
            ended += 1

    # ------------------------------------------------------------- ordered

    async def test_ordered_is_strict_arrival(self, store: Driver) -> None:
        """3.10. ``ordered=True``: strict arrival, whatever the priority."""
        first = await store.add(key="k", ordered=True, priority=-10)
        second = await store.add(key="k", ordered=True, priority=10)
        lease = await store.take()
        assert lease.spec.id == first
        assert await store.claimed() == []
        await store.done(lease)
        assert await store.claimed() == [second]

    async def test_an_ordered_line_is_by_arrival(self, store: Driver) -> None:
        """Claim: the line is by ``seq`` alone for ordered jobs."""
        lease = await store.run(key="k", ordered=True)
        ids = [await store.add(key="k", ordered=True, priority=p) for p in (-10, 10, 0)]
        granted: list[str] = []
        for _ in ids:
            await store.done(lease)
            lease = await store.take(limit=5)
            granted.append(lease.spec.id)
        assert granted == ids

    async def test_ordered_jobs_beside_others(self, store: Driver) -> None:
        """Claim: beside others they count as of priority 0."""
        lease = await store.run(key="k")
        ordered = await store.add(key="k", ordered=True, priority=50)
        high = await store.add(key="k", priority=5)
        low = await store.add(key="k", priority=-5)
        granted: list[str] = []
        for _ in range(3):
            await store.done(lease)
            lease = await store.take(limit=5)
            granted.append(lease.spec.id)
        assert granted == [high, ordered, low]

    async def test_one_that_waits_for_a_slot_keeps_its_place(self, store: Driver) -> None:
        """Claim: ordered: not before one with a lower ``seq`` that waits for a slot."""
        held = (Hold(key="s", slots=1),)
        blocker = await store.run(asks=held)
        first = await store.add(key="k", ordered=True, asks=held)
        second = await store.add(key="k", ordered=True)
        assert await store.claimed(5) == []
        assert await store.claimed(5) == []
        await store.done(blocker)
        lease = await store.take(limit=5)
        assert lease.spec.id == first
        await store.done(lease)
        assert await store.claimed(5) == [second]

    async def test_a_reserved_rate_keeps_the_key(self, store: Driver, clock: ManualClock) -> None:
        """Claim: a job that no rate let through at once blocks, like a retry."""
        asks = (Spend(key="r", count=1, per=10.0),)
        await store.run(asks=asks)
        first = await store.add(key="k", ordered=True, asks=asks)
        second = await store.add(key="k", ordered=True)
        assert await store.claimed(5) == []
        assert await store.claimed(5) == []
        clock.advance(10)
        lease = await store.take(limit=5)
        assert lease.spec.id == first
        await store.done(lease)
        assert await store.claimed(5) == [second]

    async def test_a_scheduled_retry_keeps_the_key(self, store: Driver, clock: ManualClock) -> None:
        """3.10. Ordered: a scheduled retry holds up those behind it."""
        lease = await store.run(key="k", ordered=True)
        behind = await store.add(key="k", ordered=True)
        await store.again(lease, delay=60.0)
        assert await store.claimed(5) == []
        clock.advance(60)
        lease = await store.take()
        assert lease.tries == 1
        await store.done(lease)
        assert await store.claimed(5) == [behind]

    async def test_a_failure_lets_the_next_run(self, store: Driver) -> None:
        """Ordered: a job that ended, well or not, holds nobody up."""
        lease = await store.run(key="k", ordered=True)
        behind = await store.add(key="k", ordered=True)
        await store.fail(lease)
        assert await store.claimed(5) == [behind]

    async def test_a_released_job_stays_first(self, store: Driver) -> None:
        """Ordered: a queued job with a lower ``seq`` goes before."""
        lease = await store.run(key="k", ordered=True)
        behind = await store.add(key="k", ordered=True)
        await store.release(lease)
        again = await store.take()
        assert again.spec.id == lease.spec.id
        await store.done(again)
        assert await store.claimed(5) == [behind]

    async def test_a_cancelled_retry_lets_the_next_run(self, store: Driver) -> None:
        """Ordered: cancelling a scheduled retry frees the line."""
        lease = await store.run(key="k", ordered=True)
        behind = await store.add(key="k", ordered=True)
        await store.again(lease, delay=600.0)
        await store.cancel(lease.spec.id)
        assert await store.claimed(5) == [behind]
