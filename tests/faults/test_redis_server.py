"""Redis servers that die, freeze, forget, fill up, or say no: what was accepted ends, and once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest

from tests.faults.shop_support import LEASE, Shop, driving, judged, shop, url_of
from tests.servers import own
from treadle.backends.redis import connect
from treadle.clock import SystemClock
from treadle.errors import BackendError, BackendFull, BackendUnavailable, Unsupported
from treadle.events import Event
from treadle.ports import Delete, Query
from treadle.records import JobState, PushStatus, Renewal, Settled
from treadle.testing import eventually
from treadle.testing.servers import RedisServer
from treadle.testing.servers.resp import RespError
from treadle.verdicts import Done

CLOCK = SystemClock()
KEPT = {"appendonly": "yes", "appendfsync": "everysec"}


def started(config: Mapping[str, str] | None = None) -> RedisServer:
    return own(RedisServer(config=config).start)


async def produce(one: Shop, count: int, wait: float) -> None:
    for _ in range(count):
        await one.work.aenqueue(wait)
        await CLOCK.sleep(0.01)


# ------------------------------------------------------------- deaths


@pytest.mark.slow
async def test_killed_again_and_again_under_load(tmp_path: Path) -> None:
    """With its file, a server that is killed loses nothing that it had accepted."""
    with started({**KEPT, "appendfsync": "always"}) as server:
        url = url_of(server.port, "patience=5&durability=fsync")
        async with shop(url, tmp_path) as one, one.foreman():
            producing = asyncio.create_task(produce(one, 300, 0.01))
            for _ in range(4):
                await CLOCK.sleep(0.5)
                with one.unreliable():
                    server.kill()
                    await CLOCK.sleep(0.3)
                    await asyncio.to_thread(server.start)
            await producing
            await one.until_done(300)
        await judged(url_of(server.port), tmp_path)


@pytest.mark.slow
async def test_frozen_for_longer_than_the_lease(tmp_path: Path) -> None:
    """Who cannot renew stops; when the server goes on, so does everything, each job once."""
    with started() as server:
        async with shop(url_of(server.port, "patience=1"), tmp_path) as one, one.foreman():
            await one.work.aenqueue_many([(0.2,)] * 30)
            await one.doing.wait()
            with one.unreliable():
                server.freeze()
                await CLOCK.sleep(2 * LEASE)
                server.thaw()
            await one.until_done(30)
        await judged(url_of(server.port), tmp_path)


@pytest.mark.slow
async def test_an_outage_longer_than_the_lease_blames_nobody(tmp_path: Path) -> None:
    """Who ran a job gives it back before anybody takes it for lost: none becomes a suspect."""
    with started() as server:
        async with shop(url_of(server.port, "patience=1"), tmp_path) as one, one.foreman():
            jobs = await one.work.aenqueue_many([(0.2,)] * 30)
            await one.doing.wait()
            # A foreman is present for longer at first, and its lease is a short one here.
            server.ask("EVAL", _PRESENT_FOR, "0", str(LEASE))
            with one.unreliable():
                server.freeze()
                await CLOCK.sleep(2 * LEASE)
                server.thaw()
            await one.until_done(30)
            records = [await job.arecord() for job in jobs]
            assert [record.crashes for record in records] == [0] * 30
        await judged(url_of(server.port), tmp_path)


_PRESENT_FOR = """
local till = redis.call('TIME')[1] + ARGV[1]
for _, key in ipairs(redis.call('KEYS', '*:s:*')) do redis.call('HSET', key, 'until', till) end
for _, key in ipairs(redis.call('KEYS', '*:sessions')) do
  for _, name in ipairs(redis.call('ZRANGE', key, 0, -1)) do redis.call('ZADD', key, till, name) end
end
"""


# ------------------------------------------------------------- forgetting


@pytest.mark.parametrize("how", ["restarted empty", "flushed"])
async def test_a_server_that_forgot_everything_is_noticed(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is said aloud, and the foreman serves what comes after."""
    with started() as server:
        async with shop(url_of(server.port), tmp_path) as one, one.foreman():
            heard: list[Event] = []
            one.app.on("backend.lost_data", heard.append)
            await one.work.aenqueue()
            await one.until_done(1)
            await one.work.aenqueue(30.0)
            if how == "flushed":
                server.ask("FLUSHALL")
            else:
                server.kill()
                await asyncio.to_thread(server.start)
            await eventually(lambda: bool(heard), patience=60.0)
            assert (heard[0].name, heard[0].data["reason"]) == ("backend.lost_data", "emptied")
            assert "backend.lost_data" in caplog.text
            await one.work.aenqueue()
            await one.until_done(1)


async def test_an_older_copy_of_the_data_is_noticed(tmp_path: Path) -> None:
    with started({"save": "3600 1"}) as server:
        saved = tmp_path / "older.rdb"
        async with driving(url_of(server.port)) as one:
            await one.extend()
            server.ask("SAVE")
            shutil.copy(server.folder / "dump.rdb", saved)
            heard: list[Event] = []

            async def listen() -> None:
                async for event in one.backend.subscribe("*"):
                    heard.append(event)  # noqa: PERF401 - it has no end

            listening = asyncio.create_task(listen())
            for _ in range(2):
                # Each connection that is new looks at once.
                server.ask("CLIENT", "KILL", "TYPE", "normal")
                await one.extend()
            server.kill()
            shutil.copy(saved, server.folder / "dump.rdb")
            await asyncio.to_thread(server.start)
            await one.extend()
            await eventually(lambda: bool(heard))
            assert heard[0].data["reason"] == "rolled_back"
            listening.cancel()


async def test_a_fence_that_was_given_out_twice_is_no_proof(tmp_path: Path) -> None:
    """The server goes back to before a claim and gives the same fence to another session."""
    with started({"save": "3600 1"}) as server:
        saved = tmp_path / "older.rdb"
        async with driving(url_of(server.port)) as one:
            await one.add()
            await one.session("one")
            await one.session("two")
            server.ask("SAVE")
            shutil.copy(server.folder / "dump.rdb", saved)
            early = await one.take(who="one")
            server.kill()
            shutil.copy(saved, server.folder / "dump.rdb")
            await asyncio.to_thread(server.start)
            late = await one.take(who="two")
            assert early.token.fence == late.token.fence
            assert await one.settle(early, Done(result=b"early")) is Settled.LOST
            assert await one.extend(early, who="one") == [Renewal.LOST]
            await one.done(late, b"late")
            assert (await one.record(late.spec.id)).result == b"late"


async def test_a_verdict_about_a_forgotten_job_makes_no_ghost() -> None:
    with started() as server:
        async with driving(url_of(server.port)) as one:
            lease = await one.run()
            server.ask("FLUSHALL")
            assert await one.settle(lease, Done(result=b"x")) is Settled.UNKNOWN
            assert await one.extend(lease) == [Renewal.LOST]
            assert await one.records() == ()
            [again] = await one.push(lease.spec)
            assert again.status is PushStatus.CREATED


# ------------------------------------------------------------- memory


async def test_a_full_server_refuses_new_jobs_and_lets_old_ones_end() -> None:
    with started({"maxmemory-policy": "noeviction"}) as server:
        async with driving(url_of(server.port)) as one:
            await one.add_many(200, payload=b"x" * 2000)
            leases = await one.claim(50)
            used = int(server.info("memory")["used_memory"])
            server.ask("CONFIG", "SET", "maxmemory", used - 100_000)
            with pytest.raises(BackendFull, match="no memory left; nothing was changed"):
                await one.add(payload=b"x" * 2000)
            assert await one.extend(*leases, started=True) == [Renewal.HELD] * 50
            for lease in leases:
                await one.done(lease, None)
            while more := await one.claim(50):
                for lease in more:
                    await one.done(lease, None)
            # To forget what has ended makes room.
            over = Query(states=(JobState.SUCCEEDED,), limit=200)
            assert len((await one.backend.alter(over, Delete())).done) == 200
            await one.add(payload=b"x" * 2000)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_throws_keys_away_is_refused(policy: str) -> None:
    with started({"maxmemory-policy": policy}) as server:
        backend = connect(url_of(server.port))
        with pytest.raises(Unsupported, match=f"maxmemory-policy {policy}"):
            await backend.open()
        await backend.aclose()


# ------------------------------------------------------------- durability


@pytest.mark.parametrize(
    ("config", "durability", "says"),
    [
        ({}, "everysec", "gives durability=memory"),
        ({}, "fsync", "gives durability=memory"),
        (KEPT, "replica", "has 0 replicas"),
    ],
)
async def test_a_durability_that_is_not_there_is_refused(
    config: Mapping[str, str], durability: str, says: str
) -> None:
    with started(config) as server:
        backend = connect(url_of(server.port, f"durability={durability}"))
        with pytest.raises(Unsupported, match=says):
            await backend.open()
        await backend.aclose()


@pytest.mark.parametrize(
    ("config", "durability"),
    [
        ({}, "memory"),
        (KEPT, "memory"),
        (KEPT, "everysec"),
        ({**KEPT, "appendfsync": "always"}, "everysec"),
        ({**KEPT, "appendfsync": "always"}, "fsync"),
    ],
)
async def test_a_durability_that_is_there(config: Mapping[str, str], durability: str) -> None:
    with started(config) as server:
        async with driving(url_of(server.port, f"durability={durability}")) as one:
            await one.add()
            facts = await one.backend.probe()
            assert facts["durability"] in {durability, "everysec", "fsync"}


# ------------------------------------------------------------- refusals


async def test_forgotten_scripts_are_sent_again(tmp_path: Path) -> None:
    with started() as server:
        async with shop(url_of(server.port), tmp_path) as one, one.foreman():
            for _ in range(10):
                await one.work.aenqueue_many([(0.0,)] * 5)
                server.ask("SCRIPT", "FLUSH")
            await one.until_done(50)
        await judged(url_of(server.port), tmp_path)


async def test_a_busy_server_is_waited_for() -> None:
    """Somebody's script runs for longer than it should."""
    with started({"busy-reply-threshold": "50"}) as server:
        async with driving(url_of(server.port)) as one:
            await one.add()

            def hog() -> None:
                with suppress(OSError, RespError):
                    server.ask("EVAL", "while true do end", 0)

            hogging = asyncio.create_task(asyncio.to_thread(hog))
            await eventually(lambda: _busy(server))
            waiting = asyncio.create_task(one.add())
            await CLOCK.sleep(0.3)
            assert not waiting.done()
            server.ask("SCRIPT", "KILL")
            await waiting
            await hogging
            assert len(await one.records()) == 2


def _busy(server: RedisServer) -> bool:
    try:
        server.ask("GET", "x")
    except RespError as refused:
        return str(refused).startswith("BUSY")
    return False


async def test_a_server_that_became_a_replica_takes_nothing() -> None:
    with started() as server, started() as other:
        async with driving(url_of(server.port, "patience=1.5")) as one:
            job = one.job()
            await one.push(job)
            server.ask("REPLICAOF", "127.0.0.1", other.port)
            with pytest.raises(BackendUnavailable, match=r"cannot answer now|does not answer"):
                await one.add()
            server.ask("REPLICAOF", "NO", "ONE")
            await one.add()


async def test_a_password_that_changes_under_way() -> None:
    """It is said without the password, nothing is lost, and all is well when it is right again."""
    users = ["default on nopass ~* &* +@all", "jobs on >first ~* &* +@all"]
    with own(RedisServer(users=users).start) as server:
        url = f"redis://jobs:first@127.0.0.1:{server.port}?patience=1.5"
        async with driving(url) as one:
            await one.add()
            server.ask("ACL", "SETUSER", "jobs", "resetpass", ">second")
            server.ask("CLIENT", "KILL", "USER", "jobs")
            with pytest.raises(BackendError, match="password in the URL") as caught:
                await one.add()
            assert "first" not in str(caught.value)
            server.ask("ACL", "SETUSER", "jobs", "resetpass", ">first")
            await one.add()
            assert len(await one.records()) == 2
