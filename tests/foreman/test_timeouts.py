"""Attempts that run out of time, and code that does not end when it is asked to."""

from __future__ import annotations

import asyncio
import threading

import pytest

from tests.foreman.kit import Manual
from treadle import (
    CONTEXT,
    Context,
    JobFailed,
    JobState,
    Retry,
    Skip,
    backoff,
)
from treadle.testing import eventually

AT_ONCE = backoff.fixed(0, jitter=False)


async def test_code_that_swallows_the_request_to_end_loses_its_place(
    manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    app, clock = manual
    release, asked = asyncio.Event(), asyncio.Event()

    @app.task(name="stubborn", timeout=1)
    async def stubborn() -> str:
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                asked.set()
        return "late"

    @app.task(name="next")
    async def following() -> str:
        return "mine"

    async with app.foreman(concurrency=1, lease=3600, grace=2) as foreman:
        job = await stubborn.aenqueue()
        other = await following.aenqueue()
        await clock.aadvance(1.5)
        assert asked.is_set()
        assert foreman.stats["running"] == 1
        await clock.aadvance(4)  # twice its patience, which is the grace here
        assert foreman.stats["abandoned"] == 1
        assert await other.aresult() == "mine"
        with pytest.raises(JobFailed) as caught:
            await job.aresult()
        assert caught.value.cause == "timeout"
        release.set()
        await clock.aadvance(0)
        assert foreman.stats["job.failed"] == 1
        assert foreman.stats["job.succeeded"] == 1
    assert "attempt.abandoned" in caplog.text


async def test_a_thread_that_does_not_look_is_left_to_itself(manual: Manual) -> None:
    app, clock = manual
    release, started = threading.Event(), threading.Event()

    @app.task(name="blind", timeout=1)
    def blind() -> None:
        started.set()
        release.wait()

    async with app.foreman(concurrency=1, lease=3600) as foreman:
        job = await blind.aenqueue()
        await eventually(started.is_set)
        await clock.aadvance(7)
        await eventually(lambda: foreman.stats["abandoned"] == 1)
        with pytest.raises(JobFailed) as caught:
            await job.aresult()
        assert caught.value.cause == "timeout"
        release.set()


async def test_what_is_abandoned_may_still_speak(manual: Manual) -> None:
    app, clock = manual
    release, started = threading.Event(), threading.Event()
    spoken = threading.Event()

    @app.task(name="blind", timeout=1)
    def blind(ctx: Context = CONTEXT) -> None:
        started.set()
        release.wait()
        ctx.progress(1)
        spoken.set()

    async with app.foreman(lease=3600) as foreman:
        job = await blind.aenqueue()
        await eventually(started.is_set)
        await clock.aadvance(7)
        await eventually(lambda: foreman.stats["abandoned"] == 1)
    release.set()
    await eventually(spoken.is_set)
    assert (await job.arecord()).note is None


async def test_a_timeout_is_tried_again_where_the_retry_says_so(manual: Manual) -> None:
    @manual.app.task(name="slow", timeout=1, retry=Retry(1, backoff=AT_ONCE))
    async def slow(ctx: Context = CONTEXT) -> int:
        if ctx.attempt == 1:
            await asyncio.Event().wait()
        return ctx.attempt

    async with manual.app.foreman() as foreman:
        job = await slow.aenqueue()
        await manual.clock.aadvance(1.5)
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
        assert await job.aresult() == 2
    record = await job.arecord()
    assert [attempt.cause for attempt in record.attempts] == ["timeout"]


async def test_code_steers_its_outcome_also_when_its_time_is_up(manual: Manual) -> None:
    @manual.app.task(name="slow", timeout=1)
    async def slow(ctx: Context = CONTEXT) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise Skip("good enough") from None

    async with manual.app.foreman() as foreman:
        job = await slow.aenqueue()
        await manual.clock.aadvance(1.5)
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
        assert (await job.arecord()).skipped == "good enough"


async def test_an_error_of_the_cleanup_stands_beside_the_timeout(manual: Manual) -> None:
    @manual.app.task(name="slow", timeout=1)
    async def slow() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise OSError("the cleanup failed")

    async with manual.app.foreman() as foreman:
        job = await slow.aenqueue()
        await manual.clock.aadvance(1.5)
        await eventually(lambda: foreman.stats["job.failed"] == 1)
    record = await job.arecord()
    assert record.cause == "timeout"
    assert record.fault is not None
    assert [cause.message for cause in record.fault.causes] == ["the cleanup failed"]


async def test_a_call_may_have_its_own_timeout_and_retries(manual: Manual) -> None:
    seen: list[str] = []

    @manual.app.task(name="slow", timeout=10, retry=Retry(3, backoff=AT_ONCE))
    async def slow(name: str, ctx: Context = CONTEXT) -> None:
        seen.append(f"{name} {ctx.attempt} {ctx.deadline is not None}")
        if name == "fails":
            raise ValueError
        await asyncio.Event().wait()

    async with manual.app.foreman(lease=3600) as foreman:
        short = await slow.options(timeout=1, retry=0).aenqueue("short")
        endless = await slow.options(timeout=None).aenqueue("endless")
        fails = await slow.options(retry=1).aenqueue("fails")
        await manual.clock.aadvance(30)
        assert (await short.arecord()).cause == "timeout"
        assert (await fails.arecord()).tries == 2
        assert (await endless.arecord()).state is JobState.RUNNING
        assert foreman.stats["running"] == 1
        await endless.acancel()
        await eventually(lambda: foreman.stats["running"] == 0)
    assert seen == ["short 1 True", "endless 1 False", "fails 1 True", "fails 2 True"]


async def test_a_call_may_have_a_whole_retry_of_its_own(manual: Manual) -> None:
    seen: list[int] = []

    @manual.app.task(name="fails", retry=Retry(3, backoff=AT_ONCE))
    async def fails(kind: str, ctx: Context = CONTEXT) -> None:
        seen.append(ctx.attempt)
        raise OSError if kind == "system" else ValueError

    calls = fails.options(retry=Retry(1, on=OSError, backoff="10s"))
    async with manual.app.foreman(lease=3600) as foreman:
        value = await calls.aenqueue("value")
        await eventually(lambda: foreman.stats["job.failed"] == 1)
        assert (await value.arecord()).tries == 1
        system = await calls.aenqueue("system")
        await eventually(lambda: foreman.stats["job.retrying"] == 1)
        await manual.clock.aadvance(9)
        assert (await system.arecord()).state is JobState.SCHEDULED
        await manual.clock.aadvance(2)
        await eventually(lambda: foreman.stats["job.failed"] == 2)
    assert seen == [1, 1, 2]
