"""Jobs of workers: a foreman in memory, and a durable job that runs in a process of its own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks.drains import enqueue
from benchmarks.figure import Aim, Figure
from benchmarks.stores import MEMORY, SQLITE, place
from benchmarks.tasks import add, add_in_process, app
from benchmarks.workers_classes import Echo
from treadle import Foreman
from treadle.task import Task

__all__ = ["run"]

_JOBS, _DURABLE, _WORKERS = 20_000, 5_000, 16
_TIMES = 3


def run(scale: float) -> Iterator[Figure]:
    """Both beside what they are made of."""
    count, durable = max(200, int(_JOBS * scale)), max(200, int(_DURABLE * scale))
    value = max(asyncio.run(_in_memory(count)) for _ in range(_TIMES))
    below = max(asyncio.run(_queue_rate(count)) for _ in range(_TIMES))
    yield Figure(
        "workers", f"jobs of a foreman over {_WORKERS} workers, with results", MEMORY,
        value, "jobs/s", below, {}, (Aim("value", 60_000),),
    )  # fmt: skip
    value = asyncio.run(_durable(add_in_process, durable))
    parts = 1 / (1 / asyncio.run(_durable(add, durable)) + 1 / _process_rate(durable))
    yield Figure(
        "workers", "durable jobs in a process; floor: a drain and the calls", SQLITE,
        value, "jobs/s", parts, {}, (Aim("floor", 1),),
    )  # fmt: skip


async def _visit(worker: Echo, value: int) -> int:
    return value


async def _in_memory(count: int) -> float:
    async with Foreman(Echo, max_workers=_WORKERS, mode="asyncio", backlog=1000) as foreman:
        began = time.perf_counter()
        jobs = [await foreman.enqueue(_visit, number) for number in range(count)]
        for number, job in enumerate(jobs):
            assert await job.aresult() == number
        return count / (time.perf_counter() - began)


async def _queue_rate(count: int) -> float:
    """Consumers of a bare queue of asyncio, a future for each result."""
    queue: asyncio.Queue[tuple[int, asyncio.Future[int]]] = asyncio.Queue(1000)
    loop = asyncio.get_running_loop()
    echo = Echo()

    async def consume() -> None:
        while True:
            value, result = await queue.get()
            result.set_result(await _visit(echo, value))

    consumers = [asyncio.create_task(consume()) for _ in range(_WORKERS)]
    began = time.perf_counter()
    results: list[asyncio.Future[int]] = []
    for number in range(count):
        results.append(loop.create_future())
        await queue.put((number, results[-1]))
    for result in results:
        await result
    took = time.perf_counter() - began
    for consumer in consumers:
        consumer.cancel()
    await asyncio.gather(*consumers, return_exceptions=True)
    return count / took


async def _durable(task: Task[..., int], count: int) -> float:
    """From the end of the first job, when what runs them is there, to an empty queue."""
    with place(SQLITE) as at, app.override(url=at.url):
        first = await task.aenqueue(0)
        await enqueue(task, [(number,) for number in range(count)])
        async with app.foreman(burst=True) as foreman:
            await first.aresult(timeout=60)
            began = time.perf_counter()
            await foreman.join()
            took = time.perf_counter() - began
            assert foreman.stats["job.succeeded"] == count + 1, foreman.stats
        return count / took


def _process_rate(count: int) -> float:
    """The same calls of one worker in a process, which has one job at a time, too."""
    with Echo.options(mode="process").init() as worker:
        worker.nothing(0).result()
        began = time.perf_counter()
        for number in range(count):
            worker.nothing(number).result()
        return count / (time.perf_counter() - began)
