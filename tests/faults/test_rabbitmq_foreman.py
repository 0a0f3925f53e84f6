"""A foreman over RabbitMQ alone lives on while the server is killed and started again."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.servers import own
from treadle import Treadle
from treadle.clock import SystemClock
from treadle.errors import OutcomeUnknown
from treadle.ids import SystemIds
from treadle.testing.servers import RabbitServer

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]

_OLD_ENOUGH = 15.0


# The server that is started again is a new child of this process.
@pytest.mark.leaves("children", "files")
async def test_a_foreman_goes_on_after_a_kill_of_the_server() -> None:
    """What was accepted is carried out; what runs meanwhile is lost, and runs again."""
    server = RabbitServer()
    server.start_seconds = 300.0
    clock = SystemClock()
    ran: Counter[int] = Counter()
    holds = asyncio.Event()
    app = Treadle(
        f"{server.url}?patience=4&heartbeat=5", namespace=f"t-{SystemIds().new()}", patience=2
    )

    @app.task(name="work")
    async def work(number: int) -> None:
        ran[number] += 1
        await holds.wait()

    async def reached(numbers: range) -> None:
        async with asyncio.timeout(200):
            while not set(numbers) <= set(ran):
                await clock.sleep(0.1)

    try:
        own(server.start)
        async with app, app.foreman(concurrency=5, grace=1):
            await work.aenqueue_many([(n,) for n in range(30)])
            await reached(range(5))
            # A queue that is younger than some seconds does not come back from a kill.
            await clock.sleep(_OLD_ENOUGH)
            server.kill()
            with pytest.raises(OutcomeUnknown):
                await work.aenqueue(99)
            await asyncio.to_thread(server.start)
            holds.set()
            await reached(range(30))
            async with asyncio.timeout(100):
                while True:
                    try:
                        await work.aenqueue(30)
                        break
                    except OutcomeUnknown:
                        await clock.sleep(0.2)
            await reached(range(31))
    finally:
        await asyncio.to_thread(server.close)
    assert set(ran) - {99} == set(range(31))
    # Those that ran when the connection broke, and no others, may run again.
    assert all(ran[number] == 1 for number in range(10, 30))
