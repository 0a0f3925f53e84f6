"""A namespace for the tests of this process: made once, emptied before each, dropped at the end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import asyncpg
import pytest

from tests.servers import postgres_url
from treadle.backends.postgres.statements import prefix_of

__all__ = ["drop", "empty", "namespace", "postgres_namespace", "postgres_url"]


def execute(url: str, *statements: str) -> list[list[asyncpg.Record]]:
    async def run() -> list[list[asyncpg.Record]]:
        wire = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
        try:
            return [await wire.fetch(statement) for statement in statements]
        finally:
            await wire.close()

    # Another thread, because this one may be in a loop.
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(run())).result()


def _like(namespace: str) -> str:
    return (prefix_of(namespace) + "_").replace("_", r"\_") + "%"


def empty(url: str, namespace: str) -> None:
    """Remove what is in the tables of a namespace."""
    execute(
        url,
        f"""DO $$ DECLARE name text; BEGIN
      FOR name IN SELECT relname FROM pg_class WHERE relkind = 'r'
          AND relname LIKE '{_like(namespace)}' AND relname NOT LIKE '%\\_meta' LOOP
        EXECUTE format('DELETE FROM %I', name);
      END LOOP; END $$""",
    )


def drop(url: str, namespace: str) -> None:
    """Remove the tables and functions of a namespace."""
    like = _like(namespace)
    kinds = {"r": "TABLE", "S": "SEQUENCE"}
    loops = [
        f"""FOR name IN SELECT relname FROM pg_class WHERE relkind = '{kind}'
          AND relname LIKE '{like}' LOOP
            EXECUTE format('DROP {word} %I CASCADE', name);
          END LOOP;"""
        for kind, word in kinds.items()
    ]
    execute(
        url,
        f"""DO $$ DECLARE name text; BEGIN
          FOR name IN SELECT oid::regprocedure FROM pg_proc WHERE proname LIKE '{like}' LOOP
            EXECUTE format('DROP FUNCTION %s', name);
          END LOOP; {" ".join(loops)} END $$""",
    )


@pytest.fixture(scope="session")
def postgres_namespace(postgres_url: str) -> Iterator[str]:
    """A namespace of this process."""
    name = f"test{os.getpid()}"
    yield name
    drop(postgres_url, name)


@pytest.fixture
def namespace(postgres_url: str, postgres_namespace: str) -> str:
    """An empty one."""
    empty(postgres_url, postgres_namespace)
    return postgres_namespace
