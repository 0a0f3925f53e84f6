"""Tasks whose jobs are given a worker, over a queue."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.stateful.kit import Browser, Log, Session, until
from tests.stateful.models import Sums, Totals, add
from treadle import (
    CONTEXT,
    Context,
    Depends,
    Fail,
    InvalidCall,
    InvalidOption,
    JobFailed,
    JobState,
    RetryLater,
    Skip,
    Treadle,
    Worker,
    current,
)


def _visit(worker: Worker) -> None: ...


async def test_a_job_is_given_a_worker_of_the_kind_that_its_task_names(
    app: Treadle, log: Log
) -> None:
    @app.task(name="scrape", worker=Browser.options(max_workers=2).bind(log))
    async def scrape(browser: Browser, url: str) -> str:
        return await browser.visit(url)

    async with app.foreman():
        jobs = [await scrape.aenqueue(f"page {n}") for n in range(6)]
        results = [await job.aresult(timeout=10) for job in jobs]
    assert [text.partition(" by ")[0] for text in results] == [f"page {n}" for n in range(6)]
    assert log.count("start") == log.count("stop") <= 2


async def test_plain_functions_visit_workers_in_their_threads(app: Treadle, log: Log) -> None:
    @app.task(name="fetch", worker=Session.options(max_workers=2).bind(log))
    def fetch(session: Session, ctx: Context = CONTEXT) -> tuple[bool, str, bool]:
        return session.open, threading.current_thread().name, current() is ctx

    async with app.foreman():
        job = await fetch.aenqueue()
        opened, thread, same_context = await job.aresult(timeout=10)
    assert opened
    assert thread.startswith("treadle-Session")
    assert same_context
    assert log.events == ["start 0", "stop 0"]


@pytest.mark.parametrize("mode", ["thread", "asyncio", "process"])
@pytest.mark.parametrize("cls", [Sums, Totals])
async def test_records_and_dataclasses_are_workers_in_every_mode(
    app: Treadle, mode: Any, cls: Any
) -> None:
    worker = cls.options(mode=mode, max_workers=1).bind(10)
    task = app.task(name="add", worker=worker)(add)
    async with app.foreman():
        jobs = [await task.aenqueue(1) for _ in range(3)]
        results = [await job.aresult(timeout=30) for job in jobs]
    assert sorted(results) == [(11, 0), (12, 0), (13, 0)]


async def test_no_worker_is_started_before_a_job_needs_it(app: Treadle, log: Log) -> None:
    @app.task(name="scrape", worker=Browser.options(max_workers=8).bind(log))
    async def scrape(browser: Browser) -> None: ...

    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert log.events == []


async def test_a_worker_has_one_job_at_a_time(app: Treadle, log: Log) -> None:
    busy: set[int] = set()
    most = 0

    @app.task(name="scrape", worker=Browser.options(max_workers=3).bind(log))
    async def scrape(browser: Browser) -> None:
        nonlocal most
        assert browser.index not in busy
        busy.add(browser.index)
        most = max(most, len(busy))
        await asyncio.sleep(0)  # noqa: TID251
        busy.discard(browser.index)

    jobs = await scrape.aenqueue_many([()] * 30)
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 30
    assert most == 3


async def test_a_worker_with_slots_has_as_many_jobs_at_a_time(app: Treadle, log: Log) -> None:
    gate = asyncio.Event()
    inside = 0

    @app.task(name="scrape", worker=Browser.options(slots=4).bind(log))
    async def scrape(browser: Browser) -> None:
        nonlocal inside
        inside += 1
        if inside == 4:
            gate.set()
        await gate.wait()

    jobs = await scrape.aenqueue_many([()] * 4)
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 4
    assert log.count("start") == 1


async def test_what_has_no_free_worker_stays_in_the_store(app: Treadle, log: Log) -> None:
    gate = asyncio.Event()

    @app.task(name="scrape", worker=Browser.options(max_workers=2).bind(log))
    async def scrape(browser: Browser) -> None:
        await gate.wait()

    @app.task(name="quick")
    async def quick() -> str:
        return "done"

    await scrape.aenqueue_many([()] * 10)
    async with app.foreman(burst=True) as foreman:
        # Jobs of other tasks are not in the way of these, nor these of them.
        assert await (await quick.aenqueue()).aresult(timeout=10) == "done"
        counts = await app.queue("default").acounts()
        assert (counts[JobState.RUNNING], counts[JobState.QUEUED]) == (2, 8)
        gate.set()
        await foreman.join()
    assert (await app.queue("default").acounts())[JobState.SUCCEEDED] == 11


async def test_jobs_that_share_a_queue_with_others_are_claimed_one_per_free_worker(
    app: Treadle, log: Log
) -> None:
    gate = asyncio.Event()
    worker = Browser.options(max_workers=2).bind(log)

    @app.task(name="scrape", worker=worker, queue="mixed")
    async def scrape(browser: Browser) -> None:
        await gate.wait()

    @app.task(name="below", worker=worker, queue="mixed.below")
    async def below(browser: Browser) -> None:
        await gate.wait()

    @app.task(name="quick", queue="mixed")
    async def quick() -> None: ...

    await scrape.aenqueue_many([()] * 5)
    jobs = [await quick.aenqueue(), await below.aenqueue()]
    async with app.foreman(burst=True, queues=["mixed"]) as foreman:
        await until(lambda: foreman.stats["running"] == 2)
        assert (await app.queue("mixed").acounts())[JobState.RUNNING] == 2
        gate.set()
        await foreman.join()
    assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 2


async def test_a_job_sent_through_another_queue_waits_for_its_worker(
    app: Treadle, log: Log
) -> None:
    began: list[str] = []

    @app.task(name="scrape", worker=Browser.options().bind(log), timeout=30)
    async def scrape(browser: Browser, name: str) -> None:
        began.append(name)
        await asyncio.sleep(0)  # noqa: TID251

    elsewhere = scrape.options(queue="elsewhere")
    jobs = await elsewhere.aenqueue_many([(f"{n}",) for n in range(5)])
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 5
    assert sorted(began) == ["0", "1", "2", "3", "4"]
    assert log.count("start") == 1


async def test_tasks_of_one_kind_of_worker_share_its_workers(app: Treadle, log: Log) -> None:
    worker = Browser.options().bind(log)

    @app.task(name="one", worker=worker)
    async def one(browser: Browser) -> int:
        browser.pages += 1
        return browser.pages

    @app.task(name="two", worker=Browser.options().bind(log))
    def two(browser: Browser) -> int:
        browser.pages += 1
        return browser.pages

    async with app.foreman():
        jobs = [await task.aenqueue() for task in (one, two, one, two)]
        assert sorted([await job.aresult(timeout=10) for job in jobs]) == [1, 2, 3, 4]
    assert log.count("start") == 1


async def test_dependencies_and_context_come_along(app: Treadle, log: Log) -> None:
    @contextlib.contextmanager
    def unused() -> Iterator[None]:
        yield

    def database() -> Iterator[str]:
        yield "database"
        log.note("closed")

    @app.task(name="scrape", worker=Browser.options().bind(log))
    async def scrape(
        browser: Browser, url: str, db: str = Depends(database), ctx: Context = CONTEXT
    ) -> str:
        return f"{await browser.visit(url)} {db} {ctx.attempt}"

    async with app.foreman():
        job = await scrape.aenqueue("page")
        assert await job.aresult(timeout=10) == "page by 0 database 1"
    assert log.events == ["start 0", "closed", "stop 0"]


async def test_an_eager_app_starts_workers_for_the_enqueue_that_needs_them(log: Log) -> None:
    async with Treadle(eager=True) as app:

        @app.task(name="scrape", worker=Browser.options().bind(log))
        async def scrape(browser: Browser, url: str) -> str:
            return await browser.visit(url)

        @app.task(name="fetch", worker=Session.options().bind(log))
        def fetch(session: Session) -> bool:
            return session.open

        assert await (await scrape.aenqueue("page")).aresult() == "page by 0"
        assert await (await fetch.aenqueue()).aresult()
    assert log.events == ["start 0", "stop 0"] * 2


class TestRestarts:
    async def test_after_so_many_jobs_of_any_outcome(self, app: Treadle, log: Log) -> None:
        @app.task(name="scrape", worker=Browser.options(restart_every=3).bind(log))
        async def scrape(browser: Browser, n: int) -> int:
            browser.pages += 1
            if n % 2:
                raise Fail("odd")
            return browser.pages

        jobs = [await scrape.aenqueue(n) for n in range(8)]
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        results = [await job.aresult() for job in jobs[::2]]
        assert results == [1, 3, 2, 1]
        assert log.count("start") == log.count("stop") == 3

    @pytest.mark.parametrize("error", [RetryLater, Fail, Skip])
    async def test_when_the_job_asks_for_it(
        self, app: Treadle, log: Log, error: type[RetryLater]
    ) -> None:
        @app.task(name="scrape", worker=Browser.options().bind(log))
        async def scrape(browser: Browser, n: int) -> int:
            browser.pages += 1
            if n == 0:
                raise error("session expired", restart_worker=True)
            return browser.pages

        async with app.foreman(burst=True) as foreman:
            jobs = [await scrape.aenqueue(n) for n in range(2)]
            assert await jobs[1].aresult(timeout=10) == 1
            await foreman.join()
        assert log.count("start") == log.count("stop") == 2

    async def test_when_it_is_not_well_after_a_failure(self, app: Treadle, log: Log) -> None:
        class Sick(Browser):
            async def healthy(self) -> bool:
                log.note("probe")
                return self.pages < 2

        @app.task(name="scrape", worker=Sick.options().bind(log))
        async def scrape(browser: Browser, fails: bool) -> int:
            browser.pages += 1
            if fails:
                raise OSError("reset")
            return browser.pages

        async with app.foreman(burst=True) as foreman:
            # Well after the first failure, not after the second; not asked after successes.
            jobs = [await scrape.aenqueue(fails) for fails in (True, True, False, False)]
            await foreman.join()
        assert [await job.aresult() for job in jobs[2:]] == [1, 2]
        assert log.count("probe") == 2
        assert log.count("start") == 2

    async def test_an_idle_one_is_asked_for_its_health(self, memory_app: Treadle, log: Log) -> None:
        class Sick(Browser):
            async def healthy(self) -> bool:
                log.note("probe")
                return log.count("probe") > 1

        @memory_app.task(name="scrape", worker=Sick.options(probe_every=0.01).bind(log))
        async def scrape(browser: Browser) -> int:
            browser.pages += 1
            return browser.pages

        async with memory_app.foreman():
            assert await (await scrape.aenqueue()).aresult(timeout=10) == 1
            await until(lambda: log.count("probe") >= 3)
            assert await (await scrape.aenqueue()).aresult(timeout=10) == 1
        assert log.count("start") == 2

    async def test_one_that_fails_is_tried_again_and_no_job_pays_for_it(
        self, app: Treadle, log: Log
    ) -> None:
        worker = Browser.options().bind(log, failing=lambda start: start in (1, 3))

        @app.task(name="scrape", worker=worker)
        async def scrape(browser: Browser, n: int) -> str:
            if n == 0:
                raise Fail("broken", restart_worker=True)
            return await browser.visit("page")

        async with app.foreman(burst=True) as foreman:
            jobs = [await scrape.aenqueue(n) for n in range(3)]
            assert await jobs[1].aresult(timeout=10) == "page by 0"
            assert await jobs[2].aresult(timeout=10) == "page by 0"
            await foreman.join()
        records = [await job.arecord() for job in jobs[1:]]
        assert [(record.tries, record.crashes) for record in records] == [(0, 0)] * 2
        # Failed, started, failed as a restart, started.
        assert log.count("start") == 4


class TestEndings:
    async def test_time_runs_from_when_a_job_has_its_worker(
        self, memory_app: Treadle, log: Log
    ) -> None:
        @memory_app.task(name="scrape", worker=Browser.options().bind(log), timeout=0.05, queue="q")
        async def scrape(browser: Browser, long: bool) -> str:
            if long:
                await asyncio.Event().wait()
            return await browser.visit("page")

        elsewhere = scrape.options(queue="elsewhere")
        jobs = [await elsewhere.aenqueue(long) for long in (True, True, False)]
        async with memory_app.foreman(burst=True) as foreman:
            await foreman.join()
        assert [(await job.arecord()).cause for job in jobs[:2]] == ["timeout", "timeout"]
        assert await jobs[2].aresult() == "page by 0"
        assert log.count("start") == 1

    async def test_plain_code_that_does_not_end_costs_its_worker_and_no_other(
        self, memory_app: Treadle, log: Log
    ) -> None:
        gate = threading.Event()
        worker = Session.options(patience=0.01).bind(log)

        @memory_app.task(name="fetch", worker=worker, timeout=0.05)
        def fetch(session: Session, stuck: bool) -> bool:
            if stuck:
                gate.wait()
            return session.open

        try:
            async with memory_app.foreman(grace=0) as foreman:
                jobs = [await fetch.aenqueue(stuck) for stuck in (True, False)]
                with pytest.raises(JobFailed, match="longer than"):
                    await jobs[0].aresult(timeout=10)
                assert await jobs[1].aresult(timeout=10)
                assert foreman.stats["abandoned"] >= 1
        finally:
            gate.set()
        assert log.count("start") == 2

    async def test_a_coroutine_that_swallows_its_end_costs_its_worker_and_no_other(
        self, memory_app: Treadle, log: Log
    ) -> None:
        gate = asyncio.Event()
        worker = Browser.options(patience=0.01).bind(log)

        @memory_app.task(name="scrape", worker=worker, timeout=0.05)
        async def scrape(browser: Browser, stuck: bool) -> str:
            while stuck and not gate.is_set():
                with contextlib.suppress(asyncio.CancelledError):
                    await gate.wait()
            return await browser.visit("page")

        async with memory_app.foreman(grace=0) as foreman:
            jobs = [await scrape.aenqueue(stuck) for stuck in (True, False)]
            assert await jobs[1].aresult(timeout=10) == "page by 0"
            assert foreman.stats["abandoned"] >= 1
            gate.set()
        assert log.count("start") == 2

    async def test_a_cancelled_job_gives_its_worker_back(self, app: Treadle, log: Log) -> None:
        entered = asyncio.Event()

        @app.task(name="scrape", worker=Browser.options().bind(log))
        async def scrape(browser: Browser, stays: bool) -> str:
            if stays:
                entered.set()
                await asyncio.Event().wait()
            return await browser.visit("page")

        async with app.foreman():
            jobs = [await scrape.aenqueue(stays) for stays in (True, False)]
            await entered.wait()
            assert await jobs[0].acancel()
            assert await jobs[1].aresult(timeout=10) == "page by 0"
            assert await jobs[0].astate() is JobState.CANCELLED
        assert log.events == ["start 0", "stop 0"]

    async def test_a_foreman_that_stops_stops_its_workers_and_gives_the_rest_back(
        self, app: Treadle, log: Log
    ) -> None:
        entered = asyncio.Event()

        @app.task(name="scrape", worker=Browser.options().bind(log))
        async def scrape(browser: Browser) -> None:
            entered.set()
            await asyncio.Event().wait()

        async with app.foreman(grace=0):
            jobs = [await scrape.options(queue="q").aenqueue() for _ in range(3)]
            await entered.wait()
        for job in jobs:
            record = await job.arecord()
            assert (record.state, record.tries) == (JobState.QUEUED, 0)
        assert log.events == ["start 0", "stop 0"]


class TestDeclaring:
    def test_a_function_without_room_for_the_worker_is_refused(self) -> None:
        app = Treadle("memory://")
        with pytest.raises(InvalidOption, match="given a worker as its first argument"):
            app.task(name="t", worker=Worker)(lambda: None)  # type: ignore[arg-type, misc]
        with pytest.raises(InvalidOption, match="first parameter without a default"):
            app.task(name="t", worker=Worker)(lambda worker=1: None)  # type: ignore[misc]

    def test_no_caller_gives_the_worker(self) -> None:
        with Treadle("memory://") as app:

            @app.task(name="scrape", worker=Worker)
            async def scrape(worker: Worker, url: str) -> None: ...

            with pytest.raises(InvalidCall, match=r"'worker'.*is injected"):
                scrape.enqueue(worker=1, url="page")  # type: ignore[call-arg]
            with pytest.raises(InvalidCall, match="it takes"):
                scrape.enqueue()  # type: ignore[call-arg]

    def test_what_is_no_class_of_workers_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match=r"Browser.options\(max_workers=4\)"):
            Treadle("memory://").task(worker=3)(_visit)  # type: ignore[call-overload]

    def test_one_that_cannot_be_made_is_refused_naming_what_it_lacks(self) -> None:
        class Named(Worker):
            def __init__(self, name: str, /, size: int, *, colour: str, depth: int = 1) -> None: ...

        app = Treadle("memory://")
        for worker, lacks in (
            (Named, "without name, size, colour"),
            (Named.options(max_workers=2).bind("a"), "without size, colour"),
            (Named.options().bind("a", colour="red"), "without size"),
            (Named.options().bind("a", hue=3), "cannot be made from what it was bound to.*hue"),
        ):
            with pytest.raises(InvalidOption, match=lacks) as refused:
                app.task(name="t", worker=worker)(_visit)  # type: ignore[arg-type]
            assert refused.value.option == "worker"
        app.task(name="t", worker=Named.options().bind("a", 1, colour="red"))(_visit)

    def test_the_mode_is_that_of_the_worker(self) -> None:
        with pytest.raises(InvalidOption, match=r"worker=Browser.options\(mode=…\)"):

            @Treadle("memory://").task(name="t", worker=Worker, mode="thread")
            def task(worker: Worker) -> None: ...

    @pytest.mark.parametrize("mode", ["process", "ray"])
    def test_nothing_is_injected_into_another_process(self, mode: Any) -> None:
        with pytest.raises(InvalidOption, match="'ctx' is injected where the foreman is"):

            @Treadle("memory://").task(name="t", worker=Worker.options(mode=mode))
            def task(worker: Worker, ctx: Context = CONTEXT) -> None: ...

    async def test_a_plain_call_is_given_the_worker_by_the_caller(self) -> None:
        app = Treadle("memory://")

        @app.task(name="t", worker=Worker)
        def task(worker: Worker, n: int) -> int:
            return n + worker.index

        @app.task(name="a", worker=Worker)
        async def atask(worker: Worker, n: int) -> int:
            return n + worker.index

        assert task(Worker(), 1) == 1
        assert await atask(Worker(), n=2) == 2
