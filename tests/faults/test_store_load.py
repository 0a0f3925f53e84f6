"""Many jobs, many queues, hot keys: what a claim reads does not grow with what is stored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.faults.load_support import Bench, bench, ids
from treadle.ports import Query
from treadle.records import In, JobState, NewJob

both = pytest.mark.parametrize("kind", ["memory", "sqlite"])
_server = [pytest.mark.slow, pytest.mark.server, pytest.mark.timeout(180)]
each = pytest.mark.parametrize(
    "kind",
    ["memory", "sqlite", *(pytest.param(kind, marks=_server) for kind in ("redis", "postgres"))],
)
many = pytest.mark.parametrize(
    "number", [5_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(180)])]
)


async def served(one: Bench, **fields: Any) -> int:
    """The work of ten claims with their ends, once everything is warm."""
    for _ in range(3):
        assert len((await one.serve(**fields)).leases) == 10

    async def ten() -> None:
        for _ in range(10):
            assert len((await one.serve(**fields)).leases) == 10

    return await one.work(ten)


@each
@many
async def test_a_backlog_costs_nothing(tmp_path: Path, kind: str, number: int) -> None:
    """Queued, scheduled, waiting and ended jobs by the thousands: a claim does the same work."""
    async with bench(kind, tmp_path) as one:
        await one.push(400)
        few = await served(one)
        await one.push(number)
        await one.push(number // 10, due=In(1e6))
        await one.push(number // 10, queue="other")
        assert await served(one) <= 1.5 * few


@each
@many
async def test_jobs_parked_at_one_key_cost_others_nothing(
    tmp_path: Path, kind: str, number: int
) -> None:
    """They stand in their line, before the others, and are not looked at."""
    async with bench(kind, tmp_path) as one:
        await one.push(200)
        without = await served(one)
        await one.push(1, key="hot", priority=50)
        assert len((await one.claim(1)).leases) == 1
        await one.push(number, key="hot", priority=50)
        await one.push(200)
        assert await served(one) <= 1.5 * without
        page = await one.backend.find(Query(counts=True, limit=1))
        assert page.counts["default"][JobState.WAITING] == number


@both
async def test_jobs_that_a_claim_parks_are_parked_once(tmp_path: Path, kind: str) -> None:
    """Pushed while the key was free, they stand in the way of one claim, not of each."""
    async with bench(kind, tmp_path) as one:
        await one.push(2000, key="hot", priority=50)
        await one.push(100)
        granted = 0
        # A claim parks a hundred and says that there is more.
        for _ in range(25):
            granted += len((await one.claim(10)).leases)
        assert granted > 50
        assert await one.work(lambda: one.claim(10)) < 20_000


@both
@pytest.mark.parametrize(
    "number", [2_000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(180)])]
)
async def test_many_queues_are_all_served(tmp_path: Path, kind: str, number: int) -> None:
    """Each has one job: none is passed over, and a claim looks at a bounded number."""
    async with bench(kind, tmp_path) as one:
        made = [
            NewJob(id=ids.new(), task="t", payload=b"p", queue=f"q.{index}")
            for index in range(number)
        ]
        for at in range(0, number, 1000):
            await one.backend.push(made[at : at + 1000])
        first = await one.work(lambda: one.serve(100, queues=("q",)))
        names: set[str] = set()
        for _ in range(20):
            names |= {lease.spec.queue for lease in (await one.serve(100, queues=("q",))).leases}
        assert len(names) == min(number - 100, 2000) if number > 2100 else number - 100
        # A thousand queues are looked at, whatever their number.
        assert first < 150_000


@both
async def test_an_endless_stream_of_higher_priority_is_served_first(
    tmp_path: Path, kind: str
) -> None:
    """There is no ageing: the low job waits as long as there are others, and not longer."""
    async with bench(kind, tmp_path) as one:
        [low] = await one.push(1, priority=-1)
        for _ in range(100):
            await one.push(10, priority=1)
            claimed = await one.serve(10)
            assert low.id not in {lease.token.job_id for lease in claimed.leases}
            one.clock.advance(3600.0)
        assert [lease.token.job_id for lease in (await one.serve(10)).leases] == [low.id]


@both
async def test_a_queue_of_its_own_keeps_a_low_job_from_waiting(tmp_path: Path, kind: str) -> None:
    """Subqueues take turns whatever the priorities of their jobs."""
    async with bench(kind, tmp_path) as one:
        await one.push(1, priority=-100, queue="work.low")
        await one.push(1000, priority=100, queue="work.high")
        claimed = await one.serve(2, queues=("work",))
        assert {lease.spec.queue for lease in claimed.leases} == {"work.low", "work.high"}
