"""What a task does decides what its job becomes."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from treadle import (
    CONTEXT,
    Context,
    Fail,
    JobCancelled,
    JobFailed,
    JobState,
    Quit,
    Retry,
    RetryLater,
    Skip,
    Treadle,
    Trip,
    backoff,
)

AT_ONCE = backoff.fixed(0, jitter=False)


async def test_asyncio_and_thread_tasks_give_their_results(app: Treadle) -> None:
    here = threading.get_ident()

    @app.task(name="in_loop")
    async def in_loop(n: int) -> tuple[int, int]:
        return n, threading.get_ident()

    @app.task(name="in_thread")
    def in_thread(n: int) -> tuple[int, int]:
        return n, threading.get_ident()

    async with app.foreman():
        assert await (await in_loop.aenqueue(1)).aresult(timeout=10) == (1, here)
        number, thread = await (await in_thread.aenqueue(2)).aresult(timeout=10)
        assert number == 2
        assert thread != here


async def test_retries_until_it_succeeds_and_keeps_each_error(app: Treadle) -> None:
    @app.task(name="flaky", retry=Retry(5, backoff=AT_ONCE))
    async def flaky(ctx: Context = CONTEXT) -> int:
        if ctx.attempt < 3:
            raise ValueError(f"attempt {ctx.attempt}")
        return ctx.attempt

    async with app.foreman():
        job = await flaky.aenqueue()
        assert await job.aresult(timeout=10) == 3
    record = await job.arecord()
    assert record.tries == 2
    assert [(a.number, a.fault and a.fault.message) for a in record.attempts] == [
        (1, "attempt 1"),
        (2, "attempt 2"),
    ]


async def test_fails_when_the_retries_are_used_up(app: Treadle) -> None:
    @app.task(name="broken", retry=Retry(2, backoff=AT_ONCE))
    async def broken() -> None:
        raise LookupError("never")

    async with app.foreman():
        job = await broken.aenqueue()
        with pytest.raises(JobFailed) as caught:
            await job.aresult(timeout=10)
    assert caught.value.cause == "error"
    assert caught.value.fault is not None
    assert caught.value.fault.type.endswith("LookupError")
    assert "raise LookupError" in caught.value.fault.traceback
    record = await job.arecord()
    assert (record.tries, record.state) == (3, JobState.FAILED)


@pytest.mark.parametrize(
    "raised",
    [
        SystemExit(3),
        KeyboardInterrupt(),
        GeneratorExit(),
        asyncio.CancelledError(),
        StopIteration(),
        StopAsyncIteration(),
        RecursionError(),
        MemoryError(),
        ExceptionGroup("several", [ValueError("a"), TypeError("b")]),
    ],
    ids=lambda error: type(error).__name__,
)
@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_whatever_is_raised_ends_the_attempt_alone(
    memory_app: Treadle, mode: str, raised: BaseException
) -> None:
    app = memory_app

    def bad() -> None:
        raise raised

    async def abad() -> None:
        raise raised

    @app.task(name="good")
    async def good() -> str:
        return "fine"

    task: Any = app.task(name="bad")(abad if mode == "asyncio" else bad)
    async with app.foreman():
        job = await task.aenqueue()
        with pytest.raises(JobFailed):
            await job.aresult(timeout=10)
        assert await (await good.aenqueue()).aresult(timeout=10) == "fine"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


async def test_an_error_without_a_text_is_still_recorded(memory_app: Treadle) -> None:
    @memory_app.task(name="mute")
    async def mute() -> None:
        raise Unprintable

    async with memory_app.foreman():
        with pytest.raises(JobFailed) as caught:
            await (await mute.aenqueue()).aresult(timeout=10)
    assert caught.value.fault is not None
    assert caught.value.fault.type.endswith("Unprintable")


async def test_control_exceptions_steer_the_outcome(app: Treadle) -> None:
    seen: list[int] = []

    @app.task(name="steered", retry=Retry(3, backoff=AT_ONCE))
    async def steered(what: str, ctx: Context = CONTEXT) -> str:
        seen.append(ctx.attempt)
        if what == "later" and ctx.attempt == 1:
            raise RetryLater("not now", delay=0)
        if what == "skip":
            raise Skip("nothing to do")
        if what == "fail":
            raise Fail("hopeless")
        return "done"

    async with app.foreman():
        assert await (await steered.aenqueue("later")).aresult(timeout=10) == "done"
        assert seen == [1, 2]
        skipped = await steered.aenqueue("skip")
        assert await skipped.aresult(timeout=10) is None
        assert (await skipped.arecord()).skipped == "nothing to do"
        with pytest.raises(JobFailed, match="hopeless"):
            await (await steered.aenqueue("fail")).aresult(timeout=10)
    assert seen == [1, 2, 1, 1]


async def test_a_result_that_cannot_travel_fails_without_a_retry(app: Treadle) -> None:
    runs: list[int] = []

    @app.task(name="odd", retry=5)
    async def odd() -> Any:
        runs.append(1)
        return object()

    async with app.foreman():
        job = await odd.aenqueue()
        with pytest.raises(JobFailed) as caught:
            await job.aresult(timeout=10)
    assert caught.value.cause == "result"
    assert runs == [1]


async def test_a_result_that_until_refuses_is_tried_again(app: Treadle) -> None:
    @app.task(name="grow", retry=Retry(5, until=lambda n: n >= 3, backoff=AT_ONCE))
    async def grow(ctx: Context = CONTEXT) -> int:
        return ctx.attempt

    async with app.foreman():
        assert await (await grow.aenqueue()).aresult(timeout=10) == 3


async def test_an_attempt_that_runs_too_long_is_ended(app: Treadle) -> None:
    ended: list[str] = []

    @app.task(name="slow", timeout=0.05)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("cancelled")

    async with app.foreman():
        job = await slow.aenqueue()
        with pytest.raises(JobFailed) as caught:
            await job.aresult(timeout=10)
    assert caught.value.cause == "timeout"
    assert ended == ["cancelled"]


async def test_a_thread_that_looks_is_ended_by_its_timeout(app: Treadle) -> None:
    @app.task(name="spin", timeout=0.05)
    def spin(ctx: Context = CONTEXT) -> None:
        while True:
            ctx.check()

    async with app.foreman() as foreman:
        with pytest.raises(JobFailed) as caught:
            await (await spin.aenqueue()).aresult(timeout=10)
        assert foreman.stats["abandoned"] == 0
    assert caught.value.cause == "timeout"


async def test_cancelling_a_running_job_reaches_its_code(app: Treadle) -> None:
    started = asyncio.Event()

    @app.task(name="wait")
    async def wait() -> None:
        started.set()
        await asyncio.Event().wait()

    async with app.foreman():
        job = await wait.aenqueue()
        await started.wait()
        await job.acancel()
        with pytest.raises(JobCancelled):
            await job.aresult(timeout=10)
    assert (await job.arecord()).state is JobState.CANCELLED


async def test_follow_ups_exist_only_when_the_attempt_succeeds(app: Treadle) -> None:
    done: list[int] = []

    @app.task(name="child")
    async def child(n: int) -> None:
        done.append(n)

    @app.task(name="parent", retry=Retry(1, backoff=AT_ONCE))
    async def parent(ctx: Context = CONTEXT) -> None:
        ctx.enqueue(child, ctx.attempt)
        if ctx.attempt == 1:
            raise ValueError

    job = await parent.aenqueue()
    async with app.foreman(burst=True) as foreman:
        await job.aresult(timeout=10)
        await foreman.join()
    assert done == [2]


async def test_a_checkpoint_is_given_to_the_next_attempt(app: Treadle) -> None:
    @app.task(name="steps", retry=Retry(1, backoff=AT_ONCE))
    async def steps(ctx: Context = CONTEXT) -> list[int]:
        done = list(ctx.resumed or [])
        done.append(ctx.attempt)
        ctx.checkpoint(done)
        if ctx.attempt == 1:
            raise ValueError
        return done

    async with app.foreman():
        assert await (await steps.aenqueue()).aresult(timeout=10) == [1, 2]


async def test_progress_reaches_whoever_follows(app: Treadle) -> None:
    @app.task(name="count")
    async def count(go: int, ctx: Context = CONTEXT) -> int:
        for n in range(1, go + 1):
            ctx.progress(n, go, f"step {n}")
        return go

    async with app.foreman():
        job = await count.aenqueue(4)
        updates = [update async for update in job.aprogress()]
        assert await job.aresult(timeout=10) == 4
    assert (updates[-1].current, updates[-1].total) == (4, 4)


async def test_quit_stops_the_foreman_and_keeps_the_job(app: Treadle) -> None:
    @app.task(name="leave", retry=Retry(3, backoff=backoff.fixed("1h", jitter=False)))
    async def leave() -> None:
        raise Quit("out of memory")

    async with app.foreman() as foreman:
        job = await leave.aenqueue()
        await foreman.join()
        assert foreman.exit_status == 75
    record = await job.arecord()
    assert (record.state, record.tries) == (JobState.SCHEDULED, 1)


async def test_trip_gives_the_job_back_and_fails_it_the_fourth_time(memory_app: Treadle) -> None:
    app = memory_app
    seen: list[int] = []

    @app.task(name="trip", retry=Retry(0, backoff=AT_ONCE))
    async def trip(ctx: Context = CONTEXT) -> None:
        seen.append(ctx.attempt)
        raise Trip("service is down")

    from treadle import Breaker

    async with app.foreman(breaker=Breaker(5, pause=0.001, max_pause=0.001)):
        with pytest.raises(JobFailed, match="service is down"):
            await (await trip.aenqueue()).aresult(timeout=10)
    assert seen == [1, 1, 1, 1]
