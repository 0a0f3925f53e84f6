"""A store of which the work of a step is counted, in steps of a machine and not in time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.backends.postgres_support import execute
from tests.servers import own
from treadle.backends import open as open_backend
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Claimed, Settlement
from treadle.records import NewJob, Session, SessionInfo, Settled
from treadle.testing import ManualClock
from treadle.testing.servers import PostgresServer, RedisServer
from treadle.verdicts import Done

__all__ = ["Bench", "bench", "ids"]

ids = SystemIds()
STEP = 100
"""Instructions of SQLite's machine between two looks at their number."""

_Step = Callable[[], Awaitable[object]]
_Counter = Callable[[Backend, _Step], Awaitable[int]]


class Bench:
    """A store, one session, and what counts its work."""

    def __init__(
        self, backend: Backend, clock: ManualClock, who: Session, counter: _Counter
    ) -> None:
        self.backend = backend
        self.clock = clock
        self.who = who
        self.request = 0
        self._counter = counter

    async def push(self, number: int, **fields: Any) -> list[NewJob]:
        made = [NewJob(id=ids.new(), task="t", payload=b"p", **fields) for _ in range(number)]
        for at in range(0, number, 1000):
            await self.backend.push(made[at : at + 1000])
        return made

    async def claim(self, limit: int = 10, **fields: Any) -> Claimed:
        self.request += 1
        return await self.backend.claim(
            Claim(session=self.who, request=self.request, limit=limit, **fields)
        )

    async def finish(self, claimed: Claimed) -> None:
        ends = [Settlement(token=one.token, verdict=Done()) for one in claimed.leases]
        assert set(await self.backend.settle(ends)) <= {Settled.OK}

    async def serve(self, limit: int = 10, **fields: Any) -> Claimed:
        claimed = await self.claim(limit, **fields)
        await self.finish(claimed)
        return claimed

    async def work(self, step: _Step) -> int:
        """How much a step does, in the units of the store."""
        return await self._counter(self.backend, step)


async def _instructions(backend: Backend, step: _Step) -> int:
    """Instructions of SQLite's machine."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += STEP
        return 0

    assert isinstance(backend, SqliteBackend)
    connection = backend._store.journal.connection
    connection.set_progress_handler(tick, STEP)
    try:
        await step()
    finally:
        connection.set_progress_handler(None, 0)
    return count


async def _calls(backend: Backend, step: _Step) -> int:
    """Calls of Python functions."""
    count = 0

    def called(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(called)
    try:
        await step()
    finally:
        sys.setprofile(before)
    return count


def _commands(server: RedisServer) -> _Counter:
    """Commands that the server carries out, those of scripts among them."""

    def carried_out() -> int:
        found = server.info("commandstats").values()
        return sum(int(one.split("calls=")[1].split(",")[0]) for one in found)

    async def count(backend: Backend, step: _Step) -> int:
        before = carried_out()
        await step()
        return carried_out() - before

    return count


_ROWS_READ = """SELECT (SELECT sum(seq_tup_read) FROM pg_stat_user_tables)
    + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes)"""
_ENDED = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'treadle'"


def _rows(url: str) -> _Counter:
    """Rows and entries of indexes that the server reads."""

    async def read(backend: Backend) -> int:
        # A connection tells what it has read when it ends, if not before.
        await backend.aclose()
        while await asyncio.to_thread(execute, url, _ENDED) != [[]]:
            pass
        [[row]] = await asyncio.to_thread(execute, url, _ROWS_READ)
        return int(row[0])

    async def count(backend: Backend, step: _Step) -> int:
        before = await read(backend)
        await step()
        return await read(backend) - before

    return count


@contextmanager
def _store(kind: str, folder: Path) -> Iterator[tuple[str, _Counter]]:
    """The URL of a store of its own, and what counts its work."""
    if kind == "memory":
        yield "memory://", _calls
    elif kind == "sqlite":
        yield f"sqlite:///{folder}/jobs.db?durability=normal", _instructions
    elif kind == "redis":
        with own(RedisServer().start) as server:
            yield server.url, _commands(server)
    else:
        # Vacuum and its statistics read rows as well.
        with own(PostgresServer(config={"autovacuum": "off"}).start) as server:
            yield server.url, _rows(server.url)


@asynccontextmanager
async def bench(kind: str, folder: Path) -> AsyncIterator[Bench]:
    clock = ManualClock()
    store: AbstractContextManager[tuple[str, _Counter]] = _store(kind, folder)
    with store as (url, counter):
        backend = open_backend(url, clock=clock, ids=ids)
        await backend.open()
        try:
            who = await backend.open_session(SessionInfo(name="one"))
            yield Bench(backend, clock, who, counter)
        finally:
            await backend.aclose()
            backend.close()
