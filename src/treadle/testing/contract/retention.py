"""Retention: how long what ended is kept, and what is left of it."""

from __future__ import annotations

import pytest

from treadle.ports import Feature, Query
from treadle.records import JobState, Keep, Settled
from treadle.testing.clock import ManualClock
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Cancelled, Done, Failed, Verdict

__all__ = ["RetentionContract"]

ENDS = [
    pytest.param(Done(), "succeeded", id="succeeded"),
    pytest.param(Failed(), "failed", id="failed"),
    pytest.param(Cancelled(), "cancelled", id="cancelled"),
]


async def end(store: Driver, verdict: Verdict, keep: Keep) -> str:
    """A job that ended so; its id."""
    lease = await store.run(keep=keep)
    assert await store.settle(lease, verdict) is Settled.OK
    return lease.spec.id


@needs(Feature.RECORDS)
class RetentionContract(Contract):
    """Kept for ``spec.keep`` of the final state, then removed leaving a tombstone."""

    @pytest.mark.parametrize(("verdict", "name"), ENDS)
    async def test_kept_for_its_time(
        self, store: Driver, clock: ManualClock, verdict: Verdict, name: str
    ) -> None:
        """Settle: kept for ``spec.keep`` of that state, then a tombstone, then nothing."""
        keep = Keep(**{"succeeded": 0.0, "failed": 0.0, "cancelled": 0.0, name: 20.0})
        job_id = await end(store, verdict, keep)
        clock.advance(19)
        assert await store.state(job_id) == name
        clock.advance(2)
        await store.claim(who="two")
        gone = await store.gone(job_id)
        assert gone is not None
        assert gone.state == name
        page = await store.backend.find(Query(counts=True))
        assert sum(page.counts.get("default", {}).values()) == 0
        assert sum(page.failures.values()) == 0
        clock.advance(601)
        assert await store.gone(job_id) is None

    @pytest.mark.parametrize(("verdict", "name"), ENDS)
    async def test_kept_for_no_time(self, store: Driver, verdict: Verdict, name: str) -> None:
        """Settle: a keep of 0 removes at once."""
        job_id = await end(store, verdict, Keep(**{name: 0.0}))
        gone = await store.gone(job_id)
        assert gone is not None
        assert gone.state == name
        assert await store.records() == ()

    @pytest.mark.parametrize(("verdict", "name"), ENDS)
    async def test_kept_for_ever(
        self, store: Driver, clock: ManualClock, verdict: Verdict, name: str
    ) -> None:
        """Keep: ``None`` is for ever."""
        job_id = await end(store, verdict, Keep(**{name: None}))
        clock.advance(10 * 365 * 86400.0)
        await store.claim(who="two")
        assert await store.state(job_id) == name

    @pytest.mark.parametrize("options", [{"max_failed": 3}])
    @needs(Feature.BOUNDS)
    async def test_only_so_many_failed_jobs_are_kept(self, store: Driver) -> None:
        """Settle: at most ``max_failed`` failed jobs are kept, the oldest go first."""
        ids: list[str] = []
        for _ in range(5):
            store.clock.advance(1)
            ids.append(await end(store, Failed(), Keep()))
        await store.claim()
        kept = await store.records(states=(JobState.FAILED,), oldest_first=True)
        assert [record.id for record in kept] == ids[2:]
        assert await store.gone(ids[0]) is not None
        page = await store.backend.find(Query(counts=True))
        assert page.counts["default"][JobState.FAILED] == 3

    async def test_many_that_go_together(self, store: Driver, clock: ManualClock) -> None:
        """5. Retention is enforced in steps, and all of them go."""
        await store.add_many(300, keep=Keep(succeeded=5.0))
        for lease in await store.claim(300):
            await store.done(lease)
        clock.advance(6)
        for _ in range(10):
            await store.claim(who="two")
        page = await store.backend.find(Query(counts=True))
        assert page.records == ()
        assert sum(page.counts.get("default", {}).values()) == 0
