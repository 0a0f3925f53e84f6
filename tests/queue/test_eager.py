"""Eager mode: jobs run where they are enqueued, through everything else."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from treadle import (
    CONTEXT,
    Context,
    Depends,
    Event,
    InvalidOption,
    JobFailed,
    JobState,
    NotEncodable,
    Rate,
    Skip,
    Treadle,
)
from treadle.outcome import Progress
from treadle.records import Cause


@pytest.fixture
def eager() -> Iterator[Treadle]:
    with Treadle(eager=True) as app:
        yield app


class TestPlainCode:
    def test_a_job_has_ended_when_the_enqueue_returns(self, eager: Treadle) -> None:
        where: list[threading.Thread] = []

        @eager.task(name="t")
        def work(number: int) -> int:
            where.append(threading.current_thread())
            return number + 1

        job = work.enqueue(1)
        assert job.state() is JobState.SUCCEEDED
        assert job.result() == 2
        assert where == [threading.main_thread()]

    def test_plain_functions_may_block_and_enqueue(self, eager: Treadle) -> None:
        @eager.task(name="inner")
        def inner(number: int) -> int:
            with pytest.raises(RuntimeError):
                asyncio.get_running_loop()
            return number * 10

        @eager.task(name="outer")
        def outer() -> int:
            return inner.enqueue(4).result() + 1

        assert outer.enqueue().result() == 41

    def test_asynchronous_tasks_run_too(self, eager: Treadle) -> None:
        @eager.task(name="inner")
        def inner() -> str:
            return threading.current_thread().name

        @eager.task(name="t")
        async def work() -> str:
            return await (await inner.aenqueue()).aresult()

        assert work.enqueue().result() == threading.main_thread().name

    def test_a_failure_is_in_the_handle(self, eager: Treadle) -> None:
        @eager.task(name="t")
        def work() -> None:
            raise ValueError("no")

        job = work.enqueue()
        assert job.state() is JobState.FAILED
        with pytest.raises(JobFailed, match="no"):
            job.result()

    def test_ctrl_c_is_for_the_caller(self, eager: Treadle) -> None:
        @eager.task(name="t")
        def work() -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            work.enqueue()

    def test_the_arguments_pass_through_the_codec(self, eager: Treadle) -> None:
        given = [[1]]

        @eager.task(name="t")
        def work(rows: list[list[int]]) -> list[list[int]]:
            rows[0].append(2)
            return rows

        assert work.enqueue(given).result() == [[1, 2]]
        assert given == [[1]]
        with pytest.raises(NotEncodable):
            work.enqueue([["x"]])  # type: ignore[list-item]

    def test_a_result_that_cannot_be_stored_is_found_in_tests(self, eager: Treadle) -> None:
        @eager.task(name="t")
        def work() -> object:
            return object()

        assert work.enqueue().record().cause is Cause.RESULT


class TestAsynchronousCode:
    async def test_a_job_has_ended_when_the_enqueue_returns(self) -> None:
        async with Treadle(eager=True) as app:

            @app.task(name="t")
            async def work(number: int, ctx: Context = CONTEXT) -> int:
                ctx.progress(1, 2)
                return number + 1

            @app.task(name="p")
            def plain() -> bool:
                return threading.current_thread() is threading.main_thread()

            job = await work.aenqueue(1)
            assert await job.astate() is JobState.SUCCEEDED
            assert await job.aresult() == 2
            assert [update async for update in job.aprogress()] == [Progress(1, 2)]
            assert await (await plain.aenqueue()).aresult() is False

    async def test_many_at_the_same_time(self) -> None:
        async with Treadle(eager=True) as app:
            running = 0

            @app.task(name="t")
            async def work(number: int) -> int:
                nonlocal running
                running += 1
                while running < 2:
                    await app.core.clock.sleep(0)
                return number

            jobs = await asyncio.gather(work.aenqueue(1), work.aenqueue(2))
            assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 2

    async def test_a_timeout_ends_an_attempt(self) -> None:
        async with Treadle(eager=True) as app:

            @app.task(name="t", timeout=0.01)
            async def work() -> None:
                await asyncio.Event().wait()

            job = await work.aenqueue()
            assert (await job.arecord()).cause is Cause.TIMEOUT

    async def test_a_job_that_names_itself_does_not_wait_for_itself(self) -> None:
        async with Treadle(eager=True) as app:

            @app.task(name="t", unique="me")
            async def work() -> bool:
                return (await work.aenqueue()).created

            assert await (await work.aenqueue()).aresult() is False


class TestSameAsElsewhere:
    def test_retries_do_not_wait(self, eager: Treadle) -> None:
        attempts: list[int] = []

        @eager.task(name="t", retry=3)
        def work(ctx: Context = CONTEXT) -> str:
            attempts.append(ctx.attempt)
            if ctx.attempt < 3:
                raise OSError
            return "done"

        job = work.enqueue()
        assert job.result() == "done"
        assert attempts == [1, 2, 3]
        assert len(job.record().attempts) == 2

    def test_delayed_jobs_are_kept_and_not_run(self, eager: Treadle) -> None:
        ran: list[int] = []

        @eager.task(name="t")
        def work() -> None:
            ran.append(1)

        delayed = work.options(delay="1h").enqueue()
        at = work.options(run_at=datetime(2100, 1, 1, tzinfo=UTC)).enqueue()
        assert (delayed.state(), at.state(), ran) == (JobState.SCHEDULED, JobState.SCHEDULED, [])
        assert eager.jobs(state="scheduled").records[0].id == at.id

    def test_limits_do_not_hold_up_a_test(self, eager: Treadle) -> None:
        @eager.task(name="t", limits=[Rate(1, per=3600)])
        def work() -> int:
            return 1

        assert [job.result() for job in work.enqueue_many([(), (), ()])] == [1, 1, 1]

    def test_follow_ups_and_dependants_run(self, eager: Treadle) -> None:
        ran: list[str] = []

        @eager.task(name="t", limits=[Rate(1, per=3600)])
        def work(name: str, ctx: Context = CONTEXT) -> None:
            ran.append(name)
            if name == "first":
                ctx.enqueue(work, "follow-up")

        first = work.enqueue("first")
        work.options(after=first).enqueue("after")
        assert ran == ["first", "follow-up", "after"]

    def test_middleware_events_and_dependencies(self, eager: Treadle) -> None:
        log: list[str] = []

        def resource() -> Iterator[str]:
            yield "resource"
            log.append("closed")

        async def stream() -> AsyncIterator[str]:
            yield "stream"

        @eager.middleware
        async def trace(ctx: Any, call_next: Any) -> Any:
            log.append(ctx.phase)
            return await call_next(ctx)

        @eager.on("job.*")
        def hear(event: Event) -> None:
            log.append(event.name)

        @eager.task(name="t")
        def work(one: str = Depends(resource), two: str = Depends(stream)) -> None:
            log.append(f"{one} {two}")

        work.enqueue()
        assert log == [
            "enqueue", "job.enqueued", "run", "resource stream", "closed", "job.succeeded",
        ]  # fmt: skip

    def test_steering(self, eager: Treadle) -> None:
        @eager.task(name="t")
        def work() -> None:
            raise Skip("nothing to do")

        record = work.enqueue().record()
        assert (record.state, record.skipped) == (JobState.SUCCEEDED, "nothing to do")

    def test_a_paused_queue_is_obeyed(self, eager: Treadle) -> None:
        work = eager.task(name="t")(lambda: 1)
        eager.queue("default").pause("maintenance")
        assert work.enqueue().state() is JobState.QUEUED


def test_any_app_can_be_eager_for_a_while() -> None:
    app = Treadle("memory://")
    work = app.task(name="t")(lambda: 7)
    outside = work.enqueue()
    with app.override(eager=True):
        assert work.enqueue().result() == 7
    assert outside.state() is JobState.QUEUED
    app.close()


def bad() -> None:
    raise ValueError("no luck")


def test_a_failure_that_nobody_asks_for_is_logged(
    eager: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    eager.on("job.failed", heard.append)
    eager.task(name="bad")(bad).enqueue()
    [line] = [one.getMessage() for one in caplog.records]
    assert line.startswith("job.failed ")
    assert "error='ValueError: no luck'" in line
    assert 'raise ValueError("no luck")' in line
    assert heard[0].data["error"] == "ValueError: no luck"


def test_an_enqueue_may_raise_what_its_jobs_have_raised() -> None:
    with Treadle(eager="raise", errors=[ValueError]) as app:
        task = app.task(name="bad")(bad)
        app.task(name="good")(lambda: None).enqueue()

        @app.task(name="parent")
        def parent(ctx: Context = CONTEXT) -> None:
            ctx.enqueue(task)

        with pytest.raises(ValueError, match="no luck"):
            task.enqueue()
        with pytest.raises(ValueError, match="no luck"):
            parent.enqueue()
        assert [one.spec.task for one in app.jobs(state="failed").records] == ["bad", "bad"]
    with pytest.raises(JobFailed, match="no luck"):
        _raised_for_a_while()
    with pytest.raises(InvalidOption, match="eager='rise' is not True, False or 'raise'"):
        Treadle(eager="rise")  # type: ignore[arg-type]


def _raised_for_a_while() -> None:
    with Treadle("memory://") as app:
        task = app.task(name="bad")(bad)
        with app.override(eager="raise"):
            task.enqueue()
