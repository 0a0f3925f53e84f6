"""What ends an attempt from outside: a lost lease, a cancel, a loop that is torn down."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.kit import Manual, advance_until, listen, names, record_of, steal
from treadle import (
    CONTEXT,
    Context,
    JobCancelled,
    JobFailed,
    JobState,
    RetryLater,
    Treadle,
)
from treadle.errors import LeaseLost
from treadle.foreman.attempts import Attempts
from treadle.ports import Held, Settlement
from treadle.records import Settled, Token
from treadle.testing import eventually
from treadle.verdicts import Done


class Hang:
    """Code that waits for ever, and how it was ended."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.errors: list[BaseException] = []
        self.fences: list[int] = []

    async def aio(self, ctx: Context = CONTEXT) -> str:
        self.fences.append(ctx.fence)
        self.started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            self.errors.append(ctx.channel.ending or error)
            raise
        return "never"

    def thread(self, ctx: Context = CONTEXT) -> str:
        self.fences.append(ctx.fence)
        self.started.set()
        try:
            while True:
                ctx.check()
        except Exception as error:
            self.errors.append(error)
            raise

    def task(self, app: Treadle, mode: str, **options: Any) -> Any:
        async def aio(ctx: Context = CONTEXT) -> str:
            return await self.aio(ctx)

        def thread(ctx: Context = CONTEXT) -> str:
            return self.thread(ctx)

        made: Any = app.task(name="hang", **options)(aio if mode == "asyncio" else thread)
        return made


@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_a_lost_lease_ends_the_code_and_its_word_counts_no_more(
    app: Treadle, mode: str
) -> None:
    hang = Hang()
    task = hang.task(app, mode)
    lost = listen(app, "job.lost")
    async with app.foreman() as foreman:
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        thief, lease = await steal(app, foreman, job.id)
        foreman._heartbeat.nudge()
        await eventually(lambda: foreman.stats["running"] == 0)
        assert [type(error) for error in hang.errors] == [LeaseLost]
        assert foreman.stats["job.lost"] == 1
        backend = await app.core.ready()
        end = Settlement(token=lease.token, verdict=Done())
        assert await backend.settle([end]) == [Settled.OK]
        await backend.close_session(thief)
        assert await job.aresult(timeout=10) is None
    assert [(event.job_id, event.attempt) for event in lost] == [(job.id, 1)]
    assert "taken over" in lost[0].data["reason"]
    assert lease.crashes == 0  # nobody had reported that it had started


async def test_a_verdict_that_comes_too_late_changes_nothing(app: Treadle) -> None:
    started, release = asyncio.Event(), asyncio.Event()

    @app.task(name="late")
    async def late() -> str:
        started.set()
        await release.wait()
        return "mine"

    lost = listen(app, "job.*")
    async with app.foreman() as foreman:
        job = await late.aenqueue()
        await started.wait()
        thief, _ = await steal(app, foreman, job.id)
        release.set()
        await eventually(lambda: foreman.stats["job.lost"] == 1)
        record = await record_of(app, job.id)
        assert (record.state, record.fence) == (JobState.RUNNING, 2)
        assert foreman.stats["job.succeeded"] == 0
        backend = await app.core.ready()
        await backend.close_session(thief)
    # The caller and the foreman each tell what they know, when they know it.
    assert sorted(names(lost)[:2]) == ["job.enqueued", "job.started"]
    assert names(lost)[2] == "job.lost"
    assert "too late" in lost[2].data["reason"]


async def test_a_lease_that_cannot_be_renewed_ends_the_code_before_it_lapses(
    flaky: Manual,
) -> None:
    hang = Hang()
    task = hang.task(flaky.app, "asyncio")
    async with flaky.app.foreman(lease=30) as foreman:
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        flaky.backend.fail("extend", "refused")
        (running,) = foreman._attempts.running
        assert running.held_until == 27.0  # the store holds it for three seconds more
        # In small steps: a heartbeat that stands still knows nothing of the store.
        await advance_until(flaky.clock, lambda: flaky.clock.monotonic() >= 26.5, step=0.1)
        assert running.ending is None
        await advance_until(flaky.clock, lambda: foreman.stats["job.released"] == 1, step=0.1)
        assert flaky.backend.calls["extend"] > 0
        assert "could not be renewed" in str(running.ending)
        flaky.backend.mend("extend")
        await eventually(lambda: hang.fences == [1, 2])
        record = await record_of(flaky.app, job.id)
        assert (record.tries, record.crashes) == (0, 0)
        await job.acancel()
        await eventually(lambda: foreman.stats["job.cancelled"] == 1)


@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_a_cancel_reaches_running_code_long_before_the_next_renewal(
    app: Treadle, mode: str
) -> None:
    hang = Hang()
    task = hang.task(app, mode, retry=5)
    heard = listen(app, "job.*")
    async with app.foreman(lease=3600):
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        await job.acancel()
        with pytest.raises(JobCancelled):
            await job.aresult(timeout=20)
    assert [type(error) for error in hang.errors] == [JobCancelled]
    assert (await job.arecord()).state is JobState.CANCELLED
    assert "job.cancelled" in names(heard)


async def test_without_events_a_renewal_brings_the_cancel(
    flaky: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    hang = Hang()
    task = hang.task(flaky.app, "asyncio")
    flaky.backend.fail("subscribe", OSError("no events today"))
    async with flaky.app.foreman(lease=30) as foreman:
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        await job.acancel()
        await advance_until(flaky.clock, lambda: foreman.stats["job.cancelled"] == 1)
    assert "no events today" in caplog.text


async def test_an_attempt_that_cancels_itself_ends_as_an_error(app: Treadle) -> None:
    @app.task(name="self")
    async def itself() -> None:
        current = asyncio.current_task()
        assert current is not None
        current.cancel()
        await asyncio.Event().wait()

    async with app.foreman() as foreman:
        job = await itself.aenqueue()
        with pytest.raises(JobFailed, match="CancelledError"):
            await job.aresult(timeout=10)
        assert foreman.stats["running"] == 0


def test_a_loop_that_is_torn_down_gives_its_jobs_back(tmp_path: Path) -> None:
    """As when everything is cancelled and nobody leaves the foreman in good order."""
    app = Treadle(f"sqlite:///{tmp_path}/jobs.db")
    hang = Hang()
    task = hang.task(app, "asyncio")

    async def main() -> Any:
        foreman = app.foreman()
        await foreman.__aenter__()
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        return job

    with app:
        record = asyncio.run(main()).record()
    assert [type(error) for error in hang.errors] == [asyncio.CancelledError]
    assert (record.state, record.tries, record.crashes) == (JobState.QUEUED, 0, 0)


async def test_a_fault_in_the_place_ends_the_attempt(
    memory_app: Treadle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("the judge is ill")

    monkeypatch.setattr(Attempts, "_judge", broken)

    @memory_app.task(name="fails")
    async def fails() -> None:
        raise ValueError

    async with memory_app.foreman() as foreman:
        job = await fails.aenqueue()
        with pytest.raises(JobFailed, match="the judge is ill"):
            await job.aresult(timeout=10)
        assert foreman.stats["running"] == 0
    assert "attempt.broken" in caplog.text


async def test_at_most_once_ends_with_a_lost_lease(app: Treadle) -> None:
    hang = Hang()
    task = hang.task(app, "asyncio", delivery="at_most_once")
    async with app.foreman() as foreman:
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        token = Token(job.id, 1, foreman._presence.session.nonce)
        backend = await app.core.ready()
        await backend.extend(foreman._presence.session, [Held(token=token, started=True)], 0.0)
        record = await record_of(app, job.id)
        assert (record.state, record.cause) == (JobState.FAILED, "crashed")
        foreman._heartbeat.nudge()
        await eventually(lambda: foreman.stats["running"] == 0)
    assert hang.fences == [1]


async def test_at_most_once_is_not_run_again_on_its_own_wish(app: Treadle) -> None:
    runs: list[int] = []

    @app.task(name="once", delivery="at_most_once")
    async def once() -> None:
        runs.append(1)
        raise RetryLater("please", delay=0)

    async with app.foreman():
        job = await once.aenqueue()
        with pytest.raises(JobFailed, match="please"):
            await job.aresult(timeout=10)
    assert runs == [1]


async def test_a_cancel_of_a_job_that_runs_elsewhere_is_none_of_its_business(app: Treadle) -> None:
    hang, other = Hang(), Hang()
    task = hang.task(app, "asyncio")

    @app.task(name="other", queue="other")
    async def another(ctx: Context = CONTEXT) -> str:
        return await other.aio(ctx)

    async with app.foreman(queues=["default"]) as here, app.foreman(queues=["other"]) as there:
        job, away = await task.aenqueue(), await another.aenqueue()
        await eventually(lambda: hang.started.is_set() and other.started.is_set())
        await away.acancel()
        await eventually(lambda: there.stats["job.cancelled"] == 1)
        assert here.stats["running"] == 1
        await job.acancel()
        await eventually(lambda: here.stats["job.cancelled"] == 1)


async def test_when_the_events_end_the_renewals_still_tell(flaky: Manual) -> None:
    async def none() -> AsyncIterator[Any]:
        return
        yield

    hang = Hang()
    task = hang.task(flaky.app, "asyncio")
    flaky.backend.subscribe = lambda pattern: none()  # type: ignore[method-assign]
    async with flaky.app.foreman(lease=30) as foreman:
        job = await task.aenqueue()
        await eventually(hang.started.is_set)
        await job.acancel()
        await advance_until(flaky.clock, lambda: foreman.stats["job.cancelled"] == 1)
