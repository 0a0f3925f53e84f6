"""An attempt that ends with the caller's rows, in one commit, or not at all."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.kit import advance_until
from tests.queue.conftest import run_all
from treadle import CONTEXT, Context, Event, Job, JobFailed, JobState, Treadle, Worker
from treadle.errors import (
    Blocking,
    LeaseLost,
    NotEncodable,
    TransactionTooLong,
    Unsupported,
    UsageError,
)
from treadle.ports import Claim, Held, Query, Settlement
from treadle.records import SessionInfo, Settled
from treadle.testing import ManualClock
from treadle.verdicts import Done

INFO = SessionInfo(name="other")


class Away(Worker):
    """Lives in another process."""


def visit(worker: Away) -> None: ...


def never() -> None: ...


INSERT = "INSERT INTO rows (job, attempt) VALUES (?, ?)"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute("CREATE TABLE rows (job TEXT, attempt INTEGER)")
    return tmp_path / "jobs.db"


@pytest.fixture
async def shop(path: Path) -> AsyncIterator[Treadle]:
    async with Treadle(f"sqlite:///{path}?foreign=allow&durability=normal") as app:
        yield app


def rows(path: Path) -> list[tuple[str, int]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT job, attempt FROM rows ORDER BY rowid").fetchall()


def settles(app: Treadle) -> list[tuple[Settlement, Settled]]:
    """What is settled from now on, and the answers."""
    seen: list[tuple[Settlement, Settled]] = []
    backend: Any = app.core.store.backend()
    settle = backend.settle

    async def spied(ends: Any) -> Any:
        answers = await settle(ends)
        seen.extend(zip(ends, answers, strict=True))
        return answers

    backend.settle = spied
    return seen


def write(ctx: Context, connection: Any) -> None:
    connection.execute(INSERT, (ctx.job_id, ctx.attempt))


async def test_rows_result_note_and_follow_ups_come_with_the_end(shop: Treadle, path: Path) -> None:
    seen = settles(shop)

    @shop.task(name="after")
    async def after(number: int) -> int:
        return number

    @shop.task(name="work", transaction=True)
    async def work(ctx: Context = CONTEXT) -> int:
        job = ctx.enqueue(after, 5)
        ctx.note(follow_up=job.id)
        ctx.progress(1, 2)
        async with ctx.transaction() as connection:
            write(ctx, connection)
            ctx.returns(7)
            assert rows(path) == []
        # It has ended, whatever this process still does.
        record = await Job(shop.core, ctx.job_id).arecord()
        assert record.state is JobState.SUCCEEDED
        assert (await job.arecord()).state is JobState.QUEUED
        return 7

    job = await work.aenqueue()
    await run_all(shop)
    assert await job.aresult() == 7
    record = await job.arecord()
    assert record.note is not None
    assert record.note.current == 1
    follow_up = shop.job(record.note.meta["follow_up"], after)
    assert await follow_up.aresult() == 5
    assert rows(path) == [(job.id, 1)]
    assert [answer for end, answer in seen if end.token.job_id == job.id] == [Settled.ALREADY]


async def test_very_many_at_a_time_take_turns(path: Path) -> None:
    """As many as a foreman runs at a time; whose turn it is waits for none that wait for theirs."""
    async with Treadle(f"sqlite:///{path}?foreign=allow&durability=normal") as app:

        @app.task(name="work")
        async def work(ctx: Context = CONTEXT) -> None:
            async with ctx.transaction() as connection:
                write(ctx, connection)
                await asyncio.wait({asyncio.ensure_future(asyncio.to_thread(str))})

        jobs = await work.aenqueue_many([()] * 60)
        async with app.foreman(burst=True, concurrency=60) as foreman:
            await foreman.join()
        assert {(await job.arecord()).tries for job in jobs} == {0}
    assert sorted(rows(path)) == sorted((job.id, 1) for job in jobs)


async def test_who_gives_up_in_line_is_in_nobody_s_way(shop: Treadle, path: Path) -> None:
    async def insert(number: int) -> None:
        async with shop.connect() as connection:
            connection.execute(INSERT, (str(number), number))

    async with shop.connect():
        waiting = [asyncio.ensure_future(insert(number)) for number in range(5)]
        for _ in range(5):
            await asyncio.to_thread(str)
        for one in waiting[1:]:
            one.cancel()
        done, _ = await asyncio.wait(waiting[1:])
        assert all(one.cancelled() for one in done)
    await waiting[0]
    assert rows(path) == [("0", 0)]


async def test_threads_have_it_too(shop: Treadle, path: Path) -> None:
    @shop.task(name="work")
    def work(ctx: Context = CONTEXT) -> str:
        with ctx.transaction() as connection:
            write(ctx, connection)
            ctx.returns("done")
        return "done"

    jobs = await work.aenqueue_many([()] * 20)
    await run_all(shop)
    assert [await job.aresult() for job in jobs] == ["done"] * 20
    assert sorted(rows(path)) == sorted((job.id, 1) for job in jobs)


async def test_what_raises_inside_rolls_back_and_is_tried_again(shop: Treadle, path: Path) -> None:
    @shop.task(name="after")
    async def after() -> None: ...

    @shop.task(name="work", retry=1)
    async def work(ctx: Context = CONTEXT) -> None:
        ctx.enqueue(after)
        async with ctx.transaction() as connection:
            write(ctx, connection)
            if ctx.attempt == 1:
                raise OSError("not yet")

    job = await work.aenqueue()
    async with shop.foreman():
        await job.aresult(timeout=30)
    assert rows(path) == [(job.id, 2)]
    assert (await job.arecord()).tries == 1
    page = await shop.ajobs(task="after")
    assert len(page.records) == 1


async def test_what_comes_after_the_commit_is_not_the_job_s_any_more(
    shop: Treadle, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[Event] = []
    shop.on("job.*", heard.append)

    @shop.task(name="work", retry=3)
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction() as connection:
            write(ctx, connection)
        for late in (ctx.transaction, lambda: ctx.returns(1), lambda: ctx.enqueue(work)):
            with pytest.raises(UsageError, match="too late"):
                late()
        raise OSError("afterwards")

    @shop.task(name="other")
    async def other(ctx: Context = CONTEXT) -> int:
        async with ctx.transaction():
            pass
        return 5

    jobs = [await work.aenqueue(), await other.aenqueue()]
    await run_all(shop)
    assert [await job.aresult() for job in jobs] == [None, None]
    assert rows(path) == [(jobs[0].id, 1)]
    await shop.core.bus.drain()
    assert [one.name for one in heard if one.name in {"job.succeeded", "job.retrying"}] == [
        "job.succeeded"
    ] * 2
    assert "transaction.error_after_commit" in caplog.text
    assert "transaction.result_dropped" in caplog.text


async def test_a_result_that_cannot_be_stored_rolls_back(shop: Treadle, path: Path) -> None:
    @shop.task(name="work")
    async def work(ctx: Context = CONTEXT) -> int:
        async with ctx.transaction() as connection:
            write(ctx, connection)
            ctx.returns("no number")
        return 1

    job = await work.aenqueue()
    await run_all(shop)
    with pytest.raises(JobFailed, match=NotEncodable.__name__):
        await job.aresult()
    assert rows(path) == []


async def test_a_lease_that_was_lost_rolls_back(shop: Treadle, path: Path) -> None:
    lost: list[BaseException] = []

    @shop.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        if ctx.fence == 1:
            # As if this process had stood still until its lease was over.
            backend = await shop.core.ready()
            session = await backend.open_session(INFO)
            token = ctx._lease.token
            await backend.extend(session, [Held(token=token)], 0.0)
            claimed = await backend.claim(Claim(session=session, request=1, limit=1))
            assert claimed.leases[0].token.fence == 2
            await backend.close_session(session)
        try:
            async with ctx.transaction() as connection:
                write(ctx, connection)
        except LeaseLost as error:
            lost.append(error)
            raise

    job = await work.aenqueue()
    async with shop.foreman():
        await job.aresult(timeout=30)
    assert len(lost) == 1
    assert [one for one, _ in rows(path)] == [job.id]
    assert (await job.arecord()).fence == 3


async def test_it_may_take_a_sixth_of_the_lease(path: Path) -> None:
    clock = ManualClock()
    async with Treadle(f"sqlite:///{path}?foreign=allow", clock=clock) as app:

        @app.task(name="work")
        async def work(ctx: Context = CONTEXT) -> None:
            async with ctx.transaction() as connection:
                write(ctx, connection)
                await clock.sleep(4)

        job = await work.aenqueue()
        async with app.foreman(lease=18):
            ended = asyncio.ensure_future(job.aresult())
            await advance_until(clock, ended.done)
        error = ended.exception()
        assert isinstance(error, JobFailed)
        assert TransactionTooLong.__name__ in str(error)
        assert "longer than 3 s" in str(error)
    assert rows(path) == []


async def test_code_that_goes_on_after_the_commit_is_not_ended_for_its_lease(path: Path) -> None:
    clock = ManualClock()
    async with Treadle(f"sqlite:///{path}?foreign=allow", clock=clock) as app:
        committed = asyncio.Event()
        after: list[str] = []

        @app.task(name="work")
        async def work(ctx: Context = CONTEXT) -> None:
            async with ctx.transaction() as connection:
                write(ctx, connection)
            committed.set()
            await clock.sleep(40)
            after.append("done")

        job = await work.aenqueue()
        lost: list[Event] = []
        app.on("job.lost", lost.append)
        async with app.foreman(lease=6):
            # Time that moves meanwhile would be that of the transaction, which has a bound.
            await committed.wait()
            await advance_until(clock, lambda: bool(after))
        assert (await job.arecord()).state is JobState.SUCCEEDED
        assert lost == []
    assert rows(path) == [(job.id, 1)]


async def test_a_cancelled_attempt_writes_nothing(shop: Treadle, path: Path) -> None:
    inside = asyncio.Event()

    @shop.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction() as connection:
            write(ctx, connection)
            inside.set()
            await asyncio.get_running_loop().create_future()

    job = await work.options(timeout=0.2).aenqueue()
    async with shop.foreman():
        await inside.wait()
        with pytest.raises(JobFailed, match="ran longer"):
            await job.aresult(timeout=30)
    assert rows(path) == []


async def test_it_is_entered_once_and_in_its_own_way(shop: Treadle, path: Path) -> None:
    @shop.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        with pytest.raises(Blocking, match=r"async with ctx\.transaction\(\)"), ctx.transaction():
            pass
        one = ctx.transaction()
        with pytest.raises(OSError, match="no"):
            async with one:
                raise OSError("no")
        with pytest.raises(UsageError, match="call it again"):
            async with one:
                pass
        # The attempt goes on, and may try again.
        async with ctx.transaction() as connection:
            write(ctx, connection)

    job = await work.aenqueue()
    await run_all(shop)
    await job.aresult()
    assert rows(path) == [(job.id, 1)]


async def test_jobs_can_be_enqueued_in_it_at_once(shop: Treadle, path: Path) -> None:
    made: list[Job[Any]] = []

    @shop.task(name="after")
    def after() -> int:
        return 1

    @shop.task(name="work")
    def work(ctx: Context = CONTEXT) -> None:
        with ctx.transaction() as connection:
            made.append(after.options(within=connection).enqueue())

    await work.aenqueue()
    await run_all(shop)
    assert await made[0].aresult() == 1


async def test_dependants_are_made_ready_by_it(shop: Treadle) -> None:
    @shop.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction():
            pass

    @shop.task(name="then", key="k")
    async def then() -> int:
        return 2

    first = await work.options(key="k").aenqueue()
    second = await then.options(after=first).aenqueue()
    await run_all(shop)
    assert await second.aresult() == 2


async def test_the_first_of_commit_and_cancel_wins(shop: Treadle, path: Path) -> None:
    @shop.task(name="work", delivery="at_most_once")
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction() as connection:
            write(ctx, connection)
        await shop.job(ctx.job_id).acancel()

    @shop.task(name="late")
    async def late(ctx: Context = CONTEXT) -> None:
        await shop.job(ctx.job_id).acancel()
        async with ctx.transaction() as connection:
            write(ctx, connection)
            await asyncio.get_running_loop().create_future()

    jobs = [await work.aenqueue(), await late.aenqueue()]
    await run_all(shop)
    records = [await job.arecord() for job in jobs]
    assert [record.state for record in records] == [JobState.SUCCEEDED, JobState.CANCELLED]
    assert rows(path) == [(jobs[0].id, 1)]


async def test_it_is_refused_where_it_cannot_be(memory: Treadle) -> None:
    @memory.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction():
            pass

    job = await work.aenqueue()
    await run_all(memory)
    with pytest.raises(JobFailed, match="does not serve 'transactions'"):
        await job.aresult()

    app = Treadle("memory://")
    with pytest.raises(Unsupported, match="'ray'"):
        app.task(name="far", mode="ray", transaction=True)(never)
    with pytest.raises(Unsupported, match="workers of mode='process'"):
        app.task(name="away", worker=Away.options(mode="process"), transaction=True)(visit)

    @app.task(name="declared", transaction=True)
    async def declared() -> None: ...

    with pytest.raises(Unsupported, match="'declared'"):
        async with app:
            pass
    await app.aclose()


async def test_a_settle_that_was_heard_twice_is_known(shop: Treadle, path: Path) -> None:
    """Whatever foreman says of an attempt that a transaction has ended, it says too late."""

    @shop.task(name="work")
    async def work() -> None: ...

    job = await work.aenqueue()
    backend: Any = await shop.core.ready()
    session = await backend.open_session(INFO)
    claimed = await backend.claim(Claim(session=session, request=1, limit=1))
    end = Settlement(token=claimed.leases[0].token, verdict=Done())
    with backend.transaction(1.0) as unit:
        unit.ends.append(end)
    with pytest.raises(LeaseLost), backend.transaction(1.0) as unit:  # noqa: PT012 - the block
        unit.connection.execute(INSERT, ("twice", 1))
        unit.ends.append(end)
    assert rows(path) == []
    assert list(await backend.settle([end])) == [Settled.ALREADY]
    page = await backend.find(Query(ids=(job.id,)))
    assert page.records[0].state is JobState.SUCCEEDED
    await backend.close_session(session)
