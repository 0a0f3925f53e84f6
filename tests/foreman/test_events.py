"""What a foreman tells, and what stands around a run."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.kit import listen, names
from treadle import CONTEXT, Context, Depends, JobFailed, Retry, Skip, Treadle, backoff
from treadle.events import NAMES, Event
from treadle.testing.clock import eventually

AT_ONCE = backoff.fixed(0, jitter=False)


async def test_events_come_in_order_with_what_there_is_to_say(app: Treadle) -> None:
    heard = listen(app, "*")

    @app.task(name="work", queue="mail", retry=Retry(1, backoff=AT_ONCE))
    async def work(how: str, ctx: Context = CONTEXT) -> None:
        if how == "skip":
            raise Skip("nothing to do")
        if how == "fail" or ctx.attempt == 1:
            raise ValueError(f"attempt {ctx.attempt}")

    async with app.foreman(name="me") as foreman:
        # Who waits for a result may have it before the foreman is told that it was stored.
        job = await work.aenqueue("again")
        await job.aresult(timeout=10)
        await eventually(lambda: names(heard)[-1] == "job.succeeded")
        with pytest.raises(JobFailed):
            await (await work.aenqueue("fail")).aresult(timeout=10)
        await eventually(lambda: names(heard)[-1] == "job.failed")
        await (await work.aenqueue("skip")).aresult(timeout=10)
        assert foreman.stats["job.retrying"] == 2
    # The one who enqueues and the foreman do not wait for each other.
    assert names(heard).count("job.enqueued") == 3
    heard = [event for event in heard if event.name != "job.enqueued"]
    assert names(heard) == [
        "foreman.started",
        "job.started", "job.retrying", "job.started", "job.succeeded",
        "job.started", "job.retrying", "job.started", "job.failed",
        "job.started", "job.succeeded",
        "foreman.stopping", "foreman.stopped",
    ]  # fmt: skip
    started, retrying, _, succeeded = heard[1:5]
    assert (started.job_id, started.task, started.queue, started.attempt) == (
        job.id, "work", "mail", 1,
    )  # fmt: skip
    assert retrying.data["error"] == "ValueError: attempt 1"
    assert (retrying.data["cause"], retrying.data["delay"]) == ("error", 0.0)
    assert succeeded.attempt == 2
    assert succeeded.data["seconds"] >= 0
    failed, skipped = heard[8], heard[10]
    assert (failed.data["cause"], failed.data["error"]) == ("error", "ValueError: attempt 2")
    assert skipped.data["skipped"] == "nothing to do"
    assert heard[0].data["foreman"] == "me"
    assert heard[-2].data["reason"] == "asked"


async def test_what_a_store_says_of_itself_is_told(app: Treadle) -> None:
    heard = listen(app, "backend.*")
    async with app.foreman():
        backend = await app.core.ready()
        event = Event(name="backend.lost_data", at=1.0, data={"reason": "emptied"})
        # Until it is heard: a subscription may take a moment to stand.
        for _ in range(100):
            await backend.publish([event])
            try:
                await eventually(lambda: bool(heard), patience=0.1)
                break
            except AssertionError:
                continue
    assert heard[0].data["reason"] == "emptied"


async def test_failures_and_retries_are_logged_without_observers(
    memory_app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    @memory_app.task(name="work", retry=Retry(1, backoff=AT_ONCE))
    async def work() -> None:
        raise ValueError("no luck")

    with caplog.at_level(logging.INFO, "treadle"):
        async with memory_app.foreman():
            with pytest.raises(JobFailed):
                await (await work.aenqueue()).aresult(timeout=10)
    lines = [record.getMessage().split()[0] for record in caplog.records]
    assert lines == [
        "foreman.started", "job.retrying", "job.failed", "foreman.stopping", "foreman.stopped",
    ]  # fmt: skip


async def test_middleware_surrounds_the_run(app: Treadle) -> None:
    seen: list[str] = []

    @app.middleware
    async def outer(ctx: Any, call_next: Any) -> Any:
        if ctx.phase != "run":
            return await call_next(ctx)
        seen.append(f"before {ctx.attempt}")
        try:
            return await call_next(ctx) * 10
        finally:
            seen.append(f"after {ctx.attempt}")

    @app.task(name="plain")
    def plain(n: int) -> int:
        seen.append("run")
        return n

    async with app.foreman():
        assert await (await plain.aenqueue(4)).aresult(timeout=10) == 40
    assert seen == ["before 1", "run", "after 1"]


async def test_a_dependency_of_the_foreman_is_made_once_per_foreman(app: Treadle) -> None:
    log: list[str] = []

    async def connection() -> AsyncIterator[int]:
        log.append("open")
        yield len(log)
        log.append("close")

    @app.task(name="use")
    async def use(db: int = Depends(connection, scope="foreman")) -> int:
        return db

    for _ in range(2):
        async with app.foreman():
            jobs = await use.aenqueue_many([()] * 5)
            assert len({await job.aresult(timeout=10) for job in jobs}) == 1
            assert log.count("close") == log.count("open") - 1
    assert log == ["open", "close"] * 2


def test_every_event_is_documented() -> None:
    page = Path(__file__).parents[2] / "docs" / "how-to" / "middleware.md"
    rows = re.findall(r"^\| `([a-z._]+)` \|", page.read_text("utf-8"), re.MULTILINE)
    assert tuple(name for name in rows if "." in name) == NAMES


async def test_what_follows_an_answer_that_is_late_is_told_after_it(
    memory_app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The store has taken the verdict and grants the job again before it has answered."""
    heard = listen(memory_app, "job.*")
    again = asyncio.Event()
    backend: Any = memory_app.core.backend()
    settle = backend.settle

    async def late(ends: Any) -> Any:
        answers = await settle(ends)
        await again.wait()
        return answers

    monkeypatch.setattr(backend, "settle", late)

    @memory_app.task(name="flaky", retry=Retry(1, backoff=AT_ONCE))
    async def flaky(ctx: Context = CONTEXT) -> None:
        if ctx.attempt == 1:
            raise OSError("try again")
        again.set()

    async with memory_app.foreman():
        await (await flaky.aenqueue()).aresult(timeout=10)
        await eventually(lambda: names(heard)[-1] == "job.succeeded")
    assert names(heard) == [
        "job.enqueued",
        "job.started",
        "job.retrying",
        "job.started",
        "job.succeeded",
    ]
    assert [event.attempt for event in heard[1:]] == [1, 1, 2, 2]
