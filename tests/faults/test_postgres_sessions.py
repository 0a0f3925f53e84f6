"""PostgreSQL servers whose sessions turn out other than wished: refused, broken off, impatient."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from tests.faults.shop_support import NAMESPACE, Shop, driving, judged, shop
from tests.servers import own
from treadle import JobState
from treadle.backends.postgres.statements import lock_of
from treadle.clock import SystemClock
from treadle.errors import BackendError
from treadle.ports import Cancel, Reprioritise
from treadle.testing.servers import PostgresServer

pytestmark = pytest.mark.slow

CLOCK = SystemClock()
SECRET = "first-word"


async def tell(server: PostgresServer, *statements: str) -> None:
    """Have the owner of the server say something."""
    wire = await asyncpg.connect(server.url)
    try:
        for statement in statements:
            await wire.execute(statement)
    finally:
        await wire.close()


async def let_in(server: PostgresServer, password: str) -> None:
    """Let an account in with this password only, and break its sessions off."""
    await tell(
        server,
        f"ALTER ROLE jobs PASSWORD '{password}'",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'jobs'",
    )


@asynccontextmanager
async def with_password() -> AsyncIterator[tuple[PostgresServer, str]]:
    """A server that wants a password of an account, and the account's URL."""
    with own(PostgresServer().start) as server:
        entries = server.folder / "data" / "pg_hba.conf"
        text = entries.read_text("utf-8")
        entries.write_text(f"host all jobs 127.0.0.1/32 scram-sha-256\n{text}", "utf-8")
        await tell(
            server,
            f"CREATE ROLE jobs LOGIN PASSWORD '{SECRET}'",
            "GRANT ALL ON SCHEMA public TO jobs",
            "SELECT pg_reload_conf()",
        )
        yield server, f"postgresql://jobs:{SECRET}@127.0.0.1:{server.port}/test"


async def test_a_password_that_changes_under_way() -> None:
    """It is said without the password, nothing is lost, and all is well when it is right again."""
    async with with_password() as (server, url), driving(f"{url}?patience=1.5") as one:
        await one.add()
        await let_in(server, "second-word")
        with pytest.raises(BackendError, match="password authentication failed") as caught:
            await one.add()
        assert SECRET not in str(caught.value)
        await let_in(server, SECRET)
        await one.add()
        assert len(await one.records()) == 2


SETTINGS = {
    "serializable": {"default_transaction_isolation": "serializable"},
    "repeatable": {"default_transaction_isolation": "'repeatable read'"},
    "impatient": {"lock_timeout": "50", "deadlock_timeout": "10"},
    "hasty": {"statement_timeout": "300"},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=list(SETTINGS))
async def test_sessions_that_are_set_otherwise(tmp_path: Path, settings: dict[str, str]) -> None:
    """What a role has set is for its other programs: each job ends once, whoever is in the way."""
    with own(PostgresServer().start) as server:
        await tell(
            server, *(f"ALTER ROLE postgres SET {key} = {settings[key]}" for key in settings)
        )
        async with (
            shop(server.url, tmp_path, "one") as one,
            shop(server.url, tmp_path, "two") as two,
            one.foreman(),
            two.foreman(),
        ):
            await asyncio.gather(produce(one, 0.0), produce(two, 0.01), stand_in_the_way(server))
            await one.until_done(2 * 150)
        await judged(server.url, tmp_path)


async def stand_in_the_way(server: PostgresServer) -> None:
    """Have whoever wants to take a turn wait for longer than it may."""
    wire = await asyncpg.connect(server.url)
    async with wire.transaction():
        await wire.execute("SELECT pg_advisory_xact_lock($1)", lock_of(NAMESPACE))
        await CLOCK.sleep(1.0)
    await wire.close()


async def produce(one: Shop, wait: float) -> None:
    for number in range(50):
        await asyncio.gather(
            one.work.aenqueue(0.01),
            # Of the same keys as those of the other.
            one.work.options(key=f"k{number % 5}").aenqueue(0.01),
            one.work.options(unique=True, priority=number % 3).aenqueue(wait + number / 10_000),
        )


async def test_the_same_jobs_named_in_opposite_order(tmp_path: Path) -> None:
    """Rows are locked in one order, whatever the order in which they are named."""
    with own(PostgresServer(config={"deadlock_timeout": "10"}).start) as server:
        async with (
            shop(server.url, tmp_path, "one") as one,
            shop(server.url, tmp_path, "two") as two,
        ):
            for round_ in range(30):
                names = [f"{round_}-{number}" for number in range(100)]
                await asyncio.gather(enqueued(one, names), enqueued(two, names[::-1]))
                await asyncio.gather(changed(one, names), changed(two, names[::-1]))
            page = await one.app.ajobs(counts=True)
        wire = await asyncpg.connect(server.url)
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'test'"
        assert await wire.fetchval(deadlocks) == 0
        await wire.close()
    assert page.counts == {"default": {JobState.CANCELLED: 30 * 100}}


async def enqueued(one: Shop, names: list[str]) -> None:
    task = one.work
    await one.app.aenqueue_many(task.options(id=name, key="k").bind() for name in names)


async def changed(one: Shop, names: list[str]) -> None:
    await one.app.aalter(Reprioritise(priority=5), ids=tuple(names))
    await one.app.aalter(Cancel(), ids=tuple(names))
