"""huey over Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from huey import RedisHuey
from measuring import URL, Client, stamp

huey = RedisHuey("bench", url=URL)


@huey.task()
def job(number: int, text: str) -> float:
    return stamp()


class _Huey(Client):
    worker = ("-m", "huey.bin.huey_consumer", "with_huey.huey")
    concurrent, bulk = False, True

    async def enqueue(self, number: int, text: str) -> Any:
        return job(number, text)

    async def many(self, numbers: Sequence[int], text: str) -> None:
        job.map([(number, text) for number in numbers])

    async def result(self, job: Any) -> None:
        job(blocking=True)


CLIENT = _Huey()
