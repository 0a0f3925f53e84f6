"""SAQ over Redis."""

from __future__ import annotations

from typing import Any

from measuring import URL, Client, stamp
from saq import Queue

queue = Queue.from_url(URL)


async def job(ctx: dict[str, Any], *, number: int, text: str) -> float:
    return stamp()


settings = {"queue": queue, "functions": [job]}


class _Saq(Client):
    worker = ("-m", "saq", "with_saq.settings")

    async def prepare(self) -> None:
        await queue.connect()

    async def enqueue(self, number: int, text: str) -> Any:
        return await queue.enqueue("job", number=number, text=text)

    async def result(self, job: Any) -> None:
        await job.refresh(0)

    async def close(self) -> None:
        await queue.disconnect()


CLIENT = _Saq()
