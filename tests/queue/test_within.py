"""Jobs that exist when the transaction of the caller does."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.queue.conftest import run_all
from treadle import CONTEXT, Context, Event, JobState, QueueFull, Treadle
from treadle.errors import (
    BackendError,
    BackendStalled,
    Blocking,
    DuplicateJob,
    InvalidCall,
    InvalidOption,
    JobNotFound,
    TransactionTooLong,
    Unsupported,
    UsageError,
)
from treadle.testing import ManualClock, eventually


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        connection.execute("CREATE TABLE orders (number INTEGER PRIMARY KEY)")
    return tmp_path / "jobs.db"


@pytest.fixture
async def shop(path: Path) -> AsyncIterator[Treadle]:
    async with Treadle(f"sqlite:///{path}?foreign=allow&durability=normal&patience=0.5") as app:
        yield app


def orders(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT number FROM orders ORDER BY 1")]


INSERT = "INSERT INTO orders (number) VALUES (?)"


async def test_rows_and_jobs_are_committed_together(shop: Treadle, path: Path) -> None:
    @shop.task(name="ship")
    async def ship(number: int) -> int:
        return number

    async with shop.connect() as connection:
        connection.execute(INSERT, (1,))
        job = await ship.options(within=connection, priority=3).aenqueue(1)
        assert job.created
        assert orders(path) == []
        with pytest.raises(JobNotFound):
            await job.arecord()
    assert orders(path) == [1]
    assert (await job.arecord()).spec.priority == 3
    await run_all(shop)
    assert await job.aresult() == 1


async def test_neither_is_there_when_the_block_raises(shop: Treadle, path: Path) -> None:
    @shop.task(name="ship")
    async def ship(number: int) -> int:
        return number

    jobs: list[Any] = []
    with pytest.raises(ZeroDivisionError):  # noqa: PT012 - the block
        async with shop.connect() as connection:
            connection.execute(INSERT, (1,))
            jobs.append(await ship.options(within=connection).aenqueue(1))
            raise ZeroDivisionError
    assert orders(path) == []
    with pytest.raises(JobNotFound):
        await jobs[0].arecord()
    async with shop.connect() as connection:  # the file is free again
        connection.execute(INSERT, (2,))
    assert orders(path) == [2]


def test_plain_code_has_the_same(path: Path) -> None:
    with Treadle(f"sqlite:///{path}?foreign=allow") as app:

        @app.task(name="ship", unique=True)
        def ship(number: int) -> int:
            return number

        with app.connect() as connection:
            connection.execute(INSERT, (7,))
            bound = ship.options(within=connection)
            one = bound.enqueue(7)
            more = bound.enqueue_many([(8,), (9,), (8,)])
            last = app.enqueue(bound, 10)
            other = app.enqueue_many([bound.bind(11)])
        assert [job.created for job in (one, *more, last, *other)] == [
            *(True, True, True, False, True, True)
        ]
        assert more[2].id == more[0].id
        assert one.record().state is JobState.QUEUED
        assert app.jobs(queue="default").examined == 5
    assert orders(path) == [7]


async def test_who_waits_is_woken_by_the_commit(shop: Treadle) -> None:
    @shop.task(name="ship")
    async def ship() -> None: ...

    backend: Any = await shop.core.ready()
    waiting = asyncio.ensure_future(backend.wait(["default"], 60.0))
    # It has looked, and will not look again by itself for seconds.
    now, hub = shop.core.clock.now, backend._store.hub
    await eventually(lambda: any(one.look_at > now() + 6 for one in hub._queues))
    async with shop.connect() as connection:
        await ship.options(within=connection).aenqueue()
        assert not waiting.done()
    async with asyncio.timeout(3):
        await waiting


async def test_nobody_is_told_of_a_job_that_may_never_be(shop: Treadle) -> None:
    heard: list[Event] = []
    shop.on("job.enqueued", heard.append)

    @shop.task(name="ship")
    async def ship() -> None: ...

    async with shop.connect() as connection:
        await ship.options(within=connection).aenqueue()
    await ship.aenqueue()
    await shop.core.bus.drain()
    assert len(heard) == 1


async def test_what_is_refused_leaves_the_transaction_as_it_was(shop: Treadle, path: Path) -> None:
    @shop.task(name="ship", unique={"by": True, "on_conflict": "error"}, bound=2)
    async def ship(number: int) -> None: ...

    async with shop.connect() as connection:
        connection.execute(INSERT, (1,))
        bound = ship.options(within=connection)
        first = await bound.aenqueue(1)
        with pytest.raises(DuplicateJob) as caught:
            await bound.aenqueue(1)
        assert caught.value.holder == first.id
        await bound.aenqueue(2)
        with pytest.raises(QueueFull):
            await bound.aenqueue(3)
        with pytest.raises(InvalidOption):
            await bound.options(id=first.id, within=connection, priority=1000).aenqueue(4)
        connection.execute(INSERT, (2,))
    assert orders(path) == [1, 2]
    assert (await shop.ajobs(queue="default")).examined == 2


async def test_what_fails_on_the_way_leaves_nothing_behind(shop: Treadle, path: Path) -> None:
    @shop.task(name="ship")
    async def ship(number: int) -> None: ...

    async with shop.connect() as connection:
        connection.execute(INSERT, (1,))
        # The second of them cannot be written, after the first was.
        connection.execute(
            "CREATE TEMP TRIGGER refuse BEFORE INSERT ON treadle_body "
            "BEGIN SELECT RAISE(ABORT, 'no') WHERE (SELECT count(*) FROM treadle_body) > 0; END"
        )
        with pytest.raises(BackendError, match="no"):
            await ship.options(within=connection).aenqueue_many([(1,), (2,)])
        connection.execute("DROP TRIGGER refuse")
        assert connection.execute("SELECT count(*) FROM treadle_job").fetchone() == (0,)
    assert orders(path) == [1]
    assert not (await shop.ajobs(queue="default")).records


async def test_a_savepoint_of_the_caller_takes_jobs_back(shop: Treadle, path: Path) -> None:
    @shop.task(name="ship")
    async def ship(number: int) -> int:
        return number

    async with shop.connect() as connection:
        bound = ship.options(within=connection)
        kept = [await bound.aenqueue(1)]
        connection.execute("SAVEPOINT mine")
        connection.execute(INSERT, (1,))
        gone = await bound.aenqueue(2)
        connection.execute("ROLLBACK TO mine")
        kept.append(await bound.aenqueue(3))
    assert orders(path) == []
    with pytest.raises(JobNotFound):
        await gone.arecord()
    kept.append(await ship.aenqueue(4))
    await run_all(shop)
    assert [await job.aresult() for job in kept] == [1, 3, 4]


async def test_the_caller_sets_the_connection_as_he_likes(shop: Treadle) -> None:
    @shop.task(name="ship", unique=True, key="a")
    async def ship(number: int) -> int:
        return number

    async with shop.connect() as connection:
        connection.row_factory = lambda cursor, row: dict(
            zip([one[0] for one in cursor.description], row, strict=True)
        )
        connection.text_factory = bytes
        job = await ship.options(within=connection).aenqueue(1)
        again = await ship.options(within=connection).aenqueue(1)
        assert again.id == job.id
        assert connection.execute("SELECT 'a' AS b").fetchone() == {"b": b"a"}
        assert [*connection.execute("SELECT 1 AS b UNION SELECT 2")] == [{"b": 1}, {"b": 2}]
        assert connection.execute("SELECT 1 AS b").fetchmany(5) == [{"b": 1}]
    await run_all(shop)
    assert await job.aresult() == 1


ENDS: dict[str, Callable[[Any], Any]] = {
    "commit": lambda connection: connection.commit(),
    "rollback": lambda connection: connection.rollback(),
    "close": lambda connection: connection.close(),
    "with": lambda connection: connection.__enter__(),
    "leave": lambda connection: connection.__exit__(None, None, None),
    "script": lambda connection: connection.executescript("SELECT 1"),
    "script of a cursor": lambda connection: connection.cursor().executescript("SELECT 1"),
    "statement": lambda connection: connection.execute("COMMIT"),
    "statement in disguise": lambda connection: connection.execute("/* */ rollback"),
    "of a cursor": lambda connection: connection.cursor().execute("END"),
}


@pytest.mark.parametrize("way", ENDS)
async def test_only_the_block_ends_the_transaction(shop: Treadle, path: Path, way: str) -> None:
    async with shop.connect() as connection:
        connection.execute(INSERT, (1,))
        with pytest.raises((UsageError, sqlite3.DatabaseError)):
            ENDS[way](connection)
        connection.executemany(INSERT, [(2,), (3,)])
        assert orders(path) == []
    assert orders(path) == [1, 2, 3]
    with pytest.raises((UsageError, sqlite3.ProgrammingError)):
        connection.execute(INSERT, (4,))


async def test_who_takes_too_long_is_rolled_back_and_told(path: Path) -> None:
    clock = ManualClock()
    async with Treadle(f"sqlite:///{path}?foreign=allow", clock=clock) as app:

        @app.task(name="ship")
        async def ship(number: int) -> None: ...

        with pytest.raises(TransactionTooLong, match="longer than 2 s"):  # noqa: PT012 - the block
            async with app.connect(limit=2) as connection:
                connection.execute(INSERT, (1,))
                await ship.options(within=connection).aenqueue(1)
                await clock.aadvance(3)
                # Somebody else has his turn, although the block goes on.
                await ship.aenqueue(2)
                with pytest.raises(TransactionTooLong):
                    connection.execute(INSERT, (2,))
                with pytest.raises(TransactionTooLong):
                    await ship.options(within=connection).aenqueue(3)
        assert orders(path) == []
        assert (await app.ajobs(queue="default")).examined == 1
        # At its end at the latest, whatever it does in between.
        with pytest.raises(TransactionTooLong):  # noqa: PT012 - the block
            async with app.connect(limit=2) as connection:
                connection.execute(INSERT, (3,))
                await clock.aadvance(3)
        assert orders(path) == []


COUNT = """
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1e12)
SELECT max(i) FROM n
"""


def test_a_statement_without_end_is_interrupted(path: Path) -> None:
    with Treadle(f"sqlite:///{path}?foreign=allow") as app:
        with pytest.raises(TransactionTooLong), app.connect(limit=0.1) as connection:
            connection.execute(COUNT)
        with app.connect() as connection:
            connection.execute(INSERT, (2,))
    assert orders(path) == [2]


async def test_who_waits_for_himself_is_told_so(shop: Treadle) -> None:
    @shop.task(name="ship")
    async def ship() -> None: ...

    async with shop.connect():
        with pytest.raises(BackendStalled, match="within=connection"):
            await ship.aenqueue()
        with pytest.raises(BackendStalled, match="in this process"):
            async with shop.connect():
                pass


async def test_two_namespaces_of_a_file_share_a_transaction(path: Path) -> None:
    url = f"sqlite:///{path}?foreign=allow"
    async with Treadle(url, namespace="one") as one, Treadle(url, namespace="two") as two:

        async def ship() -> int:
            return 1

        first, second = one.task(name="a")(ship), two.task(name="b")(ship)
        async with one.connect() as connection:
            await first.options(within=connection).aenqueue()
            await second.options(within=connection).aenqueue()
        for app in (one, two):
            assert (await app.ajobs(queue="default")).examined == 1


async def test_wrong_connections_are_refused(shop: Treadle, tmp_path: Path) -> None:
    @shop.task(name="ship")
    async def ship() -> None: ...

    with closing(sqlite3.connect(tmp_path / "jobs.db")) as stranger:
        refused = ship.options(within=stranger).aenqueue()
        with pytest.raises(InvalidOption, match=r"app\.connect\(\)"):
            await refused
    async with Treadle(f"sqlite:///{tmp_path}/other.db") as other:
        async with other.connect() as connection:
            with pytest.raises(InvalidOption, match=r"other\.db.*jobs\.db"):
                await ship.options(within=connection).aenqueue()
        with pytest.raises(InvalidOption, match=r"other\.db"):
            await ship.options(within=connection).aenqueue()
    async with shop.connect() as connection:
        pass
    with pytest.raises(UsageError, match="has ended"):
        await ship.options(within=connection).aenqueue()


async def test_calls_of_different_transactions_are_refused_together(shop: Treadle) -> None:
    @shop.task(name="ship")
    async def ship(number: int) -> None: ...

    async with shop.connect() as connection:
        bound = ship.options(within=connection)
        with pytest.raises(InvalidCall, match="same within="):
            await shop.aenqueue_many([bound.bind(1), ship.bind(2)])
    assert (await shop.ajobs(queue="default")).examined == 0


async def test_uses_that_cannot_be_are_refused(shop: Treadle) -> None:
    @shop.task(name="ship", bound=1, on_full="wait")
    async def ship() -> None: ...

    with pytest.raises(InvalidOption, match="cannot wait in a transaction"):
        ship.options(within=object())
    with pytest.raises(Blocking, match="async with"), shop.connect():
        pass
    async with shop.connect() as connection:
        with pytest.raises(Blocking):
            ship.options(on_full="error", within=connection).enqueue()


async def test_a_backend_without_transactions_says_so(memory: Treadle) -> None:
    @memory.task(name="ship")
    async def ship() -> None: ...

    with pytest.raises(Unsupported, match="transactions") as caught:
        async with memory.connect():
            pass
    assert (caught.value.backend, caught.value.feature) == ("memory://", "transactions")
    with pytest.raises(Unsupported, match="memory://"):
        await ship.options(within=object()).aenqueue()
    with pytest.raises(Unsupported, match="memory://"):
        await ship.aenqueue_many([ship.options(within=object()).bind()])

    with pytest.raises(Unsupported, match="'late'"):

        @memory.task(name="late", transaction=True)
        async def late() -> None: ...


async def test_a_follow_up_is_not_pushed_within(shop: Treadle) -> None:
    @shop.task(name="ship")
    async def ship(ctx: Context = CONTEXT) -> None:
        with pytest.raises(UsageError, match="not within="):
            ctx.enqueue(ship.options(within=object()))

    job = await ship.aenqueue()
    await run_all(shop)
    assert await job.aresult() is None


async def test_middleware_surrounds_it(shop: Treadle) -> None:
    seen: list[str] = []

    @shop.middleware
    async def tenant(ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
        if ctx.phase == "enqueue":
            ctx.headers["tenant"] = "acme"
        else:
            seen.append(ctx.headers["tenant"])
        return await call_next(ctx)

    @shop.task(name="ship")
    async def ship(number: int) -> None: ...

    async with shop.connect() as connection:
        bound = ship.options(within=connection)
        await bound.aenqueue(1)
        await bound.aenqueue_many([(2,), (3,)])
    await run_all(shop)
    assert seen == ["acme"] * 3
