"""What pages about foremen over workers show, as somebody would type it."""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from tests.stateful.kit import Log
from treadle import (
    Breaker,
    Fail,
    Foreman,
    Job,
    JobState,
    Quit,
    Rate,
    Retry,
    RetryLater,
    Skip,
    Treadle,
    Trip,
    Worker,
    backoff,
)
from treadle.errors import BreakerOpen
from treadle.testing import ManualClock

URLS = [f"https://example.org/{n}" for n in range(10)]


class Engine:
    """What a worker drives."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.closed = False

    async def goto(self, url: str) -> Any:
        assert not self.closed
        return SimpleNamespace(status=429 if url.endswith("/7") else 200, content=f"text of {url}")

    async def close(self) -> None:
        self.closed = True
        self.log.note("close")


async def launch(log: Log) -> Engine:
    log.note("launch")
    return Engine(log)


@dataclass
class Browser(Worker):
    """Launched once, driven by many jobs, closed at the end."""

    log: Log
    proxy: str = ""

    async def start(self) -> None:
        self.page = await launch(self.log)

    async def stop(self) -> None:
        await self.page.close()


async def scrape(browser: Browser, url: str) -> str:
    response = await browser.page.goto(url)
    if response.status == 429:
        raise Fail("rate limited")
    return f"{response.content} by {browser.index}"


class Counter(Worker):
    def __init__(self) -> None:
        self.seen = 0

    def count(self, text: str) -> int:
        self.seen += len(text.split())
        return self.seen


async def test_a_method_of_the_worker_is_a_job_too(app: Treadle) -> None:
    async with Foreman(Counter, max_workers=1) as foreman:
        jobs = [await foreman.enqueue(Counter.count, text) for text in ("to and fro", "to be")]
        assert [await job.aresult() for job in jobs] == [3, 5]
    count = app.task(worker=Counter)(Counter.count)
    async with app.foreman():
        assert await (await count.aenqueue("to and fro")).aresult(timeout=10) == 3


async def states(jobs: list[Job[Any]]) -> list[JobState]:
    return [await job.astate() for job in jobs]


async def worked(foreman: Foreman[Browser], fn: Any) -> None:
    async with foreman:
        await foreman.enqueue(fn)
        await foreman.join()


async def test_a_foreman_over_browsers_with_a_rate_and_a_backlog(log: Log) -> None:
    async with Foreman(
        Browser.options().bind(log), max_workers=4, limits=[Rate(600, per=1)], backlog=5
    ) as foreman:
        jobs = [await foreman.enqueue(scrape, url) for url in URLS]
        await foreman.join()
        ended = await states(jobs)
        first = await jobs[0].aresult()
        failed = (await foreman.jobs(state="failed")).records
    assert first.startswith("text of https://example.org/0 by ")
    assert ended == [JobState.FAILED if n == 7 else JobState.SUCCEEDED for n in range(10)]
    assert [record.id for record in failed] == [jobs[7].id]
    assert log.count("launch") == log.count("close") == 4


async def test_workers_with_settings_of_their_own(log: Log) -> None:
    async def where(browser: Browser) -> tuple[str, int]:
        return browser.proxy, browser.index

    workers = [Browser(log, proxy=f"residential-{n}.example.com") for n in (1, 2)]
    async with Foreman.from_workers(workers) as foreman:
        jobs = [await foreman.enqueue(where) for _ in range(20)]
        await foreman.join()
        seen = {await job.aresult() for job in jobs}
    assert seen == {("residential-1.example.com", 0), ("residential-2.example.com", 1)}


async def test_every_setting_at_once(log: Log) -> None:
    clock = ManualClock()
    foreman = Foreman(
        Browser.options().bind(log),
        max_workers=4,
        restart_every=50,
        start_delay=0,
        timeout="30s",
        backlog=100,
        retry=Retry(2, backoff=backoff.exponential(5, factor=2)),
        limits=[Rate(120, per="1m", burst=5, scope="worker")],
        breaker=Breaker(3, pause=10, factor=2, trips=3),
        clock=clock,
    )
    async with foreman:
        assert await (await foreman.enqueue(scrape, URLS[0])).aresult() is not None


class SessionExpired(RetryLater):
    def __init__(self, reason: str = "") -> None:
        super().__init__(reason, delay=0, restart_worker=True)


class RateLimited(Fail): ...


class ProxyDead(Trip): ...


@pytest.mark.parametrize(
    ("raised", "runs", "launched", "state"),
    [
        (lambda: RetryLater("busy", delay=0), 2, 1, JobState.SUCCEEDED),
        (lambda: RetryLater("expired", delay=0, restart_worker=True), 2, 2, JobState.SUCCEEDED),
        (lambda: SessionExpired(), 2, 2, JobState.SUCCEEDED),
        (lambda: Skip("not found"), 1, 1, JobState.SUCCEEDED),
        (lambda: Fail("rate limited"), 1, 1, JobState.FAILED),
        (lambda: RateLimited("429"), 1, 1, JobState.FAILED),
        (lambda: Fail("dirty", restart_worker=True), 1, 2, JobState.FAILED),
    ],
    ids=["later", "later, restarted", "own class", "skip", "fail", "own fail", "fail, restarted"],
)
async def test_what_a_job_raises_steers_its_outcome(
    app: Treadle, log: Log, raised: Any, runs: int, launched: int, state: JobState
) -> None:
    left = [raised()]

    async def once(browser: Browser) -> None:
        log.note("ran")
        if left:
            raise left.pop()

    builder = Browser.options(max_workers=1).bind(log)
    async with Foreman(builder, retry=3) as foreman:
        job = await foreman.enqueue(once)
        after = await foreman.enqueue(scrape, URLS[0])
        await foreman.join()
        assert await states([job, after]) == [state, JobState.SUCCEEDED]
    assert (log.count("ran"), log.count("launch"), log.count("close")) == (runs, launched, launched)

    # The same over a queue.
    again, left = Log(), [raised()]
    log = again
    durable = app.task(name="once", worker=Browser.options(max_workers=1).bind(again), retry=3)(
        once
    )
    async with app.foreman(burst=True) as burst:
        job = await durable.aenqueue()
        await burst.join()
    assert await job.astate() == state
    assert again.count("ran") == runs


@pytest.mark.parametrize("trip", [Trip, ProxyDead])
async def test_a_dead_proxy_trips_the_breaker_and_the_last_trip_ends_it(
    log: Log, trip: type[Trip]
) -> None:
    async def dead(browser: Browser) -> None:
        raise trip("proxy dead")

    foreman = Foreman(
        Browser.options().bind(log), max_workers=2, breaker=Breaker(3, pause=10, trips=1)
    )
    with pytest.raises(BreakerOpen):
        await worked(foreman, dead)
    # Given back uncounted, not lost; every worker was closed.
    assert [record.state for record in (await foreman.jobs()).records] == [JobState.QUEUED]
    assert log.count("launch") == log.count("close") == 2


async def test_what_cannot_go_on_ends_the_program_in_good_order(log: Log) -> None:
    async def gone(browser: Browser) -> None:
        raise Quit("unrecoverable")

    foreman = Foreman(Browser.options().bind(log), max_workers=2)
    with pytest.raises(Quit, match="unrecoverable"):
        await worked(foreman, gone)
    assert foreman.exit_status == 75
    assert log.count("launch") == log.count("close") == 2


async def test_over_a_durable_queue_with_the_same_class_and_function(
    app: Treadle, log: Log
) -> None:
    durable = app.task(name="scrape", worker=Browser.options(max_workers=2).bind(log))(scrape)
    jobs = await durable.aenqueue_many([(url,) for url in URLS])
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert (await states(jobs)).count(JobState.SUCCEEDED) == 9
    assert 1 <= log.count("launch") == log.count("close") <= 2
