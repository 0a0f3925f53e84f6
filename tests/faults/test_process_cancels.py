"""Cancels: of whoever calls a store, at any moment; of a job, at every step of its life."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251 - all cancels follow from the seed
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.process_stores import STORES, Store, store
from treadle import JobCancelled, JobState, Treadle
from treadle.clock import SystemClock
from treadle.failpoints import watched
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Held, Query, Settlement
from treadle.records import FINAL, NewJob, Renewal, Session, SessionInfo, Settled
from treadle.testing import eventually
from treadle.verdicts import Done

__all__ = ["store"]

pytestmark = pytest.mark.parametrize("store", ["memory", *STORES], indirect=True)
CLOCK = SystemClock()
CALLERS, ROUNDS = 20, 500
LET_BE = 50


@pytest.fixture
async def app(store: Store, tmp_path: Path) -> AsyncIterator[Treadle]:
    url = store.url or f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    async with Treadle(url) as app:
        yield app


class Caller:
    """Pushes, claims, extends and settles its own jobs, and is cancelled all the time.

    Every answer that it does get must be the one to its own question.
    """

    def __init__(self, backend: Backend, number: int, chance: random.Random) -> None:
        self.backend = backend
        self.queue = f"caller-{number}"
        self.chance = chance
        self.ids = SystemIds()
        self.request = 0
        self.cancels = 0
        self.answers = 0
        self.pushed: list[str] = []
        self.ended: set[str] = set()

    async def step(self, session: Session) -> None:
        """A job through its life, with answers that must be its own."""
        backend = self.backend
        job = NewJob(id=self.ids.new(), task="t", payload=b"", queue=self.queue)
        self.pushed.append(job.id)
        await backend.push([job])
        await CLOCK.sleep(0)  # a store in memory answers without waiting
        page = await backend.find(Query(ids=(job.id,)))
        assert [record.id for record in page.records] == [job.id]
        self.request += 1
        ask = Claim(session=session, request=self.request, limit=3, queues=(self.queue,))
        claimed = await backend.claim(ask)
        assert {lease.spec.queue for lease in claimed.leases} <= {self.queue}
        await CLOCK.sleep(0)
        held = [Held(token=lease.token, started=True) for lease in claimed.leases]
        assert await backend.extend(session, held, 60.0) == [Renewal.HELD] * len(held)
        await CLOCK.sleep(0)
        ends = [Settlement(token=one.token, verdict=Done(result=b"")) for one in held]
        answers = await backend.settle(ends)
        assert set(answers) <= {Settled.OK, Settled.ALREADY}
        self.ended |= {one.token.job_id for one in ends}
        self.answers += 1

    async def live(self) -> None:
        """Step by step, each cancelled after a random number of turns of the loop."""
        session = await self.backend.open_session(SessionInfo(name=self.queue))
        for number in range(ROUNDS):
            task = asyncio.ensure_future(self.step(session))
            for _ in range(self.chance.randrange(6)):
                await CLOCK.sleep(0)
            if self.chance.random() < 0.4:
                await asyncio.wait({task}, timeout=self.chance.random() * 0.05)
            if number % LET_BE == 0:
                # Else nothing would be answered where a step takes long.
                await task
            self.cancels += not task.done()
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.backend.close_session(session)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
async def test_calls_that_are_cancelled_at_any_moment_mix_up_no_answers(
    app: Treadle, seed: int
) -> None:
    chance = random.Random(seed)
    backend = await app.core.ready()
    callers = [Caller(backend, number, random.Random(chance.random())) for number in range(CALLERS)]
    await asyncio.gather(*(caller.live() for caller in callers))
    # What was cancelled may have been done or not; it is whole, and nothing of it is held.
    session = await backend.open_session(SessionInfo(name="last"))
    request = 0
    while True:
        request += 1
        claimed = await backend.claim(Claim(session=session, request=request, limit=1000))
        if not claimed.leases:
            break
        ends = [Settlement(token=lease.token, verdict=Done()) for lease in claimed.leases]
        assert set(await backend.settle(ends)) == {Settled.OK}
    for caller in callers:
        states: set[JobState] = set()
        for at in range(0, len(caller.pushed), 100):
            page = await backend.find(Query(ids=tuple(caller.pushed[at : at + 100]), limit=100))
            states |= {record.state for record in page.records}
            known = {record.id for record in page.records}
            assert caller.ended & set(caller.pushed[at : at + 100]) <= known
        assert states == {JobState.SUCCEEDED}
    assert sum(caller.cancels for caller in callers) > CALLERS * ROUNDS / 4
    assert sum(caller.answers for caller in callers) > CALLERS


STEPS = (
    "enqueue.after_reply", "claim.before_send", "claim.sent_no_reply", "claim.after_reply",
    "claim.decoded", "run.before_handler", "run.inside", "run.after_handler", "result.serialised",
    "ack.before_send", "ack.sent_no_reply", "ack.after_reply", "retry.before_send",
    "retry.sent_no_reply", "retry.after_reply", "promote.before_send", "promote.after_reply",
)  # fmt: skip


@pytest.mark.parametrize("step", STEPS)
async def test_a_job_that_is_cancelled_twice_at_a_step_ends_once(
    store: Store, app: Treadle, step: str
) -> None:
    """Whichever comes first wins, and what was said to be cancelled does not begin again."""
    if not store.passes(step):
        pytest.skip(f"over {store.kind} no process comes to {step}")
    starts: list[float] = []
    reported: list[float] = []

    @app.task(name="work", retry=1)
    async def work(fails: bool) -> int:
        starts.append(CLOCK.monotonic())
        for _ in range(3):
            await CLOCK.sleep(0)
        if fails and len(starts) == 1:
            raise ValueError("the first time")
        return 7

    job = app.job("a job")
    asked: set[asyncio.Task[object]] = set()
    loop = asyncio.get_running_loop()

    async def cancel() -> None:
        for _ in range(2):
            await job.acancel()
        if (await job.arecord()).state is JobState.CANCELLED:
            reported.append(CLOCK.monotonic())

    def at_step() -> None:
        if not asked:
            loop.call_soon_threadsafe(lambda: asked.add(loop.create_task(cancel())))

    fails = step.startswith(("retry", "promote"))
    with watched(step, at_step):
        # Before there is a foreman, who would come to some of the steps for no job at all.
        await work.options(id="a job").aenqueue(fails)
        async with app.foreman():
            await eventually(lambda: bool(asked))
            await asyncio.gather(*asked)
            record = await job.arecord()
            while record.state not in FINAL:
                await CLOCK.sleep(0.01)
                record = await job.arecord()
    if record.state is JobState.SUCCEEDED:
        assert await job.aresult() == 7
    else:
        assert record.state is JobState.CANCELLED
        with pytest.raises(JobCancelled):
            await job.aresult()
    assert not reported or all(start <= reported[0] for start in starts)


async def test_a_cancelled_job_that_is_tried_again_runs_to_its_end(app: Treadle) -> None:
    started = asyncio.Event()
    runs: list[int] = []

    @app.task(name="work")
    async def work() -> int:
        runs.append(1)
        started.set()
        while len(runs) == 1:
            await CLOCK.sleep(0.01)
        return len(runs)

    async with app.foreman():
        job = await work.aenqueue()
        await started.wait()
        await job.acancel()
        while (await job.arecord()).state is not JobState.CANCELLED:
            await CLOCK.sleep(0.01)
        assert await job.aretry()
        assert await job.aresult(timeout=10) == 2
    record = await job.arecord()
    assert (record.state, record.fence) == (JobState.SUCCEEDED, 2)
