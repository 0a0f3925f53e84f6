"""A standby of PostgreSQL takes over: what it has, what it lacks, and who goes on."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.postgres_support import execute
from tests.faults.shop_support import driving, judged, shop
from tests.servers import own
from treadle.errors import BackendReadOnly
from treadle.records import JobState, PushStatus, Settled
from treadle.testing import eventually
from treadle.testing.ledger import Blow, dump
from treadle.testing.proxy import Proxy
from treadle.testing.servers import PostgresServer
from treadle.testing.servers.binaries import find_binary
from treadle.testing.servers.ports import HOST
from treadle.testing.servers.postgres import give
from treadle.verdicts import Done

pytestmark = pytest.mark.slow


class Standby(PostgresServer):
    """Follows another server."""

    def __init__(self, primary: PostgresServer) -> None:
        super().__init__()
        self._primary = primary

    def prepare(self) -> None:
        """Copy what the primary has."""
        data = self.folder / "data"
        if not data.exists():
            program = find_binary(["pg_basebackup"], package="postgresql")
            whose = ("-h", HOST, "-p", str(self._primary.port), "-U", "postgres")
            how = ("-D", str(data), "-R", "-X", "stream", "-c", "fast", "--no-sync")
            subprocess.run([program, *whose, *how], check=True, capture_output=True, timeout=60)
        if self.user is not None:
            give(self.folder, self.user)

    def follows(self) -> bool:
        """Whether it has all that the primary has written."""
        [[row]] = execute(
            self._primary.url,
            "SELECT count(*) FROM pg_stat_replication WHERE replay_lsn = pg_current_wal_lsn()",
        )
        return bool(row[0])

    def take_over(self) -> None:
        """Be a primary from now on."""
        execute(self.url, "SELECT pg_promote()")


@pytest.fixture
def primary() -> Iterator[PostgresServer]:
    with own(PostgresServer().start) as server:
        yield server


@pytest.fixture
def standby(primary: PostgresServer) -> Iterator[Standby]:
    with own(Standby(primary).start) as server:
        yield server


def waits_for_a_copy(primary: PostgresServer) -> None:
    """A commit counts when a standby has it."""
    execute(primary.url, "ALTER SYSTEM SET synchronous_standby_names = '*'")
    execute(primary.url, "SELECT pg_reload_conf()")


async def test_a_synchronous_standby_has_all_that_was_accepted(
    primary: PostgresServer, standby: Standby, tmp_path: Path
) -> None:
    """And foremen go on with it, once the address leads there."""
    waits_for_a_copy(primary)
    with Proxy(primary.port) as proxy:
        url = f"postgresql://postgres@{HOST}:{proxy.port}/test?patience=5"
        async with shop(url, tmp_path, patience=30.0) as one, one.foreman():
            jobs = await one.work.aenqueue_many([(0.02,) for _ in range(100)])
            await one.doing.wait()
            with one.unreliable():
                # Claims do not wait for the copy, and may be forgotten.
                one.ledger.fault(one.ledger.name, Blow.CRASHED)
                primary.kill()
                await asyncio.to_thread(standby.take_over)
                proxy.target = standby.port
            jobs += await one.work.aenqueue_many([(0.01,) for _ in range(20)])
            await one.until_done(120)
            there = (await dump(await one.app.core.ready())).records
            assert {record.spec.id for record in there} == {job.id for job in jobs}
        await judged(url, tmp_path)


async def test_another_standby_may_lack_the_last_of_it(
    primary: PostgresServer, standby: Standby
) -> None:
    """What it lacks is unknown to it: a late verdict makes no ghost, and a repeat is a new job."""
    with Proxy(primary.port) as proxy:
        async with driving(f"postgresql://postgres@{HOST}:{proxy.port}/test?patience=5") as one:
            known = await one.add()
            await eventually(standby.follows)
            standby.stop()
            late = one.job()
            await one.push(late)
            leases = {lease.spec.id: lease for lease in await one.claim(2)}
            primary.kill()
            standby.start()
            standby.take_over()
            proxy.target = standby.port
            [record] = await one.records()
            assert (record.spec.id, record.state) == (known, JobState.QUEUED)
            assert await one.settle(leases[late.id], Done()) is Settled.UNKNOWN
            assert [one.status for one in await one.push(late)] == [PushStatus.CREATED]


async def test_a_standby_takes_nothing(primary: PostgresServer, standby: Standby) -> None:
    async with driving(primary.url) as one:
        await one.add()
    await eventually(standby.follows)
    async with driving(standby.url) as one:
        assert len(await one.records()) == 1
        with pytest.raises(BackendReadOnly, match="Give the url of the primary"):
            await one.add()
