"""Foremen whose way to Redis breaks, hangs or crawls: their jobs end, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.redis_support import LEASE, Shop, judged, shop, text_of, url_of
from tests.servers import own
from treadle.clock import SystemClock
from treadle.testing import eventually
from treadle.testing.proxy import Proxy, Way
from treadle.testing.servers import RedisServer

CLOCK = SystemClock()


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    server.ask("FLUSHALL")
    with Proxy(server.port) as proxy:
        yield proxy


@asynccontextmanager
async def behind(
    proxy: Proxy, directory: Path, options: str = "patience=0.5"
) -> AsyncIterator[Shop]:
    """A shop whose foreman has the proxy on its way."""
    async with shop(url_of(proxy.port, options), directory) as one:
        yield one


def broken(proxy: Proxy, how: str) -> AbstractContextManager[None]:
    match how:
        case "all silent":
            return proxy.silent()
        case "requests vanish":
            return proxy.silent(Way.UP)
        case "answers vanish":
            return proxy.silent(Way.DOWN)
        case "wakes vanish":
            return proxy.silent(on=b"SUBSCRIBE")
        case "claims vanish":
            return proxy.silent(on=text_of("claim"))
        case "refused":
            return proxy.refusing()
        case _:
            return proxy.slow(delay=0.2)


HOW = (
    "all silent",
    "requests vanish",
    "answers vanish",
    "wakes vanish",
    "claims vanish",
    "refused",
    "slow",
)


@pytest.mark.parametrize("how", HOW)
async def test_what_breaks_under_a_foreman(
    proxy: Proxy, server: RedisServer, tmp_path: Path, how: str
) -> None:
    """Jobs are enqueued by another process while the way of the foreman is broken for a while."""
    async with (
        shop(url_of(server.port), tmp_path, "producer") as producer,
        behind(proxy, tmp_path) as one,
        one.foreman(),
    ):
        await producer.work.aenqueue_many([(0.05,) for _ in range(20)])
        await one.doing.wait()
        # A claim may be answered so late that its leases are as good as over; these lapse.
        with one.unreliable():
            with broken(proxy, how):
                for _ in range(5):
                    await producer.work.aenqueue_many([(0.05,) for _ in range(4)])
                    await CLOCK.sleep(0.2)
            await producer.until_done(40)
    await judged(url_of(server.port), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("way", list(Way))
async def test_cut_off_for_longer_than_the_lease(
    proxy: Proxy, server: RedisServer, tmp_path: Path, way: Way
) -> None:
    """Who is cut off stops what he does before another begins it; late verdicts count no more."""
    async with (
        behind(proxy, tmp_path) as lost,
        shop(url_of(server.port), tmp_path, "other") as other,
    ):
        await other.work.aenqueue_many([(LEASE * 3,)] * 3)
        async with lost.foreman():
            await lost.doing.wait()
            with lost.unreliable(), proxy.silent(way):
                async with other.foreman():
                    await asyncio.wait_for(other.doing.wait(), LEASE * 5)
                    await other.until_done(3)
        records = (await other.app.ajobs()).records
        assert {record.state for record in records} == {"succeeded"}
        assert max(record.fence for record in records) >= 2
    await judged(url_of(server.port), tmp_path)


async def test_an_idle_foreman_stays_connected(proxy: Proxy, tmp_path: Path) -> None:
    """It waits for longer than its patience for an answer, and that is no reason to come back."""
    async with behind(proxy, tmp_path, "patience=1") as one, one.foreman():
        await one.work.aenqueue()
        await one.until_done(1)
        # To ask by, to hear by, and that of the heartbeat.
        await eventually(lambda: len(proxy.arrivals) >= 3)
        before = len(proxy.arrivals)
        await CLOCK.sleep(4.0)
        assert len(proxy.arrivals) == before


async def test_a_push_wakes_an_idle_foreman_without_polling(
    proxy: Proxy, server: RedisServer, tmp_path: Path
) -> None:
    """Also after the connection by which it hears was lost."""
    async with (
        shop(url_of(server.port), tmp_path, "producer") as producer,
        behind(proxy, tmp_path) as one,
        one.foreman(),
    ):
        for _ in range(2):
            one.doing.clear()
            await CLOCK.sleep(1.0)
            began = CLOCK.monotonic()
            await producer.work.aenqueue()
            await one.doing.wait()
            # A poll would come after five seconds.
            assert CLOCK.monotonic() - began < 3.0
            proxy.cut()
            await eventually(lambda: proxy.connections >= 2)
        await producer.until_done(2)
    await judged(url_of(server.port), tmp_path)


async def test_a_crawling_network_is_no_busy_loop(
    proxy: Proxy, server: RedisServer, tmp_path: Path
) -> None:
    async with behind(proxy, tmp_path) as one, one.foreman():
        await one.work.aenqueue()
        await one.until_done(1)
        before = len(proxy.arrivals)
        with proxy.slow(drip=20):
            await CLOCK.sleep(4.0)
            # Connections are given up and made anew, with growing pauses: by three loops.
            assert len(proxy.arrivals) - before <= 3 * 2 * 10
        await one.work.aenqueue()
        await one.until_done(2)
    await judged(url_of(server.port), tmp_path)
