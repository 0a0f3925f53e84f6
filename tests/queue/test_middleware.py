"""Middleware around enqueue and run, and observers of events."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import CONTEXT, Context, Event, InvalidOption, JobFailed, Treadle
from treadle.bus import Bus
from treadle.clock import SystemClock
from treadle.middleware import compose
from treadle.testing import eventually


class TestMiddleware:
    async def test_it_wraps_both_ends_in_the_order_added(self, app: Treadle) -> None:
        log: list[str] = []

        @app.middleware
        async def outer(ctx: Any, call_next: Any) -> Any:
            log.append(f"outer {ctx.phase}")
            if ctx.phase == "enqueue":
                ctx.headers["tenant"] = "acme"
            result = await call_next(ctx)
            log.append(f"outer {ctx.phase} done")
            return result

        @app.middleware
        async def inner(ctx: Any, call_next: Any) -> Any:
            log.append(f"inner {ctx.phase} {ctx.headers['tenant']} {ctx.task_name} {ctx.queue}")
            return await call_next(ctx)

        @app.task(name="t")
        def work(number: int) -> int:
            log.append("work")
            return number

        job = await work.aenqueue(3)
        await run_all(app)
        assert await job.aresult() == 3
        assert log == [
            "outer enqueue", "inner enqueue acme t default", "outer enqueue done",
            "outer run", "inner run acme t default", "work", "outer run done",
        ]  # fmt: skip

    async def test_at_the_enqueue_it_knows_the_call_and_the_id(self, memory: Treadle) -> None:
        seen: list[Any] = []

        async def look(ctx: Any, call_next: Any) -> Any:
            job = await call_next(ctx)
            if ctx.phase == "enqueue":
                ctx.state["x"] = 1
                seen.extend([ctx.args, ctx.kwargs, ctx.tags, ctx.task.name, ctx.state])
                assert job.id == ctx.job_id
            return job

        memory.middleware(look)
        task = memory.task(name="t", tags=["a"])(lambda a, b=2: None)
        await task.aenqueue(1, b=3)
        assert seen == [(1,), {"b": 3}, ("a",), "t", {"x": 1}]

    async def test_it_may_change_the_result_and_the_error(self, app: Treadle) -> None:
        @app.middleware
        async def change(ctx: Any, call_next: Any) -> Any:
            if ctx.phase == "enqueue":
                return await call_next(ctx)
            try:
                return await call_next(ctx) + 1
            except ValueError as error:
                raise OSError("wrapped") from error

        @app.task(name="t")
        async def work(number: int) -> int:
            if number < 0:
                raise ValueError
            return number

        good, bad = await work.aenqueue_many([(1,), (-1,)])
        await run_all(app)
        assert await good.aresult() == 2
        with pytest.raises(JobFailed, match="wrapped"):
            await bad.aresult()

    async def test_it_may_refuse_an_enqueue(self, memory: Treadle) -> None:
        @memory.middleware
        async def guard(ctx: Any, call_next: Any) -> Any:
            raise PermissionError("not you")

        with pytest.raises(PermissionError):
            await memory.task(name="t")(lambda: None).aenqueue()
        assert (await memory.ajobs()).records == ()

    async def test_many_enqueues_pass_through_it_and_still_go_together(
        self, memory: Treadle
    ) -> None:
        count = 0

        @memory.middleware
        async def counting(ctx: Any, call_next: Any) -> Any:
            nonlocal count
            count += 1
            return await call_next(ctx)

        jobs = await memory.task(name="t")(lambda n: None).aenqueue_many([(n,) for n in range(9)])
        assert (count, len({job.id for job in jobs})) == (9, 9)

    def test_it_has_to_be_asynchronous(self) -> None:
        app = Treadle("memory://")
        with pytest.raises(InvalidOption, match="async def mw"):
            app.middleware(lambda ctx, call_next: call_next(ctx))

        class Counting:
            async def __call__(self, ctx: Any, call_next: Any) -> Any:
                return await call_next(ctx)

        app.middleware(Counting())

    def test_without_any_there_is_nothing_in_between(self) -> None:
        async def endpoint(ctx: Any) -> Any: ...

        assert compose((), endpoint) is endpoint


class TestEvents:
    async def test_observers_hear_of_what_happens_here(self, app: Treadle) -> None:
        heard: list[str] = []
        later: list[str] = []

        @app.on("job.*", task="shop.*")
        def hear(event: Event) -> None:
            heard.append(event.name)

        @app.on("job.succeeded", queue="mail")
        async def hear_later(event: Event) -> None:
            later.append(f"{event.task} {event.queue}")

        @app.task(name="shop.good", queue="mail")
        async def good() -> None: ...

        @app.task(name="shop.bad")
        async def bad() -> None:
            raise ValueError

        @app.task(name="other")
        async def other() -> None: ...

        for task in (good, bad, other):
            await task.aenqueue()
            await run_all(app)
        await app.core.bus.drain()
        assert heard == [
            "job.enqueued", "job.started", "job.succeeded",
            "job.enqueued", "job.started", "job.failed",
        ]  # fmt: skip
        assert later == ["shop.good mail"]

    async def test_a_duplicate_is_not_an_enqueue(self, memory: Treadle) -> None:
        heard: list[Event] = []
        memory.on("job.enqueued", heard.append)
        task = memory.task(name="t", unique=True)(lambda: None)
        job = await task.aenqueue()
        await task.aenqueue()
        assert [event.job_id for event in heard] == [job.id]

    async def test_a_job_that_is_cancelled_before_it_runs_is_told_too(self, app: Treadle) -> None:
        heard: list[Event] = []
        app.on("job.cancelled", heard.append, task="t")
        task = app.task(name="t", queue="mail")(lambda: None)
        job = await task.aenqueue()
        await job.acancel()
        await job.acancel()
        assert [(event.job_id, event.queue) for event in heard] == [(job.id, "mail")]

    async def test_who_asks_a_running_job_to_end_is_told(self, app: Treadle) -> None:
        heard: list[Event] = []
        app.on("job.cancel*", heard.append)
        started = asyncio.Event()

        @app.task(name="t", queue="mail")
        async def endless() -> None:
            started.set()
            await asyncio.Event().wait()

        async with app.foreman():
            job = await endless.aenqueue()
            await started.wait()
            await job.acancel()
            await job.await_for(timeout=10)
            await eventually(lambda: len(heard) == 2)
        # The foreman may have learned of it, and ended the job, before this is told.
        assert {event.name for event in heard} == {"job.cancelling", "job.cancelled"}
        assert {(event.job_id, event.task, event.queue) for event in heard} == {
            (job.id, "t", "mail")
        }

    @pytest.mark.parametrize("transaction", [False, True])
    async def test_follow_ups_are_told_when_they_are_there(
        self, app: Treadle, transaction: bool
    ) -> None:
        if transaction and not app.core.url.startswith(("sqlite", "postgres")):
            pytest.skip("no transactions")
        heard: list[str] = []
        leaf = app.task(name="leaf")(lambda n: n)

        @app.on("job.enqueued")
        def hear(event: Event) -> None:
            heard.append(f"{event.task} {event.job_id}")

        followed: list[str] = []

        @app.task(name="parent")
        async def parent(fails: bool, ctx: Context = CONTEXT) -> None:
            job = ctx.enqueue(leaf, 1)
            ctx.enqueue(leaf.options(unique="one"), 2)
            if fails:
                raise ValueError("nothing follows")
            followed.append(job.id)
            if transaction:
                async with ctx.transaction():
                    pass

        for fails in (True, False):
            await parent.aenqueue(fails)
            await run_all(app)
        assert [one for one in heard if "leaf" in one] == [f"leaf {followed[0]}"]

    def test_a_pattern_without_an_event_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match=r"no event matches 'job.faild'.*job\.failed"):
            Bus().on("job.faild", print)

    async def test_a_failing_observer_is_logged_once_and_harms_nobody(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        bus, heard = Bus(), list[str]()

        @bus.on("job.*")
        def broken(event: Event) -> None:
            raise ValueError("oops")

        @bus.on("job.*")
        async def broken_later(event: Event) -> None:
            raise ValueError("oops later")

        bus.on("job.*", lambda event: heard.append(event.name))
        for _ in range(3):
            bus.emit(Event(name="job.failed", at=0.0))
        await bus.drain()
        assert heard == ["job.failed"] * 3
        logged = [one for one in caplog.records if "observer.failed" in one.getMessage()]
        assert len(logged) == 2

    async def test_an_observer_can_leave(self) -> None:
        bus, heard = Bus(), list[Event]()
        bus.on("job.*", heard.append)
        assert bus.wanted("job.failed")
        bus.off(heard.append)
        assert not bus.wanted("job.failed")
        bus.emit(Event(name="job.failed", at=0.0))
        assert heard == []

    def test_asynchronous_observers_hear_what_happens_in_threads(self) -> None:
        app = Treadle("memory://")
        heard = threading.Event()

        @app.on("job.enqueued")
        async def hear(event: Event) -> None:
            await SystemClock().sleep(0)
            heard.set()

        app.core.bus.emit(Event(name="job.enqueued", at=0.0))
        assert heard.wait(10)
        app.close()

    async def test_objects_can_observe(self) -> None:
        class Hearing:
            def __init__(self) -> None:
                self.heard = asyncio.Event()

            async def __call__(self, event: Event) -> None:
                self.heard.set()

        bus, hearing = Bus(), Hearing()
        bus.on("job.failed", hearing)
        bus.emit(Event(name="job.failed", at=0.0))
        await bus.drain()
        assert hearing.heard.is_set()
