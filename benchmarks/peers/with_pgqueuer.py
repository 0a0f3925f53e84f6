"""pgqueuer over PostgreSQL with asyncpg: a row of a log says how a job ended; it has no results."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import asyncpg
from measuring import URL, Client, stamp
from pgqueuer import PgQueuer
from pgqueuer.core.completion import CompletionWatcher
from pgqueuer.db import AsyncpgDriver
from pgqueuer.models import Job
from pgqueuer.queries import Queries


@asynccontextmanager
async def consumer() -> AsyncIterator[PgQueuer]:
    connection = await asyncpg.connect(URL)
    pgq = PgQueuer(AsyncpgDriver(connection))

    @pgq.entrypoint("job")
    async def job(job: Job) -> None:
        stamp()

    yield pgq
    await connection.close()


class _PgQueuer(Client):
    worker = ("-m", "pgqueuer", "run", "with_pgqueuer:consumer")
    bulk = True
    queries: Queries
    watcher: CompletionWatcher
    open: AsyncExitStack

    async def prepare(self) -> None:
        self.open = AsyncExitStack()
        self.queries = Queries(AsyncpgDriver(await self._connect()))
        await self.queries.install()
        driver = AsyncpgDriver(await self._connect())
        watcher = CompletionWatcher(driver, queries=Queries(driver))
        self.watcher = await self.open.enter_async_context(watcher)

    async def _connect(self) -> Any:
        connection = await asyncpg.connect(URL)
        self.open.push_async_callback(connection.close)
        return connection

    async def enqueue(self, number: int, text: str) -> Any:
        return (await self.queries.enqueue("job", _payload(number, text)))[0]

    async def many(self, numbers: Sequence[int], text: str) -> None:
        payloads: list[bytes | None] = [_payload(number, text) for number in numbers]
        await self.queries.enqueue(["job"] * len(payloads), payloads, [0] * len(payloads))

    async def result(self, job: Any) -> None:
        await self.watcher.wait_for(job)

    async def close(self) -> None:
        await self.open.aclose()


def _payload(number: int, text: str) -> bytes:
    return f"{number}:{text}".encode()


CLIENT = _PgQueuer()
