"""Jobs in the transaction of a caller on PostgreSQL, by each library that has connections."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from typing import Any

import asyncpg
import psycopg
import pytest
import sqlalchemy
import sqlalchemy.ext.asyncio
import sqlalchemy.orm

from tests.backends.postgres_support import namespace, postgres_namespace, postgres_url
from treadle import Job, JobState, Treadle
from treadle.errors import (
    DuplicateJob,
    InvalidOption,
    JobNotFound,
    QueueFull,
    SchemaMismatch,
    UsageError,
)
from treadle.testing import eventually

__all__ = ["namespace", "postgres_namespace", "postgres_url"]

INSERT = "INSERT INTO {} VALUES (1)"


class Shop:
    """An app, and a table of the user beside its jobs."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.table = f'"{namespace}_rows"'
        self.app = Treadle(url, namespace=namespace)
        self.insert = INSERT.format(self.table)

        @self.app.task(name="ship", unique={"by": True, "on_conflict": "error"}, bound=50)
        async def ship(number: int) -> int:
            return number

        @self.app.task(name="plain")
        async def plain(number: int) -> int:
            return number

        self.ship, self.plain = ship, plain

    async def rows(self) -> int:
        wire = await asyncpg.connect(self.url)
        try:
            return int(await wire.fetchval(f"SELECT count(*) FROM {self.table}"))
        finally:
            await wire.close()

    @property
    def sqlalchemy_url(self) -> str:
        return self.url.replace("postgresql://", "postgresql+psycopg://")


@pytest.fixture
async def shop(postgres_url: str, namespace: str) -> AsyncIterator[Shop]:
    shop = Shop(postgres_url, namespace)
    wire = await asyncpg.connect(postgres_url)
    await wire.execute(f"CREATE TABLE IF NOT EXISTS {shop.table} (a int); TRUNCATE {shop.table}")
    async with shop.app:
        yield shop
    await wire.execute(f"DROP TABLE {shop.table}")
    await wire.close()


# ------------------------------------------------------------- libraries


class Undo(Exception):
    """Rolls a transaction back."""


Block = Callable[[Shop], AbstractContextManager[tuple[Any, Callable[[], Any]]]]
"""A transaction: the connection, and what writes a row."""


@contextmanager
def with_psycopg(shop: Shop) -> Iterator[Any]:
    with psycopg.connect(shop.url) as connection:
        yield connection, lambda: connection.execute(shop.insert)


@contextmanager
def with_psycopg_as_the_user_likes_it(shop: Shop) -> Iterator[Any]:
    """With rows as dictionaries, and a transaction that is begun by hand."""
    connection: Any = psycopg.connect(shop.url, autocommit=True, row_factory=psycopg.rows.dict_row)
    with connection, connection.transaction():
        yield connection, lambda: connection.execute(shop.insert)


@contextmanager
def with_a_pipeline_of_psycopg(shop: Shop) -> Iterator[Any]:
    with psycopg.connect(shop.url) as connection, connection.pipeline():
        yield connection, lambda: connection.execute(shop.insert)


@contextmanager
def with_sqlalchemy(shop: Shop) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(shop.sqlalchemy_url)
    try:
        with engine.begin() as connection:
            yield connection, lambda: connection.execute(sqlalchemy.text(shop.insert))
    finally:
        engine.dispose()


@contextmanager
def with_a_session(shop: Shop) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(shop.sqlalchemy_url)
    try:
        with sqlalchemy.orm.Session(engine) as session:
            yield session, lambda: session.execute(sqlalchemy.text(shop.insert))
            session.commit()
    finally:
        engine.dispose()


@contextmanager
def with_a_scoped_session(shop: Shop) -> Iterator[Any]:
    engine = sqlalchemy.create_engine(shop.sqlalchemy_url)
    session = sqlalchemy.orm.scoped_session(sqlalchemy.orm.sessionmaker(engine))
    try:
        yield session, lambda: session.execute(sqlalchemy.text(shop.insert))
        session.commit()
    finally:
        session.remove()
        engine.dispose()


@contextmanager
def with_django(shop: Shop) -> Iterator[Any]:
    from tests.backends.django_support import database

    with database(shop.url) as (connection, transaction):

        def insert() -> None:
            with connection.cursor() as cursor:
                cursor.execute(shop.insert)

        with transaction.atomic():
            yield connection, insert


BLOCKING: list[Block] = [
    with_psycopg,
    with_psycopg_as_the_user_likes_it,
    with_a_pipeline_of_psycopg,
    with_sqlalchemy,
    with_a_session,
    with_a_scoped_session,
    with_django,
]


def name_of(value: Any) -> str:
    return value.__name__.removeprefix("with_")


@asynccontextmanager
async def with_asyncpg(shop: Shop) -> AsyncIterator[Any]:
    wire = await asyncpg.connect(shop.url)
    try:
        async with wire.transaction():
            yield wire, lambda: wire.execute(shop.insert)
    finally:
        await wire.close()


@asynccontextmanager
async def with_a_pool_of_asyncpg(shop: Shop) -> AsyncIterator[Any]:
    async with (
        asyncpg.create_pool(shop.url, min_size=1, max_size=1) as pool,
        pool.acquire() as wire,
        wire.transaction(),
    ):
        yield wire, lambda: wire.execute(shop.insert)


@asynccontextmanager
async def with_async_psycopg(shop: Shop) -> AsyncIterator[Any]:
    async with await psycopg.AsyncConnection.connect(shop.url) as connection:
        yield connection, lambda: connection.execute(shop.insert)


@asynccontextmanager
async def with_a_pipeline_of_async_psycopg(shop: Shop) -> AsyncIterator[Any]:
    async with (
        await psycopg.AsyncConnection.connect(shop.url) as connection,
        connection.pipeline(),
    ):
        yield connection, lambda: connection.execute(shop.insert)


def _async_engine(shop: Shop, driver: str) -> Any:
    url = shop.url.replace("postgresql://", f"postgresql+{driver}://")
    return sqlalchemy.ext.asyncio.create_async_engine(url)


@asynccontextmanager
async def with_async_sqlalchemy(shop: Shop) -> AsyncIterator[Any]:
    engine = _async_engine(shop, "asyncpg")
    try:
        async with engine.begin() as connection:
            yield connection, lambda: connection.execute(sqlalchemy.text(shop.insert))
    finally:
        await engine.dispose()


@asynccontextmanager
async def with_an_async_session(shop: Shop) -> AsyncIterator[Any]:
    engine = _async_engine(shop, "asyncpg")
    try:
        async with sqlalchemy.ext.asyncio.AsyncSession(engine) as session:
            yield session, lambda: session.execute(sqlalchemy.text(shop.insert))
            await session.commit()
    finally:
        await engine.dispose()


@asynccontextmanager
async def with_an_async_session_over_psycopg(shop: Shop) -> AsyncIterator[Any]:
    engine = _async_engine(shop, "psycopg")
    try:
        async with sqlalchemy.ext.asyncio.AsyncSession(engine) as session:
            yield session, lambda: session.execute(sqlalchemy.text(shop.insert))
            await session.commit()
    finally:
        await engine.dispose()


ASYNC: list[Any] = [
    with_asyncpg,
    with_a_pool_of_asyncpg,
    with_async_psycopg,
    with_a_pipeline_of_async_psycopg,
    with_async_sqlalchemy,
    with_an_async_session,
    with_an_async_session_over_psycopg,
]


# ------------------------------------------------------------- the same for all of them


@pytest.mark.parametrize("block", BLOCKING, ids=name_of)
async def test_a_blocking_library(shop: Shop, block: Block) -> None:
    def run(undo: bool, insert_first: bool) -> list[Job[int]]:
        jobs: list[Job[int]] = []
        with block(shop) as (connection, insert):
            if insert_first:
                insert()
            for task, argument in kinds(shop, connection):
                with suppress(DuplicateJob, QueueFull):
                    jobs.append(task.enqueue(argument))
            jobs += shop.plain.options(within=connection).enqueue_many([(n,) for n in range(5)])
            if not insert_first:
                insert()
            if undo:
                raise Undo
        return jobs

    with pytest.raises(Undo):
        await asyncio.to_thread(run, True, True)
    assert await shop.rows() == 0
    assert not (await shop.app.ajobs(queue="default")).records
    jobs = await asyncio.to_thread(run, False, False)
    await check(shop, jobs)


def kinds(shop: Shop, connection: Any) -> list[tuple[Any, int]]:
    """Tasks and arguments; the second and third are refused."""
    ship, plain = shop.ship.options(within=connection), shop.plain.options(within=connection)
    full = shop.plain.options(within=connection, bound=1)
    later = shop.plain.options(within=connection, delay=3600, priority=5, key="k", tags=["a"])
    return [(ship, 1), (ship, 1), (full, 2), (plain, 3), (later, 4)]


async def check(shop: Shop, jobs: list[Job[int]]) -> None:
    """All is there, and can be run."""
    assert await shop.rows() == 1
    assert len(jobs) == 8
    records = [await job.arecord() for job in jobs]
    assert [record.state for record in records].count(JobState.SCHEDULED) == 1
    async with shop.app.foreman(burst=True) as foreman:
        await foreman.join()
    results = [await job.aresult() for job, record in zip(jobs, records, strict=True)
               if record.state is JobState.QUEUED]  # fmt: skip
    assert results == [1, 3, 0, 1, 2, 3, 4]
    page = await shop.app.ajobs(counts=True)
    assert page.counts["default"] == {JobState.SUCCEEDED: 7, JobState.SCHEDULED: 1}


@pytest.mark.parametrize("block", ASYNC, ids=name_of)
async def test_an_asynchronous_library(shop: Shop, block: Any) -> None:
    async def run(undo: bool, insert_first: bool) -> list[Job[int]]:
        jobs: list[Job[int]] = []
        async with block(shop) as (connection, insert):
            if insert_first:
                await insert()
            for task, argument in kinds(shop, connection):
                with suppress(DuplicateJob, QueueFull):
                    jobs.append(await task.aenqueue(argument))
            bound = shop.plain.options(within=connection)
            jobs += await bound.aenqueue_many([(n,) for n in range(5)])
            if not insert_first:
                await insert()
            if undo:
                raise Undo
        return jobs

    with pytest.raises(Undo):
        await run(True, True)
    assert await shop.rows() == 0
    assert not (await shop.app.ajobs(queue="default")).records
    await check(shop, await run(False, False))


async def test_a_waiting_foreman_is_woken_by_the_commit(shop: Shop) -> None:
    done = threading.Event()

    @shop.app.task(name="wake")
    def wake() -> None:
        done.set()

    async with shop.app.foreman():
        hub = shop.app.core.store.backend()._store.hub  # type: ignore[attr-defined]
        await eventually(lambda: bool(hub._queues))
        async with with_asyncpg(shop) as (wire, _):
            await wake.options(within=wire).aenqueue()
            assert not done.is_set()
        await eventually(done.is_set, patience=5.0)


async def test_a_long_transaction_keeps_nobody_waiting(shop: Shop) -> None:
    async with with_asyncpg(shop) as (wire, insert):
        bound = shop.plain.options(within=wire)
        mine = [await bound.aenqueue(1), *await bound.aenqueue_many([(2,), (3,)])]
        others = [await shop.plain.aenqueue(4), *await shop.plain.aenqueue_many([(5,)])]
        async with asyncio.timeout(30), shop.app.foreman(burst=True) as foreman:
            await foreman.join()
        assert [await job.aresult() for job in others] == [4, 5]
        await insert()
    async with shop.app.foreman(burst=True) as foreman:
        await foreman.join()
    assert [await job.aresult() for job in mine] == [1, 2, 3]


async def test_a_savepoint_of_the_caller_takes_jobs_back(shop: Shop) -> None:
    async with with_asyncpg(shop) as (wire, _):
        kept = await shop.plain.options(within=wire).aenqueue(1)
        with pytest.raises(Undo):  # noqa: PT012 - the block
            async with wire.transaction():
                gone = await shop.plain.options(within=wire).aenqueue(2)
                raise Undo
    assert (await kept.arecord()).state is JobState.QUEUED
    with pytest.raises(JobNotFound):
        await gone.arecord()


async def test_what_fails_on_the_way_leaves_the_transaction_usable(shop: Shop) -> None:
    job = await shop.plain.aenqueue(1)
    async with with_asyncpg(shop) as (wire, insert):
        await insert()
        again = await shop.plain.options(within=wire, id=job.id).aenqueue(1)
        assert not again.created
    assert await shop.rows() == 1


async def test_missing_tables_are_named(shop: Shop) -> None:
    other = Treadle(shop.url, namespace="nowhere")

    @other.task(name="task")
    def task() -> None: ...

    def run() -> None:
        # Code without an event loop cannot make them first.
        with psycopg.connect(shop.url) as connection:
            with pytest.raises(SchemaMismatch, match="db install"):
                task.options(within=connection).enqueue()
            connection.execute(shop.insert)

    await asyncio.to_thread(run)
    await other.aclose()
    assert await shop.rows() == 1


async def test_who_has_no_transaction_is_told(shop: Shop) -> None:
    wire = await asyncpg.connect(shop.url)
    with pytest.raises(InvalidOption, match="in no transaction"):
        await shop.plain.options(within=wire).aenqueue(1)
    await wire.close()

    async with await psycopg.AsyncConnection.connect(shop.url, autocommit=True) as connection:
        with pytest.raises(InvalidOption, match="in no transaction"):
            await shop.plain.options(within=connection).aenqueue(1)

    engine = _async_engine(shop, "asyncpg").execution_options(isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        with pytest.raises(InvalidOption, match="in no transaction"):
            await shop.plain.options(within=connection).aenqueue(1)
    await engine.dispose()

    def django() -> None:
        from tests.backends.django_support import database

        with database(shop.url) as (connection, _), pytest.raises(InvalidOption, match="atomic"):
            shop.plain.options(within=connection).enqueue(1)

    await asyncio.to_thread(django)
    assert not (await shop.app.ajobs(queue="default")).records


async def test_who_would_block_a_loop_is_told(shop: Shop) -> None:
    with psycopg.connect(shop.url) as blocking:
        refused = shop.plain.options(within=blocking).aenqueue(1)
        with pytest.raises(UsageError, match="AsyncConnection"):
            await refused

    async with with_asyncpg(shop) as (wire, _):
        enqueue = shop.plain.options(within=wire).enqueue
        with pytest.raises(UsageError, match="aenqueue"):
            await asyncio.to_thread(enqueue, 1)


async def test_what_is_no_connection_is_refused(shop: Shop) -> None:
    for wrong in (object(), "postgresql://", 1):
        with pytest.raises(InvalidOption, match="Session"):
            await shop.plain.options(within=wrong).aenqueue(1)
    engine = sqlalchemy.create_engine("sqlite://")

    def other_driver() -> None:
        with engine.begin() as connection:
            bound = shop.plain.options(within=connection)
            with pytest.raises(InvalidOption, match=r"postgresql\+psycopg://"):
                bound.enqueue(1)

    await asyncio.to_thread(other_driver)
    engine.dispose()


WAITING = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = $1"


async def test_an_open_transaction_with_a_unique_job_holds_up_who_takes_turns(
    shop: Shop, namespace: str
) -> None:
    """Plain jobs go on beside it; the others wait for its end, and are made then."""
    wire, other = await asyncpg.connect(shop.url), await asyncpg.connect(shop.url)
    name = await wire.fetchval("SELECT current_database()")
    # Of one process, what it enqueues later waits for what it has enqueued before.
    others = Shop(shop.url, namespace)
    async with others.app:
        async with wire.transaction():
            first = await shop.ship.options(within=wire).aenqueue(1)
            second = asyncio.create_task(others.ship.aenqueue(2))
            while not await other.fetch(WAITING, name):
                assert not second.done()
            await shop.plain.options(queue="beside").aenqueue(3)
            assert not second.done()
        assert await (await second).astate() == await first.astate() == JobState.QUEUED
    await wire.close()
    await other.close()
