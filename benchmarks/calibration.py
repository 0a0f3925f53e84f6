"""What the machine does: figures of two machines compare only after division by these."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from benchmarks import floors
from benchmarks.figure import Figure
from benchmarks.stores import SQLITE, SQLITE_NORMAL, place

__all__ = ["run"]


def run(scale: float) -> Iterator[Figure]:
    """Bare asyncio and bare commits."""
    tasks = max(asyncio.run(floors.loop_rate(int(100_000 * scale))) for _ in range(3))
    yield Figure("calibration", "create_task and await, 100 at a time", "asyncio", tasks, "tasks/s")
    for store in (SQLITE, SQLITE_NORMAL):
        with place(store) as at, floors.rows(at) as rows:
            commits = rows.insert(int(5_000 * scale), 1)
        yield Figure("calibration", "one row in a commit", store, commits, "commits/s")
