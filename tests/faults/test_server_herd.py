"""A server that goes and comes back under hundreds of connections is not run over."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from tests.faults.network_support import Network, network, proxy, started
from treadle import Treadle
from treadle.clock import SystemClock
from treadle.testing import eventually
from treadle.testing.proxy import Proxy

__all__ = ["network", "proxy", "started"]

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(400)]

CLOCK = SystemClock()
CONNECTIONS = 200
SECONDS = 5.0


class Shop:
    """One program of many: an app with a foreman, and what its jobs did."""

    def __init__(self, url: str, namespace: str) -> None:
        self.app = Treadle(url, namespace=namespace, patience=60)
        self.ran: list[int] = []

        @self.app.task(name="work", retry=20)
        async def work(number: int) -> None:
            self.ran.append(number)

        self.work = work

    async def enter(self, stack: AsyncExitStack) -> None:
        await stack.enter_async_context(self.app)
        await stack.enter_async_context(self.app.foreman(grace=1))
        await self.work.aenqueue(1)
        await eventually(lambda: 1 in self.ran, 60)


async def longest_turn(seconds: float) -> float:
    """How long nothing was heard of here, at the longest, in so many seconds."""
    longest, began = 0.0, CLOCK.monotonic()
    while (before := CLOCK.monotonic()) < began + seconds:
        await CLOCK.sleep(0.01)
        longest = max(longest, CLOCK.monotonic() - before)
    return longest


async def test_two_hundred_connections_come_back_without_a_rush(
    network: Network, proxy: Proxy
) -> None:
    """Each program asks at most five times a second, not at the moment at which others do."""
    shops: list[Shop] = []
    async with AsyncExitStack() as stack:
        while proxy.connections < CONNECTIONS:
            # Stores of their own, so that they share nothing, as programs do not.
            shops.append(Shop(network.url(proxy.port, "patience=5"), f"herd-{len(shops)}"))
            await shops[-1].enter(stack)
        with proxy.refusing():
            began = CLOCK.monotonic()
            proxy.arrivals.clear()
            proxy.cut()
            held_up = await longest_turn(SECONDS)
            asked = [at - began for at in proxy.arrivals]
            spent = CLOCK.monotonic() - began
        async with asyncio.timeout(60):
            await asyncio.gather(*(shop.work.aenqueue(2) for shop in shops))
        await eventually(lambda: all(2 in shop.ran for shop in shops), 60)
    # All are cut off at one moment, and each of their connections may ask at once.
    first = [at for at in asked if at < 0.5]
    assert len(asked) - len(first) <= len(shops) * 5 * spent
    fullest = max(sum(at <= other < at + 0.1 for other in asked) for at in asked if at >= 0.5)
    # What all of them would have asked while this process had no time comes in one moment.
    assert fullest <= len(shops) * (1 + 5 * held_up)
