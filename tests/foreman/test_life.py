"""How a foreman begins and ends."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from tests.foreman.kit import Manual, advance_until, listen, names, record_of
from treadle import CONTEXT, Context, Depends, JobFailed, JobState, Retry, Treadle
from treadle.errors import InvalidOption, NotOpen, RetryLater
from treadle.foreman import foreman as foreman_module
from treadle.foreman.serve import RECYCLED, serve
from treadle.testing import eventually


async def never() -> None:
    await asyncio.Event().wait()


async def test_a_stop_is_seen_by_running_code(app: Treadle) -> None:
    started = asyncio.Event()

    @app.task(name="polite")
    async def polite(ctx: Context = CONTEXT) -> str:
        started.set()
        while not ctx.stopping:
            await app.core.clock.sleep(0)
        return "told"

    async with app.foreman():
        job = await polite.aenqueue()
        await started.wait()
    assert await job.aresult() == "told"


@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_what_outlives_the_grace_is_given_back_uncounted(app: Treadle, mode: str) -> None:
    started = threading.Event()

    def wait(ctx: Context = CONTEXT) -> int:
        if ctx.fence > 1:
            return ctx.attempt
        started.set()
        while True:
            ctx.check()

    async def await_(ctx: Context = CONTEXT) -> int:
        if ctx.fence > 1:
            return ctx.attempt
        started.set()
        await never()
        return 0

    task: Any = app.task(name="long")(await_ if mode == "asyncio" else wait)
    async with app.foreman(grace=0):
        job = await task.aenqueue()
        await eventually(started.is_set)
    record = await job.arecord()
    assert (record.state, record.fence, record.tries, record.crashes) == (JobState.QUEUED, 1, 0, 0)
    assert record.attempts == ()
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert await job.aresult() == 1
    assert (await job.arecord()).fence == 2


async def test_code_that_fails_while_it_is_given_back_is_not_blamed(memory_app: Treadle) -> None:
    started = asyncio.Event()

    @memory_app.task(name="messy")
    async def messy() -> None:
        started.set()
        try:
            await never()
        finally:
            raise OSError("the cleanup failed")

    @memory_app.task(name="steering", retry=Retry(3, backoff="1h"))
    async def steering() -> None:
        try:
            await never()
        except asyncio.CancelledError:
            raise RetryLater("in the middle of something", delay=60) from None

    async with memory_app.foreman(grace=0):
        steered = await steering.aenqueue()
        job = await messy.aenqueue()
        await started.wait()
    record = await job.arecord()
    assert (record.state, record.tries) == (JobState.QUEUED, 0)
    record = await steered.arecord()  # what it says itself is heard
    assert (record.state, record.tries) == (JobState.SCHEDULED, 1)


async def test_what_ends_while_stopping_is_settled(app: Treadle) -> None:
    release, started = asyncio.Event(), asyncio.Event()

    @app.task(name="short")
    async def short() -> str:
        started.set()
        await release.wait()
        return "done"

    async with app.foreman() as foreman:
        job = await short.aenqueue()
        waiting = await short.options(queue="later").aenqueue()
        await started.wait()
        await foreman.stop()
        release.set()
        await foreman.join()
        assert await job.aresult() == "done"
        assert foreman.stats["running"] == 0
    assert (await waiting.arecord()).state in {JobState.SUCCEEDED, JobState.QUEUED}


async def test_code_has_the_whole_grace_to_end(manual: Manual) -> None:
    app, clock = manual
    release, started = asyncio.Event(), asyncio.Event()

    @app.task(name="short")
    async def short() -> None:
        started.set()
        await release.wait()

    async with app.foreman(grace=30, lease=3600) as foreman:
        job = await short.aenqueue()
        await started.wait()
        await foreman.stop()
        await clock.aadvance(29)
        release.set()
    assert (await job.arecord()).state is JobState.SUCCEEDED


async def test_stopping_while_idle_takes_no_time(manual: Manual) -> None:
    async with asyncio.timeout(10):
        async with manual.app.foreman() as foreman:
            await eventually(lambda: manual.clock.next_due is not None)
        assert manual.clock.monotonic() == 0.0
        assert foreman.stopping


async def test_a_stop_during_a_claim_is_not_overlooked(flaky: Manual) -> None:
    foreman = flaky.app.foreman()
    entered = asyncio.Event()
    inner = flaky.backend._inner
    claim = inner.claim

    async def slow_claim(ask: Any) -> Any:
        entered.set()
        await foreman.stop()
        return await claim(ask)

    inner.claim = slow_claim
    async with asyncio.timeout(10), foreman:
        await entered.wait()
        await foreman.join()
    assert flaky.clock.monotonic() == 0.0


async def test_a_foreman_leaves_neither_threads_nor_tasks(app: Treadle) -> None:
    @app.task(name="plain")
    def plain() -> int:
        return 1

    threads, tasks = set(threading.enumerate()), asyncio.all_tasks()
    async with app.foreman():
        assert await (await plain.aenqueue()).aresult(timeout=10) == 1
        during = {thread.name for thread in set(threading.enumerate()) - threads}
        assert "treadle-heartbeat" in during
    left = {thread.name for thread in set(threading.enumerate()) - threads}
    assert not {name for name in left if name in {"treadle", "treadle-heartbeat"}}
    # A connection to the store is the app's, and stays for what comes next.
    connections = {task for task in asyncio.all_tasks() if task.get_name() == "treadle-ears"}
    # What was told others last may still be on its way.
    await eventually(lambda: asyncio.all_tasks() - connections <= tasks)


async def test_a_burst_ends_when_nothing_is_left(app: Treadle) -> None:
    @app.task(name="count")
    async def count(n: int, ctx: Context = CONTEXT) -> None:
        if n:
            ctx.enqueue(count, n - 1)

    await count.aenqueue(3)
    later = await count.options(delay=3600).aenqueue(0)
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
        assert foreman.stats["job.succeeded"] == 4
        assert foreman.recycled is None
    assert (await later.arecord()).state is JobState.SCHEDULED


async def test_a_foreman_makes_room_after_so_many_jobs(app: Treadle) -> None:
    @app.task(name="one")
    async def one() -> None: ...

    jobs = await one.aenqueue_many([()] * 5)
    assert await serve(app.core, max_jobs=3) == RECYCLED
    states = [(await job.arecord()).state for job in jobs]
    assert states == [JobState.SUCCEEDED] * 3 + [JobState.QUEUED] * 2


async def test_a_foreman_that_waits_for_its_last_jobs_makes_room(memory_app: Treadle) -> None:
    release = asyncio.Event()
    started: list[int] = []

    @memory_app.task(name="slow")
    async def slow() -> None:
        started.append(1)
        await release.wait()

    await slow.aenqueue_many([()] * 3)
    async with memory_app.foreman(max_jobs=2) as foreman:
        await eventually(lambda: len(started) == 2)
        release.set()
        await foreman.join()
        assert foreman.recycled == "2 jobs"
    assert len(started) == 2


async def test_a_foreman_makes_room_after_its_time(manual: Manual) -> None:
    async with manual.app.foreman(max_age=60) as foreman:
        await manual.clock.aadvance(30)
        assert not foreman.stopping
        await manual.clock.aadvance(40)
        await foreman.join()
        assert foreman.recycled == "age"
        assert foreman.exit_status == 0


async def test_a_foreman_that_is_full_makes_room_after_its_time(manual: Manual) -> None:
    release = asyncio.Event()

    @manual.app.task(name="slow")
    async def slow() -> None:
        await release.wait()

    async with manual.app.foreman(max_age=60, concurrency=1, lease=3600) as foreman:
        await slow.aenqueue()
        await manual.clock.aadvance(70)
        release.set()
        await foreman.join()
        assert foreman.recycled == "age"
        assert foreman.stats["job.succeeded"] == 1


async def test_it_runs_once_and_says_so(memory_app: Treadle) -> None:
    foreman = memory_app.foreman()
    with pytest.raises(NotOpen, match="async with"):
        await foreman.join()
    async with foreman:
        with pytest.raises(NotOpen, match="once"):
            await foreman.__aenter__()


async def test_what_is_asked_to_stop_before_it_is_open_opens_and_stops(manual: Manual) -> None:
    foreman = manual.app.foreman()
    await foreman.stop()
    async with asyncio.timeout(10), foreman:
        await foreman.join()
    assert foreman.exit_status == 0


async def test_an_error_of_its_own_ends_it_in_good_order(flaky: Manual) -> None:
    heard = listen(flaky.app, "foreman.*")
    foreman = flaky.app.foreman()
    flaky.backend.fail("claim", RuntimeError("a fault of the store"))
    with pytest.raises(RuntimeError, match="a fault of the store"):
        async with foreman:
            await asyncio.wait({foreman._life})
    assert foreman.exit_status == 1
    assert names(heard) == ["foreman.started", "foreman.stopping", "foreman.stopped"]
    assert heard[-1].data["status"] == 1


async def test_an_entry_that_fails_leaves_nothing_open(flaky: Manual) -> None:
    flaky.backend._inner.open_session = None
    with pytest.raises(TypeError):
        async with flaky.app.foreman():
            raise AssertionError("not reached")


async def test_a_dependency_that_cannot_be_closed_stops_nothing_else(memory_app: Treadle) -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("cannot close")

    @memory_app.task(name="user")
    async def user(n: int = Depends(broken, scope="foreman")) -> int:
        return n

    with pytest.raises(OSError, match="cannot close"):
        async with memory_app.foreman() as foreman:
            assert await (await user.aenqueue()).aresult(timeout=10) == 1
    backend = await memory_app.core.ready()
    assert await backend.read(["session:*"]) == {}
    assert foreman.stopping


async def test_verdicts_that_the_store_does_not_take_are_given_up_aloud(
    flaky_app: Treadle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(foreman_module, "_FLUSH", 0.05)
    ran = asyncio.Event()

    @flaky_app.task(name="quick")
    async def quick() -> None:
        ran.set()

    backend: Any = flaky_app.core.backend()
    backend.fail("settle", "refused")
    backend.fail("close_session", "refused")
    async with flaky_app.foreman(grace=0.05) as foreman:
        job = await quick.aenqueue()
        await ran.wait()
    assert foreman.stats["job.succeeded"] == 0
    assert "settle.given_up" in caplog.text
    assert "session.not_closed" in caplog.text
    assert (await record_of(flaky_app, job.id)).state is JobState.RUNNING


@pytest.mark.parametrize("how", ["silent", "refused"])
@pytest.mark.parametrize(
    ("grace", "runs", "least", "most"),
    [
        # The job takes the whole grace: what is left is the time of the store for last words.
        pytest.param(2.0, 60.0, 4.0, 6.0, id="used up"),
        # The rest of the grace is for the verdict, too.
        pytest.param(10.0, 1.0, 12.0, 14.0, id="left over"),
    ],
)
async def test_a_stop_is_bounded_when_the_store_is_away(
    flaky: Manual,
    caplog: pytest.LogCaptureFixture,
    how: str,
    grace: float,
    runs: float,
    least: float,
    most: float,
) -> None:
    @flaky.app.task(name="slow")
    async def slow() -> None:
        await flaky.clock.sleep(runs)

    async with flaky.app.foreman(grace=grace, lease=60) as foreman:
        jobs = await slow.aenqueue_many([() for _ in range(3)])
        await eventually(lambda: foreman.stats["running"] == 3)
        for verb in ("claim", "wait", "extend", "settle", "close_session"):
            flaky.backend.fail(verb, how)
        asked = flaky.clock.monotonic()
        await foreman.stop()
        stopped = asyncio.ensure_future(foreman.join())
        await advance_until(flaky.clock, stopped.done, step=0.25)
        assert least <= flaky.clock.monotonic() - asked <= most
    [given_up] = [line for line in caplog.text.splitlines() if "settle.given_up" in line]
    assert all(job.id in given_up for job in jobs)
    assert "session.not_closed" in caplog.text


async def test_a_job_that_runs_at_most_once_fails_when_it_is_stopped(app: Treadle) -> None:
    started = asyncio.Event()

    @app.task(name="once", delivery="at_most_once")
    async def once() -> None:
        started.set()
        await never()

    async with app.foreman(grace=0):
        job = await once.aenqueue()
        await started.wait()
    record = await job.arecord()
    assert (record.state, record.cause) == (JobState.FAILED, "crashed")
    with pytest.raises(JobFailed, match="the foreman stopped"):
        await job.aresult()


@pytest.mark.parametrize("name", ["", 3, "a\nb", "x" * 201])
def test_a_name_that_nobody_could_read_is_refused(name: Any) -> None:
    """Whoever lists the foremen would stumble over it."""
    with pytest.raises(InvalidOption, match=r"foreman name=.* is not a text of 1 to 200"):
        Treadle("memory://").foreman(name=name)


def test_weights_in_a_dict_are_not_passed_over() -> None:
    with pytest.raises(InvalidOption, match="with weights 'a:5,b'"):
        Treadle("memory://").foreman(queues={"mail": 5})
