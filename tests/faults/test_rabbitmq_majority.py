"""Three nodes of RabbitMQ: with two of them gone a queue has no majority, and takes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.servers import own
from treadle import Treadle
from treadle.clock import SystemClock
from treadle.errors import OutcomeUnknown
from treadle.ids import SystemIds
from treadle.testing.servers import RabbitServer

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(900)]

_PATIENCE = 4.0
"""Seconds that an enqueue may go on asking, and a server may take to answer."""


@pytest.fixture
def nodes() -> Iterator[list[RabbitServer]]:
    first = RabbitServer()
    others = [RabbitServer(beside=first) for _ in range(2)]
    every = [first, *others]
    try:
        for node in every:
            # Erlang takes its time on a busy machine.
            node.start_seconds = 300.0
            own(node.start)
        yield every
    finally:
        for node in reversed(every):
            node.close()


# The nodes that are started again are new children of this process.
@pytest.mark.leaves("children", "files")
async def test_without_a_majority_enqueue_says_so_in_time_and_goes_on_when_it_is_back(
    nodes: list[RabbitServer],
) -> None:
    """What was accepted before is carried out, once; nothing is accepted meanwhile."""
    first, *others = nodes
    clock = SystemClock()
    ran: Counter[int] = Counter()
    app = Treadle(
        f"{first.url}?patience={_PATIENCE:g}&heartbeat=30",
        namespace=f"t-{SystemIds().new()}",
        patience=_PATIENCE,
    )

    @app.task(name="work")
    async def work(number: int) -> None:
        ran[number] += 1

    async def accepted(number: int) -> None:
        async with asyncio.timeout(300):
            while True:
                try:
                    await work.aenqueue(number)
                    return
                except OutcomeUnknown:
                    await clock.sleep(0.2)

    async with app:
        await work.aenqueue_many([(n,) for n in range(20)])
        members = await asyncio.to_thread(first.control, "list_queues", "name", "members")
        assert all(node.node in members for node in nodes)
        for node in others:
            node.kill()
        began = clock.monotonic()
        with pytest.raises(OutcomeUnknown):
            await work.aenqueue(99)
        assert clock.monotonic() - began < 4 * _PATIENCE
        for node in others:
            await asyncio.to_thread(node.start)
        await accepted(20)
        async with app.foreman(concurrency=5), asyncio.timeout(200):
            while not set(range(21)) <= set(ran):
                await clock.sleep(0.1)
    assert set(ran) - {99} == set(range(21))
    assert all(ran[number] == 1 for number in range(20))


@pytest.mark.leaves("children", "files")
@pytest.mark.parametrize("known", ["all", "another"])
async def test_without_one_node_of_three_all_goes_on(nodes: list[RabbitServer], known: str) -> None:
    """It had the leaders of the queues; who was connected to it goes to another one."""
    clock = SystemClock()
    ran: Counter[int] = Counter()
    reached_by = nodes if known == "all" else nodes[1:2]
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in reached_by)
    app = Treadle(
        f"amqp://guest:guest@{hosts}/%2F?patience=6&heartbeat=5",
        namespace=f"t-{SystemIds().new()}",
        patience=60,
    )

    @app.task(name="work")
    async def work(number: int) -> None:
        ran[number] += 1

    async def reached(numbers: range) -> None:
        async with asyncio.timeout(200):
            while not set(numbers) <= set(ran):
                await clock.sleep(0.1)

    async with app, app.foreman(concurrency=5):
        await work.aenqueue_many([(n,) for n in range(20)])
        await reached(range(20))
        nodes[0].kill()
        began = clock.monotonic()
        for number in range(20, 40):
            await work.aenqueue(number)
        assert clock.monotonic() - began < 60
        await reached(range(40))
    assert set(ran) == set(range(40))
