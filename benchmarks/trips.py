"""From the call of enqueue to the result, in one process that does nothing else."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time

from benchmarks.figure import Figure
from benchmarks.tasks import add, app


def run(scale: float) -> list[Figure]:
    """Memory and SQLite."""
    found = asyncio.run(_trips("memory://", "memory", int(2000 * scale)))
    with tempfile.TemporaryDirectory() as folder:
        found += asyncio.run(
            _trips(f"sqlite:///{folder}/jobs.db", "sqlite full", int(2000 * scale))
        )
    return found


async def _trips(url: str, name: str, count: int) -> list[Figure]:
    times: list[float] = []
    with app.override(url=url):
        async with app.foreman():
            for number in range(count):
                began = time.perf_counter()
                job = await add.aenqueue(number)
                await job.aresult(timeout=30)
                times.append((time.perf_counter() - began) * 1000)
    cuts = statistics.quantiles(times, n=100)
    return [
        Figure(f"{name}: round trip p50", cuts[49], "ms", f"{count:,} trips, one at a time"),
        Figure(f"{name}: round trip p99", cuts[98], "ms", f"{count:,} trips, one at a time"),
    ]
