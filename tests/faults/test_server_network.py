"""Foremen whose way to the server breaks, hangs or crawls: their jobs end, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.faults.network_support import Network, network, proxy, started
from tests.faults.shop_support import LEASE, Shop, judged, shop
from treadle.clock import SystemClock
from treadle.testing import eventually
from treadle.testing.proxy import Proxy, Way

__all__ = ["network", "proxy", "started"]

pytestmark = pytest.mark.slow

CLOCK = SystemClock()
POLL = {"redis": 5.0, "postgres": 10.0}
"""Seconds after which who is not told of a job looks by himself."""


@asynccontextmanager
async def behind(
    network: Network, proxy: Proxy, directory: Path, options: str = "patience=0.5"
) -> AsyncIterator[Shop]:
    """A shop whose foreman has the proxy on its way."""
    async with shop(network.url(proxy.port, options), directory) as one:
        yield one


def broken(network: Network, proxy: Proxy, how: str) -> AbstractContextManager[None]:
    match how:
        case "all silent":
            return proxy.silent()
        case "requests vanish":
            return proxy.silent(Way.UP)
        case "answers vanish":
            return proxy.silent(Way.DOWN)
        case "wakes vanish":
            return proxy.silent(on=network.hears() or _skip())
        case "claims vanish":
            return proxy.silent(on=network.step("claim") or _skip())
        case "refused":
            return proxy.refusing()
        case _:
            return proxy.slow(delay=0.2)


def _skip() -> bytes:
    pytest.skip("what is told and what is claimed goes through the companion")


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
    network: Network, proxy: Proxy, tmp_path: Path, how: str
) -> None:
    """Jobs are enqueued by another process while the way of the foreman is broken for a while."""
    async with (
        shop(network.url(), tmp_path, "producer") as producer,
        behind(network, proxy, tmp_path) as one,
        one.foreman(),
    ):
        await producer.work.aenqueue_many([(0.05,) for _ in range(20)])
        await one.doing.wait()
        # A claim may be answered so late that its leases are as good as over; these lapse.
        with one.unreliable():
            with broken(network, proxy, how):
                for _ in range(5):
                    await producer.work.aenqueue_many([(0.05,) for _ in range(4)])
                    await CLOCK.sleep(0.2)
            await producer.until_done(40)
    await judged(network.url(), tmp_path)


HAS_JOBS = pytest.mark.parametrize("started", ["redis", "postgres"], indirect=True, scope="module")
"""Of a broker with a companion it means something else: the companion is reached all the time."""


@HAS_JOBS
@pytest.mark.parametrize("way", list(Way))
async def test_cut_off_for_longer_than_the_lease(
    network: Network, proxy: Proxy, tmp_path: Path, way: Way
) -> None:
    """Who is cut off stops what he does before another begins it; late verdicts count no more."""
    async with (
        behind(network, proxy, tmp_path) as lost,
        shop(network.url(), tmp_path, "other") as other,
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
    await judged(network.url(), tmp_path)


@pytest.mark.parametrize("started", ["redis"], indirect=True, scope="module")
async def test_an_idle_foreman_stays_connected(
    network: Network, proxy: Proxy, tmp_path: Path
) -> None:
    """It waits for longer than its patience for an answer, and that is no reason to come back."""
    async with behind(network, proxy, tmp_path, "patience=1") as one, one.foreman():
        await one.work.aenqueue()
        await one.until_done(1)
        # To ask by, to hear by, and that of the heartbeat.
        await eventually(lambda: len(proxy.arrivals) >= 3)
        before = len(proxy.arrivals)
        await CLOCK.sleep(4.0)
        assert len(proxy.arrivals) == before


@HAS_JOBS
async def test_a_push_wakes_an_idle_foreman_without_polling(
    network: Network, proxy: Proxy, tmp_path: Path
) -> None:
    """Also after the connection by which it hears was lost."""
    async with (
        shop(network.url(), tmp_path, "producer") as producer,
        behind(network, proxy, tmp_path) as one,
        one.foreman(),
    ):
        for _ in range(2):
            one.doing.clear()
            await CLOCK.sleep(1.0)
            began = CLOCK.monotonic()
            await producer.work.aenqueue()
            await one.doing.wait()
            assert CLOCK.monotonic() - began < POLL[network.kind] - 2.0
            proxy.cut()
            await eventually(lambda: proxy.connections >= 2)
        await producer.until_done(2)
    await judged(network.url(), tmp_path)


async def test_a_crawling_network_is_no_busy_loop(
    network: Network, proxy: Proxy, tmp_path: Path
) -> None:
    async with behind(network, proxy, tmp_path) as one, one.foreman():
        await one.work.aenqueue()
        await one.until_done(1)
        before = len(proxy.arrivals)
        with proxy.slow(drip=20):
            await CLOCK.sleep(4.0)
            # Connections are given up and made anew, with growing pauses: by three loops.
            assert len(proxy.arrivals) - before <= 3 * 2 * 10
        await one.work.aenqueue()
        await one.until_done(2)
    await judged(network.url(), tmp_path)
