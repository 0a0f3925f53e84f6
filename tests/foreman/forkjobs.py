"""An app whose jobs have child processes of their own kind."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from treadle import CONTEXT, Context, Treadle, Worker

app = Treadle("memory://")
# What a job leaves behind in its process.
left: list[int] = []
ENTERED: list[str] = []


@contextlib.contextmanager
def entered() -> Iterator[None]:
    ENTERED.append("around")
    try:
        yield
    finally:
        ENTERED.clear()


def leaves() -> tuple[int, int, int]:
    left.append(1)
    return os.getpid(), os.getppid(), len(left)


forked = app.task(name="forked", mode="process", fork=True, max_workers=1)(leaves)
kept = app.task(name="kept", mode="process", max_workers=1)(leaves)
recycled = app.task(name="recycled", mode="process", max_calls=2, max_workers=1)(leaves)


@app.task(mode="process", fork=True)
async def tells(ctx: Context = CONTEXT) -> list[str]:
    ctx.progress(1, 2, "half")
    ctx.enqueue(forked)
    return list(ENTERED)


@app.task(mode="process", fork=True, max_crashes=1)
def dies() -> None:
    os._exit(3)


@app.task(mode="process", fork=True, timeout=0.5)
def stays() -> None:
    threading.Event().wait()


@app.task(mode="process", around=[entered])
def inside() -> list[str]:
    return list(ENTERED)


@app.task(mode="process", around=entered, fork=True)
async def inside_fork() -> list[str]:
    return list(ENTERED)


@app.task(mode="process", env={"SHOP": "open"}, preload=["tests.foreman.preloaded"])
def surroundings() -> tuple[str | None, int]:
    module: Any = sys.modules.get("tests.foreman.preloaded")
    return os.environ.get("SHOP"), module.MADE_BY


class Counter(Worker):
    """Counts the jobs that it was given."""

    def __init__(self) -> None:
        self.jobs = 0

    def count(self) -> tuple[int, int]:
        self.jobs += 1
        return os.getpid(), self.jobs


WORKER = Counter.options(mode="process", max_workers=1, max_calls=2)
visited = app.task(name="visited", worker=WORKER)(Counter.count)


def write(path: Path) -> None:
    path.write_text("here")
