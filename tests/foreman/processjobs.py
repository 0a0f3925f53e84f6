"""An app whose jobs run in child processes, which import this module."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from treadle import CONTEXT, Context, Depends, Pool, Treadle

app = Treadle("memory://")
STEP = 0.005


def nap() -> None:
    time.sleep(STEP)  # noqa: TID251 - code of a user


@app.middleware
async def marked(ctx: Any, call_next: Callable[[Any], Awaitable[Any]]) -> Any:
    if ctx.phase == "run":
        ctx.note(pid=os.getpid())
    return await call_next(ctx)


async def session() -> AsyncIterator[list[int]]:
    """Lives as long as its process."""
    yield []


@app.task(mode="process")
def add(a: int, b: int) -> int:
    return a + b


@app.task(mode="process")
async def add_later(a: int, b: int) -> int:
    await asyncio.sleep(0)  # noqa: TID251 - code of a user
    return a + b


@app.task(mode="process")
def numbered(session: list[int] = Depends(session, scope="foreman")) -> tuple[int, int]:
    session.append(len(session))
    return os.getpid(), len(session)


@app.task(mode="process")
def told(ctx: Context = CONTEXT) -> int:
    ctx.progress(1, 2, "half")
    ctx.checkpoint({"at": 1})
    ctx.enqueue(add, 1, 2)
    logging.getLogger("shop").error("something of %s", "note")
    return ctx.attempt


@app.task(mode="process")
def hold(sign: Path) -> None:
    while not sign.exists():
        nap()


@app.task(mode="process")
def stamp(file: Path, seconds: float) -> None:
    time.sleep(seconds)  # noqa: TID251 - code of a user
    with file.open("a") as text:
        text.write("x")


@app.task(mode="process", delivery="at_most_once")
def once(file: Path) -> None:
    file.touch()
    while True:
        nap()


@app.task(mode="process", max_crashes=2)
def die(status: int) -> None:
    os._exit(status)


@app.task(mode="process", max_crashes=3)
def die_once(sign: Path) -> str:
    if not sign.exists():
        sign.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


class Strange(Exception):
    """Needs two arguments, of which it keeps one."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text)
        self.number = number


@app.task(mode="process")
def fail(text: str) -> None:
    raise Strange(text, 5)


@app.task(mode="process", timeout=0.2)
def notices(ctx: Context = CONTEXT) -> None:
    while True:
        ctx.check()
        nap()


@app.task(mode="process", timeout=0.2)
def ignores(file: Path) -> None:
    try:
        while True:
            nap()
    finally:
        file.write_text("cleaned")


@app.task(mode="process", timeout=0.2)
async def waits() -> None:
    await asyncio.sleep(100)  # noqa: TID251 - code of a user


@app.task(mode="process")
def until_stopping(file: Path, ctx: Context = CONTEXT) -> str:
    file.touch()
    while not ctx.stopping:
        nap()
    return "stopped"


@app.task(mode="process")
def runs_until_cancelled(file: Path, ctx: Context = CONTEXT) -> None:
    file.touch()
    while True:
        ctx.check()
        nap()


@app.task(mode="process")
def environment() -> str:
    return os.environ.get("TREADLE_URL", "none")


@app.task(mode="process")
def blocks() -> str:
    async def half() -> str:
        return "bo"

    with Pool("thread", max_workers=1) as pool:
        return asyncio.run(half()) + pool.submit(str, "th").result(5)
