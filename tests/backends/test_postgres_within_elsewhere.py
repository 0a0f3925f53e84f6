"""A connection that does not lead to the database of the jobs is refused, of whatever library."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import psycopg
import pytest

from tests.backends.postgres_support import (
    drop,
    empty,
    execute,
    namespace,
    postgres_namespace,
    postgres_url,
)
from tests.backends.test_postgres_within import ASYNC, BLOCKING, Block, Shop, name_of
from tests.servers import own
from treadle import Treadle
from treadle.backends.postgres.within_place import Place
from treadle.errors import InvalidOption, SchemaMismatch
from treadle.testing.servers import PostgresServer

__all__ = ["namespace", "postgres_namespace", "postgres_url"]


@pytest.fixture(scope="module")
def elsewhere(postgres_url: str) -> Iterator[str]:
    """Another database of the same server."""
    name = f"elsewhere{os.getpid()}"
    execute(postgres_url, f"CREATE DATABASE {name}")
    yield f"{postgres_url.rpartition('/')[0]}/{name}"
    execute(postgres_url, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def shop(postgres_url: str, namespace: str) -> AsyncIterator[Shop]:
    shop = Shop(postgres_url, namespace)
    async with shop.app:
        yield shop


@pytest.fixture
async def stranger(elsewhere: str, namespace: str) -> AsyncIterator[Shop]:
    """Where the rows are, in another database that has tables of the same names."""
    shop = Shop(elsewhere, namespace)
    async with shop.app:
        await shop.app.ajobs(limit=1)
        empty(elsewhere, namespace)
        execute(elsewhere, f"CREATE TABLE IF NOT EXISTS {shop.table} (a int)")
        execute(elsewhere, f"TRUNCATE {shop.table}")
        yield shop


def refused(shop: Shop, stranger: Shop) -> str:
    """What the error says: both databases, and the way out."""
    there, here = (url.rpartition("/")[2] for url in (stranger.url, shop.url))
    return rf"database '{there}' at .*/{here} are in database '{here}' at .*without within="


async def jobs_of(shop: Shop) -> int:
    return (await shop.app.ajobs(queue="default")).examined


@pytest.mark.parametrize("block", BLOCKING, ids=name_of)
async def test_a_blocking_library(shop: Shop, stranger: Shop, block: Block) -> None:
    def run() -> None:
        with block(stranger) as (connection, insert):
            with pytest.raises(InvalidOption, match=refused(shop, stranger)):
                shop.plain.options(within=connection).enqueue(1)
            with pytest.raises(InvalidOption, match=refused(shop, stranger)):
                shop.plain.options(within=connection).enqueue_many([(1,), (2,)])
            # The transaction can be used as before.
            insert()

    await asyncio.to_thread(run)
    assert await stranger.rows() == 1
    assert (await jobs_of(shop), await jobs_of(stranger)) == (0, 0)


@pytest.mark.parametrize("block", ASYNC, ids=name_of)
async def test_an_asynchronous_library(shop: Shop, stranger: Shop, block: Any) -> None:
    async with block(stranger) as (connection, insert):
        with pytest.raises(InvalidOption, match=refused(shop, stranger)):
            await shop.plain.options(within=connection).aenqueue(1)
        with pytest.raises(InvalidOption, match=refused(shop, stranger)):
            await shop.ship.options(within=connection).aenqueue(1)
        await insert()
    assert await stranger.rows() == 1
    assert (await jobs_of(shop), await jobs_of(stranger)) == (0, 0)


async def test_one_of_several_backends(postgres_url: str, namespace: str, stranger: Shop) -> None:
    """The error says where the queue lives, and which backends there are."""
    app = Treadle(
        postgres_url,
        namespace=namespace,
        backends={"mails": stranger.url},
        routes={"mail": "mails"},
    )

    @app.task(name="near")
    async def near() -> None: ...

    @app.task(name="far", queue="mail.acme")
    async def far() -> None: ...

    async with app:
        wire = await asyncpg.connect(postgres_url)
        async with wire.transaction():
            await near.options(within=wire).aenqueue()
            with pytest.raises(
                InvalidOption,
                match=r"leads to database .*'mail.acme' .* lives in backend 'mails'.*'default'",
            ):
                await far.options(within=wire).aenqueue()
        await wire.close()
        wire = await asyncpg.connect(stranger.url)
        async with wire.transaction():
            await far.options(within=wire).aenqueue()
            with pytest.raises(InvalidOption, match=r"lives in backend 'default'.*'mails'"):
                await near.options(within=wire).aenqueue()
        await wire.close()
        page = await app.ajobs(counts=True)
        assert set(page.counts) == {"default", "mail.acme"}


async def test_another_server_with_a_database_of_the_same_name(shop: Shop, namespace: str) -> None:
    with own(PostgresServer) as server:
        twin = server.url_of(shop.url.rpartition("/")[2])
        async with Treadle(twin, namespace=namespace) as app:
            await app.ajobs(limit=1)
        async with await psycopg.AsyncConnection.connect(twin) as connection:
            with pytest.raises(InvalidOption, match=rf"at 127.0.0.1:{server.port},"):
                await shop.plain.options(within=connection).aenqueue(1)


async def test_a_database_without_the_tables(shop: Shop, elsewhere: str) -> None:
    name = f"only{os.getpid()}"
    other = Treadle(shop.url, namespace=name)

    @other.task(name="task")
    async def task() -> None: ...

    try:
        async with other, await psycopg.AsyncConnection.connect(elsewhere) as connection:
            with pytest.raises(InvalidOption, match="database 'elsewhere"):
                await task.options(within=connection).aenqueue()
    finally:
        drop(shop.url, name)


async def test_other_schemas_of_the_database(shop: Shop, namespace: str) -> None:
    schema = f"other{os.getpid()}"
    execute(shop.url, f"CREATE SCHEMA {schema}")
    try:
        way = f"-c search_path={schema}"
        async with await psycopg.AsyncConnection.connect(shop.url, options=way) as connection:
            with pytest.raises(SchemaMismatch, match="not in its search_path"):
                await shop.plain.options(within=connection).aenqueue(1)
            await connection.rollback()
            await connection.execute(f'CREATE TABLE "{namespace}_job" (id text)')
            with pytest.raises(InvalidOption, match=rf"schema '{schema}'.*schema 'public'"):
                await shop.plain.options(within=connection).aenqueue(1)
    finally:
        execute(shop.url, f"DROP SCHEMA {schema} CASCADE")
    assert await jobs_of(shop) == 0


async def test_a_connection_is_asked_once(shop: Shop) -> None:
    store = shop.app.core.store.backend()._store  # type: ignore[attr-defined]
    async with asyncpg.create_pool(shop.url, min_size=1, max_size=1) as pool:
        for number in range(2):
            async with pool.acquire() as wire, wire.transaction():
                await shop.plain.options(within=wire).aenqueue(number)
            # Who asked again would be told that it is no statement.
            store.sql = {**store.sql, "place": "nothing"}
    assert await jobs_of(shop) == 2


async def test_a_server_that_was_started_anew_is_the_same(shop: Shop) -> None:
    store = shop.app.core.store.backend()._store  # type: ignore[attr-defined]
    store.place = Place(1, "test", 1, "public", None, None)
    async with await psycopg.AsyncConnection.connect(shop.url) as connection:
        await shop.plain.options(within=connection).aenqueue(1)
    assert await jobs_of(shop) == 1
    assert store.place.started > 1
