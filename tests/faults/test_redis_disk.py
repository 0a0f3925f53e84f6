"""``durability=fsync`` with a server that does not sync each write, and can be asked for it.

Redis can from 7.2 on, Valkey always could.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.faults.shop_support import driving, judged, shop, url_of
from tests.servers import own, valkey
from treadle.errors import BackendUnavailable
from treadle.testing.servers import RedisServer


def started(appendfsync: str) -> RedisServer:
    config = {"appendonly": "yes", "appendfsync": appendfsync}
    return own(lambda: RedisServer(config=config, program=valkey()).start())


@pytest.mark.slow
async def test_what_was_accepted_is_on_the_disk_when_the_server_is_killed(tmp_path: Path) -> None:
    with started("everysec") as server:
        url = url_of(server.port, "patience=5&durability=fsync")
        async with shop(url, tmp_path) as one, one.foreman():
            for _ in range(3):
                await one.work.aenqueue_many([(0.01,)] * 20)
                with one.unreliable():
                    server.kill()
                    await asyncio.to_thread(server.start)
            await one.until_done(60)
            assert "cmdstat_waitaof" in server.info("commandstats")
        await judged(url_of(server.port), tmp_path)


async def test_nothing_is_accepted_that_the_disk_does_not_have() -> None:
    with started("no") as server:
        async with driving(url_of(server.port, "patience=1&durability=fsync")) as one:
            with pytest.raises(BackendUnavailable, match="its disk does not have it yet"):
                await one.add()


async def test_the_doctor_says_what_is_asked_for() -> None:
    with started("everysec") as server:
        async with driving(url_of(server.port, "durability=fsync")) as one:
            facts = await one.backend.probe()
        assert facts["server"].startswith("Valkey 9")
        assert facts["durability"] == "fsync"
        assert facts["may_lose"] == "nothing when the server is killed or loses power"
