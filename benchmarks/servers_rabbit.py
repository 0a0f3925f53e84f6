"""What bounds jobs over RabbitMQ: a quorum queue, messages that are confirmed, by bare aiormq.

No priorities, no delays, no count of attempts, and a consumer that is given what comes without
asking for as much as it has places for.

``python -m benchmarks.servers_rabbit URL`` is the worker of the trips.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiormq
from aiormq.abc import AbstractChannel, DeliveredMessage

from benchmarks.floors import BATCH
from benchmarks.servers_floor import Floor

__all__ = ["RabbitFloor"]

_PAYLOAD = b"x" * 60
_QUEUE, _SAID = "floor", "floor.said"
_KEPT = aiormq.spec.Basic.Properties(delivery_mode=2)


class RabbitFloor(Floor):
    """A queue that is consumed a hundred messages at a time."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._runner = asyncio.Runner()
        self._waiting = 0
        self._came: list[DeliveredMessage] = []
        self._runner.run(self._open())

    async def _open(self) -> None:
        self._connection = await aiormq.connect(self._url)
        self._channel = await _channel(self._connection)
        self._more = asyncio.Event()
        self._consumes = False

    def insert(self, count: int, batch: int) -> float:
        began = time.perf_counter()
        self._runner.run(self._publish(count, batch))
        return count / (time.perf_counter() - began)

    def take(self, limit: int) -> int:
        return self._runner.run(self._arrived(min(limit, self._waiting)))

    def finish(self) -> None:
        self._runner.run(self._acknowledge())

    def trips(self, count: int) -> list[list[float]] | None:
        line = [sys.executable, "-m", "benchmarks.servers_rabbit", self._url]
        worker = subprocess.Popen(line, cwd=Path(__file__).parent.parent)
        try:
            return [self._runner.run(self._called(count))]
        finally:
            worker.terminate()
            worker.wait()

    def close(self) -> None:
        self._runner.run(self._connection.close())
        self._runner.close()

    async def _publish(self, count: int, batch: int) -> None:
        for start in range(0, count, batch):
            size = min(batch, count - start)
            await asyncio.gather(*(_published(self._channel) for _ in range(size)))
        self._waiting += count

    async def _arrived(self, count: int) -> int:
        if not self._consumes:
            self._consumes = True
            await self._channel.basic_qos(prefetch_count=BATCH)
            await self._channel.basic_consume(_QUEUE, self._take_one)
        while len(self._came) < count:
            self._more.clear()
            await self._more.wait()
        return count

    async def _take_one(self, message: DeliveredMessage) -> None:
        self._came.append(message)
        self._more.set()

    async def _acknowledge(self) -> None:
        taken, self._came = self._came, []
        self._waiting -= len(taken)
        await self._channel.basic_ack(taken[-1].delivery_tag or 0, multiple=True)

    async def _called(self, count: int) -> list[float]:
        said: asyncio.Queue[float] = asyncio.Queue()

        async def hear(message: DeliveredMessage) -> None:
            said.put_nowait(float(message.body))

        await self._channel.queue_declare(_SAID)
        await self._channel.basic_consume(_SAID, hear, no_ack=True)
        starts: list[float] = []
        for number in range(-1, count):
            began = time.perf_counter()
            await _published(self._channel)
            started = await said.get()
            if number >= 0:  # the first has waited for the worker to come
                starts.append((started - began) * 1000)
        return starts


async def _channel(connection: Any) -> AbstractChannel:
    channel: AbstractChannel = await connection.channel()
    await channel.queue_declare(_QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    return channel


async def _published(channel: AbstractChannel) -> None:
    await channel.basic_publish(_PAYLOAD, routing_key=_QUEUE, properties=_KEPT)


async def _work(url: str) -> None:
    channel = await _channel(await aiormq.connect(url))
    telling = await channel.connection.channel(publisher_confirms=False)
    await telling.queue_declare(_SAID)

    async def run(message: DeliveredMessage) -> None:
        started = repr(time.perf_counter()).encode()
        await telling.basic_publish(started, routing_key=_SAID)
        await channel.basic_ack(message.delivery_tag or 0)

    await channel.basic_qos(prefetch_count=BATCH)
    await channel.basic_consume(_QUEUE, run)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(_work(sys.argv[1]))
