"""Jobs a second, from a full queue to an empty one."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.figure import Figure
from benchmarks.tasks import add, add_in_thread, app
from treadle import Task


def run(scale: float) -> list[Figure]:
    """Memory and SQLite, asyncio and threads, one process and two."""
    found: list[Figure] = []
    found += asyncio.run(_embedded("memory://", "memory", add, int(100_000 * scale)))
    found += asyncio.run(_embedded("memory://", "memory", add_in_thread, int(20_000 * scale)))
    for durability in ("full", "normal"):
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/jobs.db?durability={durability}"
            name = f"sqlite {durability}"
            found += asyncio.run(_embedded(url, name, add, int(60_000 * scale)))
    with tempfile.TemporaryDirectory() as folder:
        url = f"sqlite:///{folder}/jobs.db"
        found += asyncio.run(_embedded(url, "sqlite full", add_in_thread, int(20_000 * scale)))
    for processes in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            found.append(_commanded(folder, processes, int(60_000 * scale)))
    return found


async def _embedded(url: str, name: str, task: Task, count: int) -> list[Figure]:
    with app.override(url=url):
        began = time.perf_counter()
        for start in range(0, count, 1000):
            await task.aenqueue_many([(n,) for n in range(start, min(count, start + 1000))])
        enqueued = time.perf_counter() - began
        began = time.perf_counter()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
            assert foreman.stats["job.succeeded"] == count, foreman.stats
        drained = time.perf_counter() - began
    how = f"{count:,} jobs, {task.mode}"
    return [
        Figure(f"{name}: enqueue_many", count / enqueued, "jobs/s", how),
        Figure(f"{name}: drain, embedded", count / drained, "jobs/s", how),
    ]


def _commanded(folder: str, processes: int, count: int) -> Figure:
    """``treadle run``: from the first start of a job to the last, as the store has them."""
    url = f"sqlite:///{folder}/jobs.db"

    async def fill() -> None:
        with app.override(url=url):
            for start in range(0, count, 1000):
                await add.aenqueue_many([(n,) for n in range(start, min(count, start + 1000))])

    asyncio.run(fill())
    root = Path(__file__).parent.parent
    command = [sys.executable, "-m", "treadle", "run", "benchmarks.tasks:app", "--burst",
               "--processes", str(processes), "--log-level", "warning"]  # fmt: skip
    began = time.perf_counter()
    subprocess.run(command, check=True, cwd=root, env={**os.environ, "BENCH_URL": url})
    took = time.perf_counter() - began
    how = f"{count:,} jobs, treadle run --processes {processes}, start and stop included"
    return Figure("sqlite full: drain", count / took, "jobs/s", how)
