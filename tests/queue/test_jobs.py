"""Jobs from enqueue to result, over each backend."""

from __future__ import annotations

import asyncio
import gc
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.queue.conftest import run_all
from tests.queue.shop import Orders, declare
from treadle import (
    CONTEXT,
    Context,
    Fail,
    InvalidCall,
    JobCancelled,
    JobFailed,
    JobNotFound,
    JobState,
    ResultExpired,
    RetryLater,
    Skip,
    Treadle,
    WaitTimeout,
)
from treadle.outcome import Progress
from treadle.records import Cause


class TestResults:
    async def test_a_job_gives_what_its_task_returned(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.add.aenqueue(1, b=5)
        assert await job.astate() is JobState.QUEUED
        await run_all(app)
        assert await job.aresult(timeout=10) == 6
        assert await job.astate() is JobState.SUCCEEDED

    async def test_types_survive_the_way(self, app: Treadle) -> None:
        tasks = declare(app)
        when = datetime(2026, 1, 2, tzinfo=UTC)
        job = await tasks.plain.aenqueue(Path("a"), when)
        await run_all(app)
        assert await job.aresult() == (Path("a/x"), when)

    async def test_a_task_that_returns_nothing_gives_none(self, app: Treadle) -> None:
        job = await declare(app).nothing.aenqueue()
        await run_all(app)
        assert await job.aresult() is None

    async def test_waiting_starts_before_the_job_does(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.add.aenqueue(1)
        waiting = asyncio.create_task(job.aresult(timeout=30))
        await run_all(app)
        assert await waiting == 3

    async def test_a_failure_carries_the_error_as_data(self, app: Treadle) -> None:
        job = await declare(app).fail.aenqueue(known=False)
        await run_all(app)
        with pytest.raises(JobFailed) as caught:
            await job.aresult()
        error = caught.value
        assert (error.job_id, error.cause) == (job.id, Cause.ERROR)
        assert error.fault is not None
        assert (error.fault.type, error.fault.message) == ("ValueError", "bad number")
        assert 'raise ValueError("bad number")' in str(error)

    async def test_an_allowed_class_is_raised_as_it_was(self, app: Treadle) -> None:
        job = await declare(app).fail.aenqueue(known=True)
        await run_all(app)
        with pytest.raises(Orders, match="sold out") as caught:
            await job.aresult()
        assert isinstance(caught.value.__cause__, JobFailed)

    async def test_the_app_may_allow_it_for_all(self, url: str) -> None:
        async with Treadle(url, errors=[ValueError]) as app:
            job = await declare(app).fail.aenqueue(known=False)
            await run_all(app)
            with pytest.raises(ValueError, match="bad number"):
                await job.aresult()

    async def test_waiting_has_an_end_and_the_job_goes_on(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        with pytest.raises(WaitTimeout, match=r"is queued after 0.01 s; it goes on"):
            await job.aresult(timeout=0.01)
        with pytest.raises(TimeoutError):
            await job.await_for(timeout=0.01)
        await run_all(app)
        assert await job.aresult() == 3

    async def test_waiting_for_the_record_does_not_raise(self, app: Treadle) -> None:
        job = await declare(app).fail.aenqueue(known=False)
        await run_all(app)
        record = await job.await_for()
        assert record.state is JobState.FAILED

    async def test_an_unknown_id_is_said(self, app: Treadle) -> None:
        job = app.job("nobody")
        for verb in (job.aresult, job.arecord, job.astate, job.await_for, job.acancel):
            with pytest.raises(JobNotFound, match="there is no job nobody"):
                await verb()
        with pytest.raises(JobNotFound):
            [update async for update in job.aprogress()]

    async def test_a_result_that_is_not_kept_is_said(self, app: Treadle) -> None:
        job = await declare(app).add.options(result_ttl=0).aenqueue(1)
        await run_all(app)
        assert await job.astate() is JobState.SUCCEEDED
        with pytest.raises(ResultExpired, match="result_ttl="):
            await job.aresult()
        with pytest.raises(JobNotFound):
            await job.arecord()

    async def test_how_a_job_ended_is_known_when_it_is_not_kept(self, app: Treadle) -> None:
        tasks = declare(app)
        failed = await tasks.fail.options(keep=0).aenqueue(known=True)
        cancelled = await tasks.add.options(keep=0, delay=60).aenqueue(1)
        await cancelled.acancel()
        await run_all(app)
        with pytest.raises(JobFailed, match="no longer kept"):
            await failed.aresult()
        with pytest.raises(JobCancelled):
            await cancelled.aresult()
        assert await failed.astate() is JobState.FAILED

    async def test_a_job_is_found_again_by_its_id(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.plain.aenqueue(Path("a"))
        await run_all(app)
        assert await app.job(job.id).aresult() == (Path("a/x"), None)
        assert await app.job(job.id, tasks.plain).aresult() == (Path("a/x"), None)
        assert app.job(job.id) == job

    async def test_another_program_reads_natural_types(self, tmp_path: Path) -> None:
        url = f"sqlite:///{tmp_path}/jobs.db"
        async with Treadle(url) as app:
            job = await declare(app).plain.aenqueue(Path("a"))
            await run_all(app)
        async with Treadle(url) as other:
            assert await other.job(job.id).aresult() == [Path("a/x"), None]

    async def test_two_waiters_get_the_same(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        waiters = [asyncio.create_task(job.aresult(timeout=30)) for _ in range(5)]
        await run_all(app)
        assert await asyncio.gather(*waiters) == [3] * 5

    async def test_a_record_says_times_as_points_in_time(self, app: Treadle) -> None:
        @app.task(name="t", queue="sums", tags=["x"], meta={"a": 1}, delay=0.0)
        def work(ctx: Context = CONTEXT) -> None:
            ctx.note(b=2)

        job = await work.options(expires="1h").aenqueue()
        before = await job.arecord()
        assert (before.started_at, before.finished_at) == (None, None)
        assert (before.duration, before.state.is_final) == (None, False)
        assert before.expires_at is not None
        assert before.created_at < before.expires_at
        await run_all(app)
        record = await job.arecord()
        assert (record.task, record.queue, record.tags) == ("t", "sums", ("x",))
        assert record.meta == {"a": 1, "b": 2}
        assert record.started_at is not None
        assert record.finished_at is not None
        assert record.created_at <= record.started_at <= record.finished_at
        assert record.duration == record.finished - record.started  # type: ignore[operator]
        assert record.state.is_final
        assert record.created_at.timestamp() == pytest.approx(record.created, abs=1e-5)
        assert record.created_at.utcoffset() == timedelta(0)


class TestMany:
    async def test_many_are_pushed_together_in_order(self, app: Treadle) -> None:
        add = declare(app).add
        jobs = await add.aenqueue_many([(1,), {"a": 2, "b": 3}, add.options(priority=3).bind(4)])
        assert [(await job.arecord()).priority for job in jobs] == [0, 0, 3]
        await run_all(app)
        assert [await job.aresult() for job in jobs] == [3, 5, 6]

    async def test_of_several_tasks(self, app: Treadle) -> None:
        tasks = declare(app)
        jobs = await app.aenqueue_many([tasks.add.bind(1), tasks.nothing.bind()])
        await run_all(app)
        assert [await job.aresult() for job in jobs] == [3, None]
        with pytest.raises(InvalidCall, match="item 0 is 3, not a call"):
            await app.aenqueue_many([3])  # type: ignore[list-item]

    async def test_more_than_a_batch(self, memory: Treadle) -> None:
        jobs = await declare(memory).add.aenqueue_many([(n,) for n in range(2500)])
        assert len({job.id for job in jobs}) == 2500
        counts = await memory.queue("default").acounts()
        assert counts[JobState.QUEUED] == 2500

    async def test_none_at_all(self, memory: Treadle) -> None:
        assert await declare(memory).add.aenqueue_many([]) == []

    async def test_the_function_itself_will_do(self, app: Treadle) -> None:
        async def double(a: int) -> int:
            return a * 2

        app.task(name="t")(double)
        job = await app.aenqueue(double, 4)
        await run_all(app)
        assert await job.aresult() == 8


class TestSteering:
    @pytest.mark.parametrize("known", [True, False])
    async def test_errors_are_tried_again(self, app: Treadle, known: bool) -> None:
        seen: list[int] = []

        @app.task(name="t", retry=2)
        async def flaky(ctx: Context = CONTEXT) -> str:
            seen.append(ctx.attempt)
            if len(seen) < 3:
                raise RetryLater("soon", delay=0) if known else Orders("no")
            return "done"

        copy = flaky if known else flaky.options(retry=2)
        job = await copy.aenqueue()
        async with app.foreman():
            assert await job.aresult(timeout=30) == "done"
        record = await job.arecord()
        assert seen == [1, 2, 3]
        assert [attempt.number for attempt in record.attempts] == [1, 2]
        assert all(a.started and a.ended and a.fault for a in record.attempts)
        kind = "RetryLater" if known else "Orders"
        assert all(a.fault and a.fault.type.endswith(kind) for a in record.attempts)

    async def test_skip_and_fail(self, app: Treadle) -> None:
        @app.task(name="t", retry=5)
        async def steer(how: str) -> None:
            raise Skip("nothing to do") if how == "skip" else Fail("no use")

        skipped, failed = await steer.aenqueue_many([("skip",), ("fail",)])
        await run_all(app)
        assert await skipped.aresult() is None
        assert (await skipped.arecord()).skipped == "nothing to do"
        with pytest.raises(JobFailed, match="no use"):
            await failed.aresult()
        assert (await failed.arecord()).tries == 1


class TestProgress:
    async def test_updates_end_with_the_job(self, app: Treadle) -> None:
        go = asyncio.Event()

        @app.task(name="t")
        async def work(ctx: Context = CONTEXT) -> None:
            ctx.progress(1, 4, "one")
            await go.wait()
            ctx.progress(4, 4, "all")

        job = await work.aenqueue()
        seen: list[Progress] = []
        async with app.foreman():
            async for update in job.aprogress():
                seen.append(update)
                go.set()
        assert seen[0] == Progress(1, 4, "one")
        assert seen[-1] == Progress(4, 4, "all")
        assert (seen[0].fraction, seen[-1].fraction) == (0.25, 1.0)
        # Whoever comes later gets the last word.
        assert [update async for update in job.aprogress()] == [Progress(4, 4, "all")]

    async def test_nothing_said_is_nothing_given(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        await run_all(app)
        assert [update async for update in job.aprogress()] == []


async def test_handles_do_not_grow(memory: Treadle) -> None:
    add = declare(memory).add
    gc.collect()
    jobs = await add.aenqueue_many([(n,) for n in range(10)])
    assert not any(hasattr(job, "__dict__") for job in jobs)
