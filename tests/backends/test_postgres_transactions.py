"""Attempts that end with rows of the user in PostgreSQL, in one commit, or not at all."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.backends.postgres_support import namespace, postgres_namespace, postgres_url
from tests.foreman.kit import advance_until
from treadle import CONTEXT, Context, Job, JobFailed, JobState, Treadle
from treadle.backends.postgres import within_unit
from treadle.errors import LeaseLost, TransactionTooLong, UsageError
from treadle.ports import Claim, Held, Settlement
from treadle.records import SessionInfo, Settled
from treadle.testing import ManualClock
from treadle.verdicts import Done

__all__ = ["namespace", "postgres_namespace", "postgres_url"]

OTHER = SessionInfo(name="other")


class Shop:
    """A table of the user beside the jobs of a namespace."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.table = f'"{namespace}_paid"'
        self.insert = f"INSERT INTO {self.table} VALUES ("

    async def query(self, text: str) -> list[Any]:
        wire = await asyncpg.connect(self.url)
        try:
            return list(await wire.fetch(text))
        finally:
            await wire.close()

    async def rows(self) -> list[str]:
        return [row["job"] for row in await self.query(f"SELECT job FROM {self.table}")]


@pytest.fixture
async def shop(postgres_url: str, namespace: str) -> AsyncIterator[Shop]:
    shop = Shop(postgres_url, namespace)
    await shop.query(f"DROP TABLE IF EXISTS {shop.table}")
    await shop.query(f"CREATE TABLE {shop.table} (job text)")
    yield shop
    await shop.query(f"DROP TABLE {shop.table}")


@pytest.fixture
async def app(shop: Shop) -> AsyncIterator[Treadle]:
    async with Treadle(shop.url, namespace=shop.namespace) as app:
        yield app


async def run_all(app: Treadle) -> None:
    async with app.foreman(burst=True) as foreman:
        await foreman.join()


async def test_all_comes_with_the_end(app: Treadle, shop: Shop) -> None:
    @app.task(name="after")
    async def after(number: int) -> int:
        return number

    @app.task(name="work", transaction=True, key="k", unique=True)
    async def work(ctx: Context = CONTEXT) -> int:
        job = ctx.enqueue(after, 5)
        ctx.note(after=job.id)
        async with ctx.transaction() as connection:
            # A transaction inside is a savepoint.
            async with connection.transaction():
                await connection.execute(shop.insert + "$1)", ctx.job_id)
            ctx.returns(7)
            assert ctx.job_id not in await shop.rows()
        assert (await Job(app.core, ctx.job_id).arecord()).state is JobState.SUCCEEDED
        return 7

    @app.task(name="blocks")
    def blocks(ctx: Context = CONTEXT) -> str:
        with ctx.transaction() as connection:
            with connection.transaction():
                connection.execute(shop.insert + "%s)", (ctx.job_id,))
            ctx.returns("done")
        return "done"

    jobs: list[Job[Any]] = [await work.aenqueue(), await blocks.aenqueue()]
    await run_all(app)
    assert [await job.aresult() for job in jobs] == [7, "done"]
    assert sorted(await shop.rows()) == sorted(job.id for job in jobs)
    note = (await jobs[0].arecord()).note
    assert note is not None
    assert await app.job(note.meta["after"], after).aresult() == 5


async def test_what_raises_rolls_back_and_is_tried_again(app: Treadle, shop: Shop) -> None:
    @app.task(name="work", retry=2)
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction() as connection:
            await connection.execute(shop.insert + "$1)", ctx.job_id)
            if ctx.attempt == 1:
                raise OSError
            if ctx.attempt == 2:
                await connection.execute("SELECT 1 / 0")

    @app.task(name="blocks", retry=2)
    def blocks(ctx: Context = CONTEXT) -> None:
        with ctx.transaction() as connection:
            connection.execute(shop.insert + "%s)", (ctx.job_id,))
            if ctx.attempt == 1:
                raise OSError
            if ctx.attempt == 2:
                connection.execute("SELECT 1 / 0")

    jobs = [await work.aenqueue(), await blocks.aenqueue()]
    async with app.foreman():
        for job in jobs:
            await job.aresult(timeout=30)
    assert sorted(await shop.rows()) == sorted(job.id for job in jobs)
    assert [(await job.arecord()).tries for job in jobs] == [2, 2]


async def test_a_lease_that_was_lost_rolls_back(app: Treadle, shop: Shop) -> None:
    lost: list[BaseException] = []

    async def lose(ctx: Context) -> None:
        backend = await app.core.ready()
        session = await backend.open_session(OTHER)
        await backend.extend(session, [Held(token=ctx._lease.token)], 0.0)
        await backend.claim(Claim(session=session, request=1, limit=1))
        await backend.close_session(session)

    @app.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        if ctx.fence == 1:
            await lose(ctx)
        try:
            async with ctx.transaction() as connection:
                await connection.execute(shop.insert + "$1)", ctx.job_id)
        except LeaseLost as error:
            lost.append(error)
            raise

    job = await work.aenqueue()
    async with app.foreman():
        await job.aresult(timeout=30)
    assert len(lost) == 1
    assert await shop.rows() == [job.id]


async def test_it_may_take_a_sixth_of_the_lease(shop: Shop) -> None:
    clock = ManualClock()
    seen: list[BaseException] = []
    async with Treadle(shop.url, namespace=shop.namespace, clock=clock) as app:

        @app.task(name="work")
        async def work(ctx: Context = CONTEXT) -> None:
            async with ctx.transaction() as connection:
                await connection.execute(shop.insert + "$1)", ctx.job_id)
                await clock.sleep(4)
                try:
                    await connection.execute("SELECT 1")
                except Exception as error:
                    seen.append(error)
                    raise

        job = await work.aenqueue()
        async with app.foreman(lease=18):
            ended = asyncio.ensure_future(job.aresult())
            await advance_until(clock, ended.done)
        error = ended.exception()
        assert isinstance(error, JobFailed)
        assert TransactionTooLong.__name__ in str(error)
    assert len(seen) == 1
    assert await shop.rows() == []


def test_a_statement_without_end_is_interrupted(shop: Shop) -> None:
    app = Treadle(shop.url, namespace=shop.namespace)
    with pytest.raises(TransactionTooLong), app.connect(limit=0.2) as connection:
        connection.execute("SELECT pg_sleep(60)")
    with app.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    app.close()


async def test_who_commits_by_himself_is_told(app: Treadle, shop: Shop) -> None:
    with pytest.raises(UsageError, match="was ended in its block"):
        async with app.connect() as connection:
            await connection.execute("COMMIT")

    def blocks() -> None:
        with pytest.raises(psycopg.ProgrammingError), app.connect() as connection:
            connection.commit()
        ended = pytest.raises(UsageError, match="was ended in its block")
        with ended, app.connect() as connection:
            connection.execute("COMMIT")

    await asyncio.to_thread(blocks)


async def test_a_block_that_has_ended_before_its_time_is_watched(
    app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By then the number of its connection may be that of another one."""
    watch: Callable[..., None] = within_unit._watch
    ended, watched = threading.Event(), threading.Event()

    def late(*args: Any) -> None:
        ended.wait(20)
        watch(*args)
        watched.set()

    monkeypatch.setattr(within_unit, "_watch", late)

    def block() -> None:
        with app.connect() as connection:
            connection.execute("SELECT 1")

    await asyncio.to_thread(block)
    ended.set()
    assert await asyncio.to_thread(watched.wait, 20)


async def test_the_app_gives_connections_too(app: Treadle, shop: Shop) -> None:
    @app.task(name="ship")
    async def ship(number: int) -> int:
        return number

    async with app.connect() as connection:
        await connection.execute(shop.insert + "'a')")
        job = await ship.options(within=connection).aenqueue(1)

    def blocks() -> list[Job[int]]:
        with app.connect() as connection:
            connection.execute(shop.insert + "'b')")
            return ship.options(within=connection).enqueue_many([(2,), (3,)])

    jobs = [job, *await asyncio.to_thread(blocks)]
    await run_all(app)
    assert [await job.aresult() for job in jobs] == [1, 2, 3]
    assert await shop.rows() == ["a", "b"]


async def test_the_verdict_of_the_foreman_comes_too_late(app: Treadle, shop: Shop) -> None:
    @app.task(name="work")
    async def work() -> None: ...

    await work.aenqueue()
    backend: Any = await app.core.ready()
    session = await backend.open_session(OTHER)
    claimed = await backend.claim(Claim(session=session, request=1, limit=1))
    end = Settlement(token=claimed.leases[0].token, verdict=Done())
    async with backend.atransaction(5.0) as unit:
        unit.ends.append(end)
    with pytest.raises(LeaseLost):  # noqa: PT012 - the block
        async with backend.atransaction(5.0) as unit:
            await unit.connection.execute(shop.insert + "'twice')")
            unit.ends.append(end)
    assert await shop.rows() == []
    assert list(await backend.settle([end])) == [Settled.ALREADY]
    await backend.close_session(session)


async def test_a_cancelled_block_writes_nothing(app: Treadle, shop: Shop) -> None:
    inside = asyncio.Event()

    @app.task(name="work")
    async def work(ctx: Context = CONTEXT) -> None:
        async with ctx.transaction() as connection:
            await connection.execute(shop.insert + "$1)", ctx.job_id)
            inside.set()
            await connection.execute("SELECT pg_sleep(60)")

    job = await work.options(timeout=0.5).aenqueue()
    async with app.foreman():
        await inside.wait()
        with pytest.raises(JobFailed, match="ran longer"):
            await job.aresult(timeout=30)
    assert await shop.rows() == []
    # Nor does it lock anything, although its statement had a minute to go.
    async with asyncio.timeout(20):
        await shop.query(f"TRUNCATE {shop.table}")
