"""What a staff says of workers that are free."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from treadle import Worker
from treadle.clock import SystemClock
from treadle.pools.options import PoolOptions
from treadle.pools.resident import Plan
from treadle.pools.staff import Staff


class Plain(Worker):
    """Starts in its own time."""

    async def start(self) -> None:
        await asyncio.get_running_loop().run_in_executor(None, int)


@asynccontextmanager
async def staffed(
    changed: Callable[[], None] = lambda: None, **options: Any
) -> AsyncIterator[Staff]:
    plan = Plan(cls=Plain, name="Plain")
    staff = Staff(
        plan, PoolOptions(mode="asyncio", **options), clock=SystemClock(), changed=changed
    )
    try:
        yield staff
    finally:
        await staff.aclose()


@pytest.mark.parametrize("limited", [False, True], ids=["plain", "slots"])
async def test_a_worker_that_was_started_for_a_job_is_free_for_no_other(limited: bool) -> None:
    slots = 2 if limited else 1
    told: list[int] = []
    async with staffed(lambda: told.append(staff.free), max_workers=2, slots=slots) as staff:
        jobs = [asyncio.ensure_future(staff.lease()) for _ in range(2 * slots)]
        lent = await asyncio.gather(*jobs)
        assert told
        assert set(told) == {0}
        assert staff.free == 0
        for member in lent:
            staff.give_back(member, failed=False)
        assert staff.free == 2 * slots


async def test_a_worker_that_comes_back_is_free_for_none_but_who_waits_for_it() -> None:
    told: list[int] = []
    async with staffed(lambda: told.append(staff.free), max_workers=1) as staff:
        member = await staff.lease()
        waiting = asyncio.ensure_future(staff.lease())
        await asyncio.wait({waiting}, timeout=0)
        assert staff.free == -1
        told.clear()
        staff.give_back(member, failed=False)
        assert told == [0]
        assert await waiting is member
        assert staff.free == 0
        staff.give_back(member, failed=False)
        assert told == [0, 1]


async def test_another_worker_can_be_had_while_one_is_started() -> None:
    async with staffed(max_workers=2) as staff:
        first = asyncio.ensure_future(staff.lease())
        await asyncio.wait({first}, timeout=0)
        assert staff.free == 1
        second = await staff.lease()
        assert {second.index, (await first).index} == {0, 1}
        staff.give_back(second, failed=False)
        assert staff.free == 1
        staff.give_back(await first, failed=False)


async def test_who_gives_up_waiting_leaves_the_worker_to_others() -> None:
    told: list[int] = []
    async with staffed(lambda: told.append(staff.free), max_workers=1) as staff:
        first = asyncio.ensure_future(staff.lease())
        await asyncio.wait({first}, timeout=0)
        assert staff.free == 0
        first.cancel()
        await asyncio.wait({first})
        assert staff.free == 1
        member = await staff.lease()
        assert staff.free == 0
        staff.give_back(member, failed=False)
        assert staff.free == 1
