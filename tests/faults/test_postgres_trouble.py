"""A PostgreSQL server without room or connections, or one whose turns somebody holds."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.backends.postgres_support import execute
from tests.faults.shop_support import driving
from tests.servers import own
from treadle.clock import SystemClock
from treadle.errors import BackendFull, BackendUnavailable, OutcomeUnknown
from treadle.records import Cause, JobState, Lease, PushStatus, Settled
from treadle.testing.contract import Driver
from treadle.testing.servers import PostgresServer
from treadle.verdicts import Done

CLOCK = SystemClock()
pytestmark = pytest.mark.slow


def mounted(place: Path, options: str) -> bool:
    """Whether there is a file system in memory at a place, with these options from now on."""
    words = ("mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place))
    return subprocess.run(words, check=False, capture_output=True).returncode == 0


@pytest.fixture
def small() -> Iterator[PostgresServer]:
    """A server whose database ``jobs`` is in a file system of 16 MB; its log has all the room."""
    server = own(PostgresServer)
    place = server.folder / "small"
    place.mkdir()
    if not mounted(place, "size=16m"):
        server.close()
        pytest.skip("this user cannot make a file system")
    try:
        own(server.start)
        everything = server.url_of("postgres")
        execute(everything, f"CREATE TABLESPACE small LOCATION '{place}'")
        execute(everything, "CREATE DATABASE jobs TABLESPACE small")
        yield server
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)
        server.close()


async def test_on_a_full_disk_nothing_is_accepted_and_nothing_is_lost(
    small: PostgresServer,
) -> None:
    """Neither do running jobs end until there is room: their rows are written anew."""
    async with driving(small.url_of("jobs")) as one:
        await one.add_many(20)
        running = await one.claim(10)
        accepted = 20 + await filled(one, BackendFull)
        with pytest.raises(BackendFull):
            await ended(one, running, b"x" * 5000)
        await asyncio.to_thread(mounted, small.folder / "small", "remount,size=64m")
        assert await ended(one, running) <= {Settled.OK, Settled.ALREADY}
        assert len(await one.claimed(10_000)) == accepted - 10


@pytest.fixture
def short() -> Iterator[PostgresServer]:
    """A server whose log is in a file system that has room for the first of its files."""
    server = own(PostgresServer)
    server.prepare()
    log, place = server.folder / "data" / "pg_wal", server.folder / "log"
    place.mkdir()
    if not mounted(place, "size=20m"):
        server.close()
        pytest.skip("this user cannot make a file system")
    try:
        shutil.copytree(log, place, dirs_exist_ok=True)
        shutil.rmtree(log)
        log.symlink_to(place)
        own(server.start)
        yield server
    finally:
        server.kill()
        subprocess.run(["umount", "-l", str(place)], check=True)
        server.close()


# The server that is started again is a new child of this process.
@pytest.mark.leaves("children", "files")
async def test_without_room_for_its_log_the_server_is_away_and_loses_nothing(
    short: PostgresServer,
) -> None:
    async with driving(f"{short.url}?patience=2") as one:
        running = await one.run()
        accepted = await filled(one, BackendUnavailable, OutcomeUnknown)
        await asyncio.to_thread(mounted, short.folder / "log", "remount,size=200m")
        short.kill()
        await asyncio.to_thread(short.start)
        assert await one.settle(running, Done()) is Settled.OK
        # Of the last push nobody knows, but it is there as a whole or not at all.
        assert len(await one.claimed(100_000)) in (accepted, accepted + 50)


async def filled(one: Driver, *refusals: type[Exception]) -> int:
    """Push until there is no room; how many jobs were accepted."""
    for rounds in range(1000):
        try:
            await one.push(*[one.job(payload=b"x" * 5000) for _ in range(50)])
        except refusals:
            return rounds * 50
    raise AssertionError("it is never full")


async def ended(one: Driver, leases: Iterable[Lease], result: bytes | None = None) -> set[Settled]:
    return {await one.settle(lease, Done(result=result)) for lease in leases}


async def test_more_connections_than_the_server_has() -> None:
    """Who asks for one more is told, and has it as soon as one is free."""
    with own(PostgresServer(config={"max_connections": "4"}).start) as server:
        others = [await asyncpg.connect(server.url) for _ in range(4)]
        with pytest.raises(BackendUnavailable, match="too many clients"):
            async with driving(f"{server.url}?patience=1.5"):
                pass
        await others.pop().close()
        async with driving(f"{server.url}?patience=5") as one:
            await one.add()
        for wire in others:
            await wire.close()


async def test_who_stands_still_in_a_step_holds_up_the_others_for_some_seconds() -> None:
    """The server ends his transaction, and he does it again when he goes on."""
    with own(PostgresServer().start) as server:
        async with driving(server.url) as still, driving(server.url) as other:
            await other.add()
            inside, goes_on = asyncio.Event(), asyncio.Event()
            times = 0

            async def step(_: Any) -> None:
                nonlocal times
                times += 1
                inside.set()
                await goes_on.wait()

            standing = asyncio.create_task(still.backend._store.write(step))  # type: ignore[attr-defined]
            await inside.wait()
            began = CLOCK.monotonic()
            await other.add(key="in turns")
            assert 1.0 < CLOCK.monotonic() - began < 15.0
            goes_on.set()
            await standing
            assert times == 2


async def test_without_waiting_for_the_disk_the_last_moments_may_be_gone() -> None:
    """But never half of a change: a repeat of what is gone is accepted as new."""
    slowly = {"wal_writer_delay": "10000"}
    with own(PostgresServer(config=slowly, fsync=True).start) as server:
        async with driving(server.url) as full:
            kept = await full.add()
        async with driving(f"{server.url}?durability=normal") as one:
            late = one.job()
            await one.push(late)
            server.kill()
            server.start()
            [record] = await one.records()
            assert (record.spec.id, record.state) == (kept, JobState.QUEUED)
            assert [said.status for said in await one.push(late)] == [PushStatus.CREATED]
            assert len(await one.claimed(10)) == 2


@pytest.mark.parametrize("bytes_", [r"'\x'", r"'\xc1'", r"'\x93c0c0c0'", "substring(spec for 5)"])
async def test_a_job_whose_row_is_damaged_is_set_aside(bytes_: str) -> None:
    """With its key, which the next one gets; the others are served."""
    with own(PostgresServer().start) as server:
        async with driving(server.url) as one:
            damaged = [await one.add(tags=("x",)), await one.add(key="k")]
            others = [await one.add(), await one.add(key="k")]
            for job in damaged:
                execute(server.url, f"UPDATE faults_id SET spec = {bytes_} WHERE id = '{job}'")
            served = [*await one.claimed(10), *await one.claimed(10)]
            assert sorted(served) == sorted(others)
            records = {record.spec.id: record for record in await one.records()}
            assert {records[job].cause for job in damaged} == {Cause.UNDECODABLE}
