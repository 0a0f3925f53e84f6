"""Every failpoint is passed by a system that does all there is to do."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from tests.foreman.kit import advance_until
from treadle import CONTEXT, Context, Retry, Treadle, backoff
from treadle.errors import InvalidOption
from treadle.failpoints import NAMES, active, watched
from treadle.ports import Claim
from treadle.records import SessionInfo
from treadle.testing import ManualClock


@pytest.fixture(params=["memory", "sqlite"])
async def manual(
    request: pytest.FixtureRequest, tmp_path: Path
) -> AsyncIterator[tuple[Treadle, ManualClock]]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    clock = ManualClock()
    async with Treadle(url, clock=clock) as app:
        yield app, clock


async def test_a_running_system_passes_each_of_them(manual: tuple[Treadle, ManualClock]) -> None:
    app, clock = manual
    passed: set[str] = set()
    go_on = False

    @app.task(name="again", retry=Retry(1, backoff=backoff.fixed(5, jitter=False)))
    async def again(ctx: Context = CONTEXT) -> int:
        if ctx.tries == 0:
            raise ValueError("the first time")
        return ctx.tries

    @app.task(name="in_thread")
    def in_thread() -> int:
        return 1

    @app.task(name="long")
    async def long() -> int:
        while not go_on:
            await clock.sleep(1)
        return 2

    with ExitStack() as stack:
        for name in NAMES:
            stack.enter_context(watched(name, partial(passed.add, name)))
        forgotten = await in_thread.aenqueue()
        backend = await app.core.ready()
        dead = await backend.open_session(SessionInfo(name="dead"))
        claimed = await backend.claim(Claim(session=dead, request=1, limit=1, lease=3.0))
        assert [lease.token.job_id for lease in claimed.leases] == [forgotten.id]
        jobs = [await again.aenqueue(), await long.aenqueue()]
        async with app.foreman(lease=9):
            await advance_until(clock, lambda: passed == set(NAMES))
            go_on = True
            results = asyncio.gather(*(job.aresult() for job in (*jobs, forgotten)))
            await advance_until(clock, results.done)
    assert results.result() == [1, 2, 1]


async def test_a_thread_that_is_told_to_cancel_itself_says_that_it_has_no_task(
    manual: tuple[Treadle, ManualClock],
) -> None:
    app, _ = manual

    @app.task(name="in_thread")
    def in_thread() -> int:
        return 1

    with active({"run.inside": "cancel"}):
        job = await in_thread.aenqueue()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
    record = await job.arecord()
    assert record.fault is not None
    assert record.fault.type.endswith(InvalidOption.__name__)
