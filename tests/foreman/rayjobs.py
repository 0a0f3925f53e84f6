"""An app whose jobs run in Ray actors, which import this module."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path

from treadle import CONTEXT, Context, Depends, Treadle

app = Treadle("memory://")
STEP = 0.005


def nap() -> None:
    time.sleep(STEP)  # noqa: TID251 - code of a user


async def session() -> AsyncIterator[list[int]]:
    """Lives as long as its actor."""
    yield []


@app.task(mode="ray")
def add(a: int, b: int) -> int:
    return a + b


@app.task(mode="ray", ray={"num_cpus": 1})
def numbered(session: list[int] = Depends(session, scope="foreman")) -> tuple[int, int]:
    session.append(len(session))
    return os.getpid(), len(session)


@app.task(mode="ray")
def told(ctx: Context = CONTEXT) -> int:
    for step in range(100):
        ctx.progress(step, 100, "on the way")
    ctx.progress(1, 2, "half")
    ctx.checkpoint({"at": 1})
    ctx.enqueue(add, 1, 2)
    logging.getLogger("shop").error("something of %s", "note")
    return ctx.attempt


@app.task(mode="ray")
def reports_and_waits(file: Path, ctx: Context = CONTEXT) -> str:
    ctx.progress(7, 10, "waiting")
    while not file.exists():
        nap()
    return "seen"


@app.task(mode="ray", max_crashes=2)
def die(status: int) -> None:
    os._exit(status)


@app.task(mode="ray")
def die_once(sign: Path) -> str:
    if not sign.exists():
        sign.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "lived"


@app.task(mode="ray")
def fail(text: str) -> None:
    raise ValueError(text)


@app.task(mode="ray", timeout=0.3)
def notices(ctx: Context = CONTEXT) -> None:
    while True:
        ctx.check()
        nap()


@app.task(mode="ray", timeout=0.3)
def ignores() -> None:
    while True:
        nap()


@app.task(mode="ray")
def until_stopping(file: Path, ctx: Context = CONTEXT) -> str:
    file.touch()
    while not ctx.stopping:
        nap()
    return "stopped"


@app.task(mode="ray")
def runs_until_cancelled(file: Path, ctx: Context = CONTEXT) -> None:
    file.touch()
    while True:
        ctx.check()
        nap()
