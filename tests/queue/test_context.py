"""What a task knows and says while it runs."""

from __future__ import annotations

import asyncio
import threading
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import (
    CONTEXT,
    Context,
    InvalidCall,
    InvalidOption,
    JobCancelled,
    JobFailed,
    JobState,
    NotEncodable,
    Treadle,
)
from treadle.context import current
from treadle.errors import NotOpen, UsageError
from treadle.ports import Delete


async def test_a_task_knows_its_job(app: Treadle) -> None:
    seen: dict[str, Any] = {}

    @app.task(name="t", queue="mail.acme", tags=["a"], meta={"who": "me"}, timeout=60)
    async def look(ctx: Context = CONTEXT) -> None:
        seen.update(
            id=ctx.job_id, task=ctx.task_name, queue=ctx.queue, attempt=ctx.attempt,
            tries=ctx.tries, crashes=ctx.crashes, fence=ctx.fence, key=ctx.idempotency_key,
            tags=ctx.tags, meta=dict(ctx.meta), at=ctx.enqueued_at, deadline=ctx.deadline,
            stopping=ctx.stopping, phase=ctx.phase, headers=dict(ctx.headers), own=ctx.task,
        )  # fmt: skip
        assert current() is ctx

    job = await look.aenqueue()
    await run_all(app)
    await job.aresult()
    assert seen["id"] == job.id
    assert seen["own"] is look
    assert (seen["task"], seen["queue"], seen["phase"]) == ("t", "mail.acme", "run")
    assert (seen["attempt"], seen["tries"], seen["crashes"], seen["fence"]) == (1, 0, 0, 1)
    assert seen["key"] == f"{app.core.namespace}:{job.id}"
    assert (seen["tags"], seen["meta"], seen["headers"]) == (("a",), {"who": "me"}, {})
    assert seen["at"].tzinfo is UTC
    assert 0 < (seen["deadline"] - seen["at"]).total_seconds() < 120
    assert seen["stopping"] is False


async def test_without_a_timeout_there_is_no_deadline(memory: Treadle) -> None:
    @memory.task(name="t", timeout=None)
    async def look(ctx: Context = CONTEXT) -> bool:
        return ctx.deadline is None

    job = await look.aenqueue()
    await run_all(memory)
    assert await job.aresult() is True


async def test_the_idempotency_key_is_the_same_in_every_attempt(memory: Treadle) -> None:
    keys: list[tuple[str, int]] = []

    @memory.task(name="t", retry=1)
    def pay(ctx: Context = CONTEXT) -> None:
        keys.append((ctx.idempotency_key, ctx.fence))
        if ctx.attempt == 1:
            raise OSError

    job = await pay.options(retry=1).aenqueue()
    async with memory.foreman():
        await job.aresult(timeout=30)
    assert keys[0][0] == keys[1][0]
    assert keys[0][1] < keys[1][1]


async def test_the_context_is_found_deep_inside_and_in_threads(app: Treadle) -> None:
    def deep() -> str:
        return current().job_id

    @app.task(name="t")
    def work() -> str:
        return deep()

    job = await work.aenqueue()
    await run_all(app)
    assert await job.aresult() == job.id
    with pytest.raises(NotOpen, match="no job runs here"):
        current()


async def test_metadata_and_checkpoints_reach_the_record_and_the_next_attempt(
    app: Treadle,
) -> None:
    seen: list[Any] = []

    @app.task(name="t", meta={"a": 1})
    async def work(ctx: Context = CONTEXT) -> None:
        seen.append((ctx.resumed, dict(ctx.meta)))
        if ctx.attempt == 1:
            ctx.note(b=2)
            ctx.checkpoint({"row": 7, "set": {1}})
            ctx.progress(1, 2)
            raise OSError
        ctx.note(c=3)
        assert ctx.resumed == {"row": 7, "set": {1}}

    job = await work.options(retry=1).aenqueue()
    async with app.foreman():
        await job.aresult(timeout=30)
    assert seen == [
        (None, {"a": 1}),
        ({"row": 7, "set": {1}}, {"a": 1, "b": 2}),
    ]
    note = (await job.arecord()).note
    assert note is not None
    assert note.meta == {"b": 2, "c": 3}


async def test_what_cannot_be_said_is_refused_by_name(memory: Treadle) -> None:
    @memory.task(name="t")
    async def work(ctx: Context = CONTEXT) -> None:
        with pytest.raises(NotEncodable, match="metadata 'x' is not JSON"):
            ctx.note(x=object())
        with pytest.raises(NotEncodable, match="checkpoint"):
            ctx.checkpoint(object())
        ctx.progress(1, 4)
        wrong: list[Any] = [float("nan"), "a", None, 10**400, [1]]
        for value in wrong:
            with pytest.raises(InvalidOption, match=r"current=.* is not a finite number"):
                ctx.progress(value)
        with pytest.raises(InvalidOption, match="total='b'"):
            ctx.progress(1, "b")  # type: ignore[arg-type]
        assert ctx.resumed is None

    job = await work.aenqueue()
    await run_all(memory)
    await job.aresult()
    # What was refused has not wiped what was said before.
    assert [one.total async for one in job.aprogress()] == [4]


async def test_follow_ups_have_a_bound_that_names_the_way_out(memory: Treadle) -> None:
    leaf = memory.task(name="leaf")(lambda: None)

    @memory.task(name="t")
    async def work(ctx: Context = CONTEXT) -> None:
        for _ in range(1000):
            ctx.enqueue(leaf)
        with pytest.raises(UsageError, match=r"1,000 follow-ups.* task\.enqueue_many"):
            ctx.enqueue(leaf)

    job = await work.aenqueue()
    await run_all(memory)
    await job.aresult()
    assert len((await memory.aalter(Delete(), task="leaf")).done) == 1000


async def test_numbers_of_other_kinds_are_progress_too(memory: Treadle) -> None:
    @memory.task(name="t")
    async def work(ctx: Context = CONTEXT) -> None:
        ctx.progress(Fraction(1, 2), 1 << 70)  # type: ignore[arg-type]

    job = await work.aenqueue()
    await run_all(memory)
    said = [(one.current, one.total) async for one in job.aprogress()]
    assert said == [(0.5, float(1 << 70))]


async def test_check_raises_what_ends_the_attempt(app: Treadle) -> None:
    started, ended = threading.Event(), threading.Event()
    raised: list[BaseException] = []

    @app.task(name="t")
    def loop(ctx: Context = CONTEXT) -> None:
        started.set()
        try:
            while not ended.wait(0.001):
                ctx.check()
        except JobCancelled as error:
            raised.append(error)
            raise

    job = await loop.aenqueue()
    try:
        async with app.foreman():
            await asyncio.to_thread(started.wait, 10)
            await job.acancel()
            assert (await job.await_for(timeout=30)).state is JobState.CANCELLED
    finally:
        ended.set()
    assert len(raised) == 1


class TestFollowUps:
    async def test_they_are_pushed_with_the_success(self, app: Treadle) -> None:
        made: list[str] = []

        @app.task(name="second")
        async def second(number: int) -> int:
            return number * 10

        @app.task(name="first")
        def first(ctx: Context = CONTEXT) -> None:
            job = ctx.enqueue(second.options(priority=3), 4)
            made.append(job.id)

        job = await first.aenqueue()
        await run_all(app)
        await job.aresult()
        follower = app.job(made[0], second)
        assert await follower.aresult(timeout=30) == 40
        assert (await follower.arecord()).priority == 3

    async def test_a_failed_attempt_leaves_none(self, app: Treadle) -> None:
        made: list[str] = []

        @app.task(name="second")
        async def second() -> None: ...

        @app.task(name="first")
        async def first(ctx: Context = CONTEXT) -> None:
            made.append(ctx.enqueue(second).id)
            raise ValueError

        job = await first.aenqueue()
        await run_all(app)
        with pytest.raises(JobFailed):
            await job.aresult()
        assert [record.id for record in (await app.ajobs()).records] == [job.id]

    async def test_they_are_checked_where_they_are_made(self, memory: Treadle) -> None:
        @memory.task(name="second")
        async def second(number: int) -> None: ...

        @memory.task(name="first")
        async def first(ctx: Context = CONTEXT) -> None:
            with pytest.raises(InvalidCall):
                ctx.enqueue(second)  # type: ignore[call-arg]
            with pytest.raises(NotEncodable):
                ctx.enqueue(second, "x")  # type: ignore[arg-type]
            assert ctx.follow_ups == []

        job = await first.aenqueue()
        await run_all(memory)
        await job.aresult()

    async def test_middleware_sees_them_and_must_not_wait(self, memory: Treadle) -> None:
        slow = False

        @memory.middleware
        async def trace(ctx: Any, call_next: Any) -> Any:
            if ctx.phase == "enqueue":
                ctx.headers["trace"] = "1"
                if slow:
                    await asyncio.Event().wait()
            return await call_next(ctx)

        headers: list[dict[str, str]] = []

        @memory.task(name="second")
        async def second(ctx: Context = CONTEXT) -> None:
            headers.append(dict(ctx.headers))

        @memory.task(name="first")
        async def first(ctx: Context = CONTEXT) -> None:
            nonlocal slow
            ctx.enqueue(second)
            slow = True
            with pytest.raises(UsageError, match="never blocks"):
                ctx.enqueue(second)
            slow = False

        job = await first.aenqueue()
        await run_all(memory)
        await job.aresult()
        assert headers == [{"trace": "1"}]


async def test_the_log_carries_the_job(memory: Treadle, caplog: pytest.LogCaptureFixture) -> None:
    @memory.task(name="t")
    async def work(ctx: Context = CONTEXT) -> None:
        ctx.log.info("resized", width=3)

    caplog.set_level("INFO", logger="treadle")
    job = await work.aenqueue()
    await run_all(memory)
    await job.aresult()
    [line] = [one.getMessage() for one in caplog.records if "resized" in one.getMessage()]
    assert job.id in line
    assert "width=3" in line


def test_the_mark_reads_well() -> None:
    assert repr(CONTEXT) == "CONTEXT"
    assert datetime.fromtimestamp(0, UTC).tzinfo is UTC


async def test_what_is_said_after_the_end_is_refused(app: Treadle) -> None:
    """It would reach nobody: a follow-up would be a handle on a job that never is."""
    kept: list[Context] = []

    @app.task(name="second")
    async def second() -> None: ...

    @app.task(name="first")
    def first(ctx: Context = CONTEXT) -> None:
        kept.append(ctx)

    @app.task(name="failing")
    async def failing() -> None:
        kept.append(current())
        raise ValueError

    jobs = [await first.aenqueue(), await failing.aenqueue()]
    await run_all(app)
    assert {ctx.job_id for ctx in kept} == {job.id for job in jobs}
    for ctx in kept:
        late = rf"comes too late: attempt 1 of job {ctx.job_id} has ended"
        with pytest.raises(UsageError, match=late):
            ctx.enqueue(second)
        with pytest.raises(UsageError, match=late):
            ctx.note(pages=1)
        with pytest.raises(UsageError, match=late):
            ctx.checkpoint(1)
        with pytest.raises(UsageError, match=late):
            ctx.returns(1)
        ctx.check()
        ctx.progress(1)  # who repeats its last word loses nothing


async def test_a_task_that_outlives_its_attempt_is_told(memory: Treadle) -> None:
    go = asyncio.Event()
    left: list[asyncio.Task[Any]] = []

    @memory.task(name="second")
    async def second() -> None: ...

    async def later() -> None:
        await go.wait()
        current().enqueue(second)

    @memory.task(name="first")
    async def first() -> None:
        left.append(asyncio.create_task(later()))

    await first.aenqueue()
    await run_all(memory)
    go.set()
    with pytest.raises(UsageError, match="comes too late"):
        await left[0]
