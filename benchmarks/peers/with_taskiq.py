"""taskiq over a Redis stream, results in Redis, as its documentation begins."""

from __future__ import annotations

from typing import Any

from measuring import URL, Client, stamp
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker

broker = RedisStreamBroker(URL).with_result_backend(RedisAsyncResultBackend(URL))


@broker.task
async def job(number: int, text: str) -> float:
    return stamp()


class _Taskiq(Client):
    # One process, as all others have; it would start two.
    worker = ("-m", "taskiq", "worker", "--workers", "1", "with_taskiq:broker")

    async def prepare(self) -> None:
        await broker.startup()

    async def enqueue(self, number: int, text: str) -> Any:
        return await job.kiq(number, text)

    async def result(self, job: Any) -> None:
        await job.wait_result()

    async def close(self) -> None:
        await broker.shutdown()


CLIENT = _Taskiq()
