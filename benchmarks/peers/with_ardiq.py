"""ArdiQ, whose core is compiled, over Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ardiq import Ardiq
from measuring import URL, Client, stamp

app = Ardiq(redis_url=URL)


@app.task()
async def job(number: int, text: str) -> float:
    return stamp()


class _Ardiq(Client):
    worker = ("-m", "ardiq", "run", "with_ardiq:app")
    bulk = True

    async def enqueue(self, number: int, text: str) -> Any:
        return await job.enqueue(number, text)

    async def many(self, numbers: Sequence[int], text: str) -> None:
        await app.enqueue_many([job.prepare(number, text) for number in numbers])

    async def result(self, job: Any) -> None:
        await job.result(timeout=30)


CLIENT = _Ardiq()
