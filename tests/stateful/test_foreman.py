"""A foreman over workers: their life, their jobs, and the end of both."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest

from tests.stateful.kit import Browser, Log, Session, until
from treadle import (
    Fail,
    Foreman,
    InvalidCall,
    InvalidOption,
    JobFailed,
    JobState,
    QueueFull,
    Treadle,
    UnknownOption,
    WaitTimeout,
    Worker,
    WorkerNotStarted,
)
from treadle.errors import NotOpen
from treadle.testing import ManualClock


async def visit(browser: Browser, url: str) -> str:
    return await browser.visit(url)


async def stay(browser: Browser) -> None:
    await asyncio.Event().wait()


def read(session: Session, number: int) -> int:
    assert session.open
    return number + 1


class TestLife:
    async def test_ten_jobs_through_two_workers(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=2) as foreman:
            assert log.events == ["start 0", "start 1"]
            jobs = [await foreman.enqueue(visit, f"page {n}") for n in range(10)]
            await foreman.join()
            results = [await job.aresult() for job in jobs]
        assert {text.partition(" by ")[2] for text in results} == {"0", "1"}
        assert log.count("stop") == 2

    async def test_leaving_waits_for_all_jobs(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log)) as foreman:
            jobs = [await foreman.enqueue(visit, "page") for _ in range(20)]
        assert [await job.astate() for job in jobs] == [JobState.SUCCEEDED] * 20

    async def test_an_error_in_the_body_waits_for_none(self, log: Log) -> None:
        entered = asyncio.Event()

        async def enter(browser: Browser) -> None:
            entered.set()
            await asyncio.Event().wait()

        jobs = []
        with pytest.raises(ZeroDivisionError):  # noqa: PT012
            async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
                jobs = [await foreman.enqueue(enter) for _ in range(3)]
                await entered.wait()
                raise ZeroDivisionError
        # They were given back, not lost: their foreman can tell of them.
        assert [await job.astate() for job in jobs] == [JobState.QUEUED] * 3
        assert log.events == ["start 0", "stop 0"]

    async def test_a_cancelled_program_stops_its_workers(self, log: Log) -> None:
        async def program() -> None:
            async with Foreman(Browser.options().bind(log), max_workers=2) as foreman:
                await foreman.enqueue(stay)
                await foreman.join()

        running = asyncio.ensure_future(program())
        await until(lambda: log.count("start") == 2)
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        assert running.cancelled()
        assert log.count("stop") == 2

    async def test_leaving_that_is_cancelled_waits_for_none(self, log: Log) -> None:
        entered = asyncio.Event()

        async def enter(browser: Browser) -> None:
            entered.set()
            await asyncio.Event().wait()

        # Whose time for the jobs that run is never over.
        foreman = Foreman(Browser.options().bind(log), max_workers=1, grace="1h")

        async def program() -> None:
            async with foreman:
                await foreman.enqueue(enter)

        running = asyncio.ensure_future(program())
        await entered.wait()
        running.cancel()
        await asyncio.wait([running], timeout=20)
        assert running.cancelled()
        assert log.events == ["start 0", "stop 0"]
        assert (await foreman.counts())[JobState.QUEUED] == 1

    async def test_one_that_cannot_be_started_rolls_the_others_back(self, log: Log) -> None:
        worker = Browser.options().bind(log, failing=lambda start: start == 3)
        with pytest.raises(WorkerNotStarted, match="no display") as caught:
            async with Foreman(worker, max_workers=4):
                raise AssertionError("it was entered")
        assert isinstance(caught.value.__cause__, OSError)
        assert log.events == ["start 0", "start 1", "start 2", "stop 0", "stop 1"]

    async def test_workers_are_started_one_after_another_with_a_delay_between(
        self, log: Log
    ) -> None:
        clock = ManualClock()
        foreman = Foreman(Browser.options().bind(log), max_workers=3, start_delay=2, clock=clock)
        entering = asyncio.ensure_future(foreman.__aenter__())
        await until(lambda: log.count("start") == 1)
        await clock.aadvance(1.9)
        assert log.count("start") == 1
        await clock.aadvance(0.1)
        await until(lambda: log.count("start") == 2)
        assert not entering.done()
        await clock.aadvance(2)
        await until(entering.done)
        assert log.events == ["start 0", "start 1", "start 2"]
        leaving = asyncio.ensure_future(foreman.__aexit__(None, None, None))
        await until(leaving.done)
        leaving.result()

    async def test_workers_that_exist_keep_what_they_are(self, log: Log) -> None:
        mine = [Browser(log) for _ in range(3)]
        for number, browser in enumerate(mine):
            browser.pages = number * 100
        async with Foreman.from_workers(mine) as foreman:
            for _ in range(9):
                await foreman.enqueue(visit, "page")
            await foreman.join()
            assert [browser.index for browser in mine] == [0, 1, 2]
            assert all(browser.open for browser in mine)
        assert sum(browser.pages for browser in mine) == 309
        assert not any(browser.open for browser in mine)

    async def test_workers_that_exist_come_from_whatever_has_them(self, log: Log) -> None:
        async with Foreman.from_workers(Browser(log) for _ in range(2)) as foreman:
            await foreman.enqueue(visit, "page")
        assert log.events == ["start 0", "start 1", "stop 0", "stop 1"]
        classes: Any = [Browser]
        with pytest.raises(InvalidOption, match="each only once, and made already"):
            Foreman.from_workers(classes)

    async def test_a_subclass_is_made_over_workers_that_exist_as_well(self, log: Log) -> None:
        class Mine(Foreman[Browser]):
            def __init__(self, worker: Any, **options: Any) -> None:
                super().__init__(worker, **options)
                self.mine = True

        foreman = Mine.from_workers([Browser(log)])
        assert isinstance(foreman, Mine)
        assert foreman.mine

    async def test_plain_workers_and_functions_have_threads(self, log: Log) -> None:
        async with Foreman(Session.options().bind(log), max_workers=2) as foreman:
            jobs = [await foreman.enqueue(read, n) for n in range(10)]
            assert [await job.aresult(timeout=10) for job in jobs] == list(range(1, 11))

    async def test_restarts_are_counted_by_jobs_of_any_outcome(self, log: Log) -> None:
        async def fail(browser: Browser) -> None:
            raise Fail("no")

        async with Foreman(Browser.options().bind(log), max_workers=1, restart_every=2) as foreman:
            for fn in (fail, visit, fail):
                await (foreman.enqueue(fn) if fn is fail else foreman.enqueue(visit, "page"))
            await foreman.join()
        assert log.count("start") == 2


class TestJobs:
    async def test_functions_of_one_name_are_several(self, log: Log) -> None:
        def made(number: int) -> Any:
            async def same(browser: Browser) -> int:
                return number

            return same

        async with Foreman(Browser.options().bind(log)) as foreman:
            jobs = [await foreman.enqueue(made(number)) for number in range(3)]
            assert [await job.aresult(timeout=10) for job in jobs] == [0, 1, 2]

    async def test_wrong_arguments_are_refused_where_they_enter(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log)) as foreman:
            with pytest.raises(InvalidCall, match=r"unexpected|takes"):
                await foreman.enqueue(visit, "page", "and more")  # type: ignore[call-arg]
            with pytest.raises(InvalidOption, match="first parameter"):
                await foreman.enqueue(lambda: None)  # type: ignore[misc, arg-type]

    async def test_an_enqueue_waits_while_the_backlog_is_full(self, log: Log) -> None:
        gate = asyncio.Event()

        async def wait(browser: Browser) -> None:
            await gate.wait()

        async with Foreman(Browser.options().bind(log), max_workers=1, backlog=2) as foreman:
            await foreman.enqueue(wait)
            await foreman.try_enqueue(wait)
            with pytest.raises(QueueFull):
                await foreman.try_enqueue(wait)
            late = asyncio.ensure_future(foreman.enqueue(wait))
            await until(lambda: foreman.stats["running"] == 1)
            assert not late.done()
            gate.set()
            await (await late).aresult(timeout=10)

    async def test_a_job_may_enqueue_into_a_full_backlog(self, log: Log) -> None:
        """All workers would wait for room that only they can make."""
        seen: list[int] = []
        foreman = Foreman(Browser.options().bind(log), max_workers=2, backlog=2)

        async def crawl(browser: Browser, depth: int) -> None:
            seen.append(depth)
            for _ in range(2 if depth else 0):
                await foreman.enqueue(crawl, depth - 1)

        async with foreman:
            async with asyncio.timeout(20):
                await foreman.enqueue(crawl, 3)
                await foreman.enqueue(crawl, 3)
                await foreman.join()
            assert (await foreman.counts())[JobState.SUCCEEDED] == 30
        assert sorted(seen) == [0] * 16 + [1] * 8 + [2] * 4 + [3] * 2

    async def test_a_task_that_waits_for_room_by_itself_obeys_its_foreman(self, log: Log) -> None:
        worker = Browser.options(max_workers=1).bind(log)
        app = Treadle("memory://")
        task: Any = app.task(worker=worker, bound=5, on_full="wait")(stay)
        async with app, Foreman(worker, backlog=1) as foreman:
            await foreman.try_enqueue(task)
            with pytest.raises(QueueFull):
                await foreman.try_enqueue(task)
            await foreman.stop(drain=False, timeout=0)

    async def test_a_job_that_would_wait_for_itself_is_told(self, log: Log) -> None:
        foreman = Foreman(Browser.options().bind(log), max_workers=1)

        async def join(browser: Browser) -> None:
            await foreman.join()

        async with foreman:
            job = await foreman.enqueue(join)
            with pytest.raises(JobFailed, match=r"join\(\) in a job of this foreman"):
                await job.aresult(timeout=20)

    async def test_a_retry_finds_room_in_a_full_backlog(self, log: Log) -> None:
        tried: list[int] = []

        async def flaky(browser: Browser, number: int) -> int:
            tried.append(number)
            if tried.count(number) == 1:
                raise OSError("reset")
            return number

        async with Foreman(
            Browser.options().bind(log), max_workers=2, backlog=2, retry=_at_once()
        ) as foreman:
            jobs = [await foreman.enqueue(flaky, number) for number in range(8)]
            await foreman.join(timeout=20)
        assert [await job.aresult() for job in jobs] == list(range(8))
        assert sorted(tried) == sorted([*range(8), *range(8)])

    async def test_a_retry_holds_no_worker_while_it_pauses(self, log: Log) -> None:
        async def flaky(browser: Browser) -> None:
            raise OSError("reset")

        async with Foreman(Browser.options().bind(log), max_workers=1, retry=3) as foreman:
            first = await foreman.enqueue(flaky)
            second = await foreman.enqueue(visit, "page")
            assert await second.aresult(timeout=10) == "page by 0"
            assert await first.astate() is JobState.SCHEDULED
            await first.acancel()

    async def test_a_job_that_fails_for_good_can_be_looked_at_also_afterwards(
        self, log: Log
    ) -> None:
        async def broken(browser: Browser, url: str) -> None:
            raise ValueError(f"no {url}")

        async with Foreman(Browser.options().bind(log)) as foreman:
            job = await foreman.enqueue(broken, "page")
            await foreman.enqueue(visit, "page")
        page = await foreman.jobs(state=JobState.FAILED)
        assert [record.spec.id for record in page.records] == [job.id]
        with pytest.raises(JobFailed, match="ValueError: no page"):
            await job.aresult()

    async def test_time_is_up_for_an_attempt_and_the_worker_goes_on(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=1, timeout=0.05) as foreman:
            stuck = await foreman.enqueue(stay)
            after = await foreman.enqueue(visit, "page")
            assert await after.aresult(timeout=10) == "page by 0"
            assert (await stuck.arecord()).cause == "timeout"
        assert log.count("start") == 1

    async def test_the_same_task_first_in_memory_then_over_a_file(
        self, app: Treadle, log: Log
    ) -> None:
        @app.task(name="scrape", worker=Browser.options().bind(log), retry=_at_once())
        async def scrape(browser: Browser, url: str) -> str:
            browser.pages += 1
            if browser.pages == 1:
                raise OSError("reset")
            return await browser.visit(url)

        async with Foreman(Browser.options().bind(log), max_workers=1) as foreman:
            here = await foreman.enqueue(scrape, "page")
            assert await here.aresult(timeout=10) == "page by 0"
        async with app.foreman():
            there = await scrape.aenqueue("page")
            assert await there.aresult(timeout=10) == "page by 0"
        assert [(await job.arecord()).tries for job in (here, there)] == [1, 1]

    async def test_a_task_for_other_workers_is_refused(self, app: Treadle, log: Log) -> None:
        @app.task(name="other", worker=Session.options().bind(log))
        def other(session: Session) -> None: ...

        @app.task(name="none")
        def none(number: int) -> None: ...

        async with Foreman(Browser.options().bind(log)) as foreman:
            with pytest.raises(InvalidOption, match="is given a Session"):
                await foreman.enqueue(other)  # type: ignore[arg-type]
            with pytest.raises(InvalidOption, match="is given no worker"):
                await foreman.enqueue(none)  # type: ignore[arg-type]


class TestJoining:
    async def test_with_a_timeout_it_gives_up_and_the_jobs_go_on(self, log: Log) -> None:
        gate = asyncio.Event()

        async def wait(browser: Browser) -> str:
            await gate.wait()
            return "done"

        async with Foreman(Browser.options().bind(log)) as foreman:
            job = await foreman.enqueue(wait)
            with pytest.raises(WaitTimeout, match="go on"):
                await foreman.join(timeout=0.01)
            gate.set()
            assert await job.aresult(timeout=10) == "done"

    async def test_it_returns_when_the_last_job_was_cancelled(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), retry=5) as foreman:

            async def flaky(browser: Browser) -> None:
                raise OSError("reset")

            job = await foreman.enqueue(flaky)
            joining = asyncio.ensure_future(foreman.join())
            await until(lambda: foreman.stats["job.retrying"] == 1)
            await job.acancel()
            await asyncio.wait_for(joining, 10)

    async def test_when_all_workers_have_died_it_raises_and_nothing_is_lost(self, log: Log) -> None:
        clock = ManualClock()
        worker = Browser.options().bind(log, failing=lambda start: start > 2)

        async def fatal(browser: Browser) -> None:
            raise Fail("dead", restart_worker=True)

        foreman = Foreman(worker, max_workers=2, clock=clock, backlog=3)
        jobs = []
        with pytest.raises(WorkerNotStarted, match="no display"):  # noqa: PT012
            async with foreman:
                for _ in range(2):
                    await (await foreman.enqueue(fatal)).await_for()
                jobs = [await foreman.enqueue(visit, "page") for _ in range(3)]
                waiting = asyncio.ensure_future(foreman.enqueue(visit, "one too many"))
                joining = asyncio.ensure_future(foreman.join())
                for _ in range(200):
                    if joining.done() and waiting.done():
                        break
                    await clock.aadvance(1)
                # Whoever waits for room hears of it as well.
                with pytest.raises(WorkerNotStarted):
                    await waiting
                await joining
        assert [await job.astate() for job in jobs] == [JobState.QUEUED] * 3
        assert foreman.exit_status == 1
        with pytest.raises(WorkerNotStarted):
            await foreman.enqueue(visit, "page")

    async def test_outside_of_its_life_it_takes_no_jobs(self, log: Log) -> None:
        foreman = Foreman(Browser.options().bind(log))
        with pytest.raises(NotOpen, match="async with"):
            await foreman.enqueue(visit, "page")
        async with foreman:
            pass
        with pytest.raises(NotOpen, match="has stopped"):
            await foreman.enqueue(visit, "page")

    async def test_a_stop_ends_it_before_its_jobs_have(self, log: Log) -> None:
        async with Foreman(Browser.options().bind(log), max_workers=1, grace=0) as foreman:
            jobs = [await foreman.enqueue(stay) for _ in range(2)]
            await until(lambda: foreman.stats["running"] == 1)
            await foreman.stop(drain=False)
        assert [await job.astate() for job in jobs] == [JobState.QUEUED] * 2


class TestOptions:
    def test_unknown_ones_are_refused_with_the_nearest(self) -> None:
        with pytest.raises(UnknownOption, match="did you mean 'backlog'"):
            Foreman(Browser, baklog=3)  # type: ignore[call-arg]

    @pytest.mark.parametrize(
        ("word", "ours"),
        [
            ("concurrency", "max_workers"),
            ("max_queued_tasks", "backlog"),
            ("max_tasks_per_child", "restart_every"),
            ("shutdown_timeout", "grace"),
            ("max_retries", "retry"),
        ],
    )
    def test_words_of_others_are_known(self, word: str, ours: str) -> None:
        with pytest.raises(UnknownOption, match=f"did you mean '{ours}'"):
            Foreman(Browser, **{word: 3})  # type: ignore[arg-type]

    def test_the_options_of_its_class_hold_unless_others_are_given(self) -> None:
        class Many(Browser, max_workers=7, slots=2, mode="asyncio"): ...

        assert Foreman(Many).options.concurrency == 14
        assert Foreman(Many, max_workers=2).options.concurrency == 4
        assert Foreman(Many.options(slots=1)).options.concurrency == 7

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"max_workers": 0}, "max_workers"),
            ({"backlog": 0}, "backlog"),
            ({"restart_every": -1}, "restart_every"),
            ({"slots": 0}, "slots"),
            ({"start_delay": -1}, "start_delay"),
        ],
    )
    def test_values_that_cannot_work_are_refused(self, options: dict[str, Any], words: str) -> None:
        with pytest.raises(InvalidOption, match=words):
            Foreman(Browser, **options)

    def test_workers_that_exist_are_a_list_without_repeats(self, log: Log) -> None:
        mine = Browser(log)
        for workers in ([], [mine, mine]):
            with pytest.raises(InvalidOption, match="at least one worker, each only once"):
                Foreman.from_workers(workers)
        with pytest.raises(InvalidOption, match="max_workers"):
            Foreman.from_workers([mine], max_workers=2)

    async def test_any_class_will_do(self) -> None:
        class Plain:
            pages = 0

        def count(plain: Plain) -> int:
            plain.pages += 1
            return plain.pages

        async with Foreman(Plain, max_workers=1) as foreman:
            jobs = [await foreman.enqueue(count) for _ in range(3)]
            assert [await job.aresult(timeout=10) for job in jobs] == [1, 2, 3]

    def test_a_class_says_how_many_it_wants(self) -> None:
        assert len(Foreman(Browser)._builder.pool_options.given) == 1
        assert Foreman(Worker)._builder.pool_options.max_workers == 4
        assert Foreman(Worker.options(max_workers=2))._builder.pool_options.max_workers == 2


def _at_once() -> Any:
    from treadle import Retry, backoff

    return Retry(3, backoff=backoff.fixed(0))
