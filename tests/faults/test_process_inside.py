"""What a single process can survive, at every step: errors, broken connections, cancels, pauses."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from typing import Any

import pytest

from tests.foreman.kit import advance_until
from treadle import CONTEXT, Context, Job, Retry, Treadle, backoff
from treadle.failpoints import NAMES, InjectedFault, active, watched
from treadle.ports import Claim, Query
from treadle.records import FINAL, JobState, SessionInfo
from treadle.testing import ManualClock

INJECTED = (InjectedFault, ConnectionError, asyncio.CancelledError)
LEASE = 9.0


class Work:
    """Tasks of each kind, and how often each lease was used."""

    def __init__(self, app: Treadle, clock: ManualClock) -> None:
        self.app = app
        self.clock = clock
        self.starts: Counter[tuple[str, int]] = Counter()
        self.jobs: list[Job[Any]] = []

        def start(ctx: Context) -> None:
            self.starts[ctx.job_id, ctx.fence] += 1

        @app.task(name="quick")
        async def quick(ctx: Context = CONTEXT) -> int:
            start(ctx)
            return 1

        @app.task(name="in_thread")
        def in_thread(ctx: Context = CONTEXT) -> int:
            start(ctx)
            return 1

        @app.task(name="again", retry=Retry(1, backoff=backoff.fixed(2, jitter=False)))
        async def again(ctx: Context = CONTEXT) -> int:
            start(ctx)
            if ctx.tries == 0:
                raise ValueError("the first time")
            return 1

        @app.task(name="long")
        async def long(ctx: Context = CONTEXT) -> int:
            start(ctx)
            await clock.sleep(LEASE)
            return 1

        self.tasks: tuple[Any, ...] = (again, long, in_thread, quick, quick)

    async def orphan(self) -> None:
        """A job of somebody who has died."""
        self.jobs.append(await self.tasks[-1].aenqueue())
        backend = await self.app.core.ready()
        dead = await backend.open_session(SessionInfo(name="dead"))
        await backend.claim(Claim(session=dead, request=1, limit=1, lease=2.0))

    async def enqueue(self) -> None:
        """All of them; what is refused is asked for once more."""
        for task in self.tasks:
            for _ in range(2):
                with suppress(*INJECTED):
                    self.jobs.append(await asyncio.ensure_future(task.aenqueue()))
                    break

    async def ended(self) -> bool:
        """Whether every job in the store has ended."""
        backend = await self.app.core.ready()
        page = await backend.find(Query(limit=100))
        return all(record.state in FINAL for record in page.records)

    async def life(self) -> None:
        """One foreman until all has ended, or until it has."""
        done = False

        async def look() -> None:
            nonlocal done
            while not done:
                done = await self.ended()
                await self.clock.sleep(0.5)

        with suppress(*INJECTED):
            async with self.app.foreman(lease=LEASE, grace=1) as foreman:
                looking = asyncio.ensure_future(look())
                joining = asyncio.ensure_future(foreman.join())
                try:
                    await advance_until(self.clock, lambda: done or joining.done())
                    stopping = asyncio.ensure_future(self._leave(foreman))
                    await advance_until(self.clock, stopping.done)
                    await stopping
                finally:
                    looking.cancel()
                    await asyncio.gather(looking, joining, return_exceptions=True)

    async def _leave(self, foreman: Any) -> None:
        await foreman.stop()
        await foreman.join()


CELLS = [
    (point, action)
    for point in NAMES
    for action in ("raise", "drop", "cancel", "sleep:0.02")
    # A store has no task of its own that could be cancelled.
    if action != "cancel" or not point.startswith(("promote", "reap"))
]


@pytest.mark.parametrize(("point", "action"), CELLS)
async def test_every_job_ends_whatever_happens_at_a_step(point: str, action: str) -> None:
    clock = ManualClock()
    passes: list[str] = []
    async with Treadle("memory://", clock=clock) as app:
        work = Work(app, clock)
        if point.startswith("reap"):
            await work.orphan()
        with watched(point, lambda: passes.append(point)), active({point: f"{action}#1"}):
            enqueuing = asyncio.ensure_future(work.enqueue())
            await advance_until(clock, enqueuing.done)
            for _ in range(3):
                await work.life()
                if await work.ended():
                    break
        records = [await job.arecord() for job in work.jobs]
    assert passes
    assert all(record.state in FINAL for record in records), records
    failed = [record for record in records if record.state is JobState.FAILED]
    # An error in the code or around it is the job's own; anything else harms none.
    own = point.startswith(("claim.decoded", "run.", "result.")) and action != "sleep:0.02"
    assert len(failed) <= own, failed
    assert max(work.starts.values()) == 1
