"""Jobs a second, from a full queue to an empty one, results kept."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import floors, peer
from benchmarks.commanded import command, stamps
from benchmarks.figure import Figure
from benchmarks.stores import MEMORY, SQLITE, STORES, Place, place
from benchmarks.tasks import add, add_in_thread, app, stamp
from treadle import Task

__all__ = ["commanded", "embedded", "enqueue", "fill", "run"]


def run(scale: float) -> Iterator[Figure]:
    """In this process, coroutines and threads; then foreman processes."""
    for store in STORES:
        with place(store) as at:
            count = int((100_000 if store == MEMORY else 40_000) * scale)
            value = asyncio.run(embedded(at, add, count))
            other = peer.measure("drain", at, count=int(10_000 * scale))
            yield Figure(
                "drain", "embedded, coroutines", store, value, "jobs/s",
                _floor(at, count), peer.PEER.beside(other),
            )  # fmt: skip
    for store in (MEMORY, SQLITE):
        with place(store) as at:
            count = int(20_000 * scale)
            value = asyncio.run(embedded(at, add_in_thread, count))
            floor = asyncio.run(floors.thread_rate(count)) if store == MEMORY else None
            yield Figure("drain", "embedded, threads", store, value, "jobs/s", floor)
    for processes in (1, 2, 4):
        with place(SQLITE) as at:
            count = int(60_000 * scale)
            value = commanded(at, processes, count)
            details = {"workers": processes, "kind": "process"}
            other = peer.measure("drain", at, count=int(10_000 * scale), **details)
            what = f"treadle run, {processes} process{'es' * (processes > 1)}"
            yield Figure(
                "drain", what, SQLITE, value, "jobs/s",
                _floor(at, count), peer.PEER.beside(other),
            )  # fmt: skip


async def fill(at: Place, task: Task[..., Any], calls: list[tuple[Any, ...]]) -> None:
    """Enqueue calls in the store of a place."""
    with app.override(url=at.url):
        await enqueue(task, calls)


async def enqueue(task: Task[..., Any], calls: list[tuple[Any, ...]]) -> None:
    """Enqueue calls, a thousand at a time."""
    for start in range(0, len(calls), floors.PUSH):
        await task.aenqueue_many(calls[start : start + floors.PUSH])


async def embedded(at: Place, task: Task[..., Any], count: int) -> float:
    with app.override(url=at.url):
        await enqueue(task, [(n,) for n in range(count)])
        began = time.perf_counter()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
            took = time.perf_counter() - began
            assert foreman.stats["job.succeeded"] == count, foreman.stats
        return count / took


def commanded(at: Place, processes: int, count: int) -> float:
    """``treadle run``: between the starts of the first job and of the last."""
    asyncio.run(fill(at, stamp, [(n,) for n in range(count)]))
    process = command(at, "--burst", "--processes", str(processes))
    assert process.wait() == 0, "treadle run failed"
    times = sorted(stamps(at))
    assert len(times) == count, f"{len(times)} of {count} jobs ran"
    return (count - 1) / (times[-1] - times[0])


def _floor(at: Place, count: int) -> float:
    if at.store == MEMORY:
        return asyncio.run(floors.loop_rate(count))
    with floors.rows(at) as rows:
        rows.insert(count, floors.PUSH)
        return asyncio.run(rows.drain(count))
