"""With a companion, nothing stops when RabbitMQ does: it is killed, frozen, emptied or in alarm."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Iterator
from pathlib import Path
from typing import Any

import aiormq
import pytest

from tests.servers import own
from treadle import Treadle
from treadle.backends.rabbitmq import CompanionBackend, connect
from treadle.backends.rabbitmq.layout import IdNames, Line
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.testing.contract.driver import Driver
from treadle.testing.servers import RabbitServer

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    server = RabbitServer()
    # Erlang takes its time on a busy machine.
    server.start_seconds = 300.0
    try:
        own(server.start)
        yield server
    finally:
        server.close()


class Bench:
    """A backend over both stores."""

    def __init__(self, server: RabbitServer, path: Path) -> None:
        ids = SystemIds()
        self.name = f"t-{ids.new()}"
        self.url = f"{server.url}?patience=4&heartbeat=5&companion=sqlite:///{path}/jobs.db"
        backend = connect(self.url, ids=ids, namespace=self.name)
        assert isinstance(backend, CompanionBackend)
        self.backend = backend
        self.store = Driver(backend, SystemClock(), ids)  # type: ignore[arg-type]

    async def named(self) -> None:
        """Return once a job that is pushed has a message again."""
        async with asyncio.timeout(120):
            while True:
                await self.store.add(queue="probe")
                if not self.backend._client._away:
                    return
                await SystemClock().sleep(0.2)


@pytest.fixture
async def bench(server: RabbitServer, tmp_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(server, tmp_path)
    await bench.backend.open()
    yield bench
    await bench.backend.aclose()
    bench.backend.close()


async def took(verb: Coroutine[Any, Any, object]) -> float:
    """Seconds until it was over."""
    clock = SystemClock()
    began = clock.monotonic()
    await verb
    return clock.monotonic() - began


async def test_a_frozen_server_holds_nobody_up(server: RabbitServer, bench: Bench) -> None:
    running = await bench.store.run()
    server.freeze()
    try:
        # One request finds out.
        assert await took(bench.store.add()) < 5
        # It is left alone by now, and nobody waits for the answer whether it is back.
        assert await took(bench.store.add_many(20)) < 2
        bench.backend._client._away_until = 0.0
        assert await took(bench.store.add()) < 2
        assert await took(bench.store.done(running)) < 2
        assert len(await bench.store.claimed(30)) == 22
    finally:
        server.thaw()
    await bench.named()


async def test_a_claim_waits_for_a_frozen_server_no_longer_than_its_lease_bears(
    server: RabbitServer, bench: Bench
) -> None:
    """Else what is claimed could not be run any more."""
    [wanted] = await bench.store.add_many(1)
    server.freeze()
    try:
        began = SystemClock().monotonic()
        [lease] = await bench.store.claim(5, lease=2.0)
        assert SystemClock().monotonic() - began < 1.5
        assert lease.spec.id == wanted
    finally:
        server.thaw()
    await bench.named()


async def test_a_queue_that_somebody_deletes_is_not_missed(
    server: RabbitServer, bench: Bench
) -> None:
    ids = await bench.store.add_many(5)
    connection = await aiormq.connect(server.url)
    channel = await connection.channel()
    await channel.queue_delete(IdNames(bench.name).line(Line("default", 0)))
    await connection.close()
    assert await bench.store.claimed(3) == ids[:3]
    ids += await bench.store.add_many(2)
    found = await bench.store.claimed(10)
    assert sorted(found) == sorted(ids[3:])


async def test_in_an_alarm_nobody_waits_for_messages(server: RabbitServer, bench: Bench) -> None:
    """The server takes none: what is pushed meanwhile is claimed from the companion."""
    running = await bench.store.run()
    await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.0000001")
    try:
        # One request finds out.
        assert await took(bench.store.add()) < 6
        assert await took(bench.store.add_many(20)) < 2
        assert await took(bench.store.done(running)) < 2
        assert len(await bench.store.claimed(30)) == 21
    finally:
        await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "absolute", "1GB")
    await bench.named()


# The server that is started again is a new child of this process.
@pytest.mark.leaves("children", "files")
async def test_an_app_goes_on_while_the_server_is_away(server: RabbitServer, bench: Bench) -> None:
    """Every job runs once: those from before, from meanwhile and from after."""
    app = Treadle(bench.url, namespace=f"{bench.name}-app")
    ran: Counter[int] = Counter()

    @app.task(name="work")
    async def work(number: int) -> int:
        ran[number] += 1
        return number

    async with app, app.foreman(concurrency=5):
        jobs = await work.aenqueue_many([(n,) for n in range(100)])
        server.kill()
        jobs += await work.aenqueue_many([(n,) for n in range(100, 150)])
        assert [await job.aresult(timeout=100) for job in jobs] == list(range(150))
        await asyncio.to_thread(server.start)
        await bench.named()
        jobs = await work.aenqueue_many([(n,) for n in range(150, 200)])
        assert [await job.aresult(timeout=100) for job in jobs] == list(range(150, 200))
    assert ran == Counter(range(200))
