"""Pauses and running bounds of queues: the cells that claim obeys."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from treadle.errors import InvalidOption
from treadle.ports import QUEUE_CELL, Feature, QueueRule, Write
from treadle.records import In, JobState
from treadle.testing.clock import START, ManualClock
from treadle.testing.contract.base import Contract, Driver, needs

__all__ = ["PausesContract"]


@needs(Feature.SHARED)
class PausesContract(Contract):
    """``queue:<name>`` holds a :class:`QueueRule`."""

    async def rule(self, store: Driver, queue: str, **fields: Any) -> None:
        """Write the rule of a queue; without fields its cell is deleted."""
        value = msgspec.msgpack.encode(QueueRule(**fields)) if fields else None
        assert await store.backend.write([Write(key=QUEUE_CELL + queue, value=value)])

    async def test_a_paused_queue_is_passed_over(self, store: Driver) -> None:
        """Claim 4. Paused queues are passed over; others are served."""
        held = await store.add(queue="a")
        other = await store.add(queue="b")
        await self.rule(store, "a", paused=True, reason="deploy", by="me")
        assert await store.claimed(5) == [other]
        assert await store.state(held) is JobState.QUEUED
        await self.rule(store, "a", paused=False)
        assert await store.claimed(5) == [held]

    async def test_deleting_the_rule_resumes(self, store: Driver) -> None:
        """A queue without a cell has no rule."""
        held = await store.add(queue="a")
        await self.rule(store, "a", paused=True)
        assert await store.claimed(5, queues=["a"]) == []
        await self.rule(store, "a")
        assert await store.claimed(5) == [held]

    async def test_a_pause_covers_subqueues(self, store: Driver) -> None:
        """3.11. ``mail`` covers ``mail.*`` for pause, and not ``mailbox``."""
        for queue in ("mail", "mail.a", "mail.a.b", "mailbox"):
            await store.add(queue=queue)
        await self.rule(store, "mail", paused=True)
        assert await store.claimed(5, queues=["mail.a"]) == []
        leases = await store.claim(5)
        assert [lease.spec.queue for lease in leases] == ["mailbox"]

    async def test_a_pause_of_a_subqueue_leaves_the_rest(self, store: Driver) -> None:
        """A rule holds downwards only."""
        for queue in ("mail", "mail.a", "mail.b"):
            await store.add(queue=queue)
        await self.rule(store, "mail.a", paused=True)
        leases = await store.claim(5)
        assert sorted(lease.spec.queue for lease in leases) == ["mail", "mail.b"]

    async def test_a_pause_may_end_by_itself(self, store: Driver, clock: ManualClock) -> None:
        """QueueRule: until when it is paused."""
        held = await store.add(queue="a")
        await self.rule(store, "a", paused=True, until=START + 60.0)
        clock.advance(59)
        assert await store.claimed(5) == []
        clock.advance(2)
        assert await store.claimed(5) == [held]

    async def test_what_runs_goes_on(self, store: Driver) -> None:
        """A pause is about claims: leases are renewed and settled as ever."""
        lease = await store.run(queue="a")
        await self.rule(store, "a", paused=True)
        assert await store.extend(lease) == ["held"]
        await store.done(lease)

    async def test_a_paused_queue_takes_and_expires_jobs(
        self, store: Driver, clock: ManualClock
    ) -> None:
        """3.2. Paused queues expire too."""
        await self.rule(store, "a", paused=True)
        late = await store.add(queue="a", expires=In(5.0))
        clock.advance(6)
        await store.claim(queues=["b"])
        assert await store.state(late) is JobState.FAILED

    async def test_a_suspect_of_a_paused_queue_waits(self, store: Driver) -> None:
        """Claim: suspects of paused queues are neither granted nor announced."""
        lease = await store.run(queue="a")
        await store.lapse()
        await self.rule(store, "a", paused=True)
        other = await store.add(queue="b")
        answer = await store.ask(5)
        assert [item.spec.id for item in answer.leases] == [other]
        assert answer.suspects_wait is False
        await self.rule(store, "a")
        assert await store.claimed(5) == [lease.spec.id]

    @needs(Feature.BOUNDS)
    async def test_only_so_many_of_a_queue_run(self, store: Driver) -> None:
        """Claim 4. Queues at ``max_running`` are passed over, and served again after."""
        ids = await store.add_many(4, queue="a")
        other = await store.add(queue="b")
        await self.rule(store, "a", max_running=2)
        leases = await store.claim(10, queues=["a", "b"])
        assert [lease.spec.id for lease in leases] == [*ids[:2], other]
        assert await store.claimed(10, who="two") == []
        await store.done(leases[0])
        assert await store.claimed(10, who="two") == [ids[2]]

    @needs(Feature.BOUNDS)
    async def test_running_jobs_of_subqueues_count(self, store: Driver) -> None:
        """Claim 4. The rule of the queue and those of its ancestors."""
        await self.rule(store, "a", max_running=3)
        await self.rule(store, "a.x", max_running=1)
        for queue in ("a", "a.x", "a.y"):
            await store.add_many(5, queue=queue)
        leases = await store.claim(10, queues=["a.x"])
        assert len(leases) == 1
        assert len(await store.claim(10, queues=["a"])) == 2
        assert await store.claimed(10) == []
        await store.done(leases[0])
        assert len(await store.claim(10)) == 1

    @pytest.mark.parametrize("end", ["again", "lapse", "release"])
    @needs(Feature.BOUNDS)
    async def test_however_an_attempt_ends_its_place_is_free(self, store: Driver, end: str) -> None:
        """Claim 4. What counts is what runs now."""
        await self.rule(store, "a", max_running=1)
        lease = await store.run(queue="a")
        await store.add(queue="a")
        match end:
            case "again":
                await store.again(lease)
            case "release":
                await store.release(lease)
            case _:
                await store.lapse()
        assert len(await store.claim(10)) == 1

    @pytest.mark.parametrize("name", ["*", "", "a..b", "a b"])
    async def test_a_rule_is_for_a_queue(self, store: Driver, name: str) -> None:
        """Shared: the name in a ``queue:`` cell is one that a queue can have."""
        for value in (msgspec.msgpack.encode(QueueRule(paused=True)), None):
            with pytest.raises(InvalidOption):
                await store.backend.write([Write(key=QUEUE_CELL + name, value=value)])

    async def test_a_cell_that_holds_no_rule(self, store: Driver) -> None:
        """Shared: to write a ``queue:`` cell that holds no rule raises."""
        for value in (b"no", msgspec.msgpack.encode({"paused": 1})):
            with pytest.raises(InvalidOption, match="queue:a"):
                await store.backend.write([Write(key=QUEUE_CELL + "a", value=value)])
        assert await store.backend.read([QUEUE_CELL + "*"]) == {}

    @needs(Feature.BOUNDS)
    async def test_no_place_at_all(self, store: Driver) -> None:
        """QueueRule: a bound of 0 lets nothing run."""
        await store.add(queue="a")
        await self.rule(store, "a", max_running=0)
        assert await store.claimed(5) == []
