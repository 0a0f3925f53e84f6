"""arq over Redis."""

from __future__ import annotations

from typing import Any

from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from measuring import URL, Client, stamp


async def job(ctx: dict[Any, Any], number: int, text: str) -> float:
    return stamp()


class WorkerSettings:
    functions = (job,)
    redis_settings = RedisSettings.from_dsn(URL)


class _Arq(Client):
    worker = ("-m", "arq", "with_arq.WorkerSettings")
    pool: ArqRedis

    async def prepare(self) -> None:
        self.pool = await create_pool(WorkerSettings.redis_settings)

    async def enqueue(self, number: int, text: str) -> Any:
        return await self.pool.enqueue_job("job", number, text)

    async def result(self, job: Any) -> None:
        await job.result()

    async def close(self) -> None:
        await self.pool.aclose()


CLIENT = _Arq()
