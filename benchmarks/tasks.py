"""The app that the benchmarks drain: typed arguments, retry, timeout, results kept."""

from __future__ import annotations

import os

from treadle import Treadle

app = Treadle(os.environ.get("BENCH_URL", "memory://"))


@app.task(retry=3, timeout=30)
async def add(number: int, text: str = "x") -> int:
    """As little as an asynchronous task can do."""
    return number + 1


@app.task(retry=3, timeout=30)
def add_in_thread(number: int, text: str = "x") -> int:
    """As little as a plain task can do."""
    return number + 1
