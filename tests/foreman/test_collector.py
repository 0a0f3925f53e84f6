"""What an attempt was made of goes away with it, and does not wait for the garbage collector."""

from __future__ import annotations

import gc
from typing import Any

import pytest

from treadle import CONTEXT, Context, Treadle

_JOBS = 300


@pytest.mark.parametrize("mode", ["asyncio", "thread", "with a context"])
async def test_an_attempt_leaves_no_cycle(app: Treadle, mode: str) -> None:
    @app.task(name="coroutine")
    async def coroutine(number: int) -> int:
        return number

    @app.task(name="plain")
    def plain(number: int) -> int:
        return number

    @app.task(name="asks")
    async def asks(number: int, ctx: Context = CONTEXT) -> int:
        return number + ctx.attempt

    tasks: dict[str, Any] = {"asyncio": coroutine, "thread": plain, "with a context": asks}
    await tasks[mode].aenqueue_many([(number,) for number in range(_JOBS)])
    gc.collect()
    gc.disable()
    try:
        async with app.foreman(burst=True, concurrency=10) as foreman:
            await foreman.join()
            assert foreman.stats["job.succeeded"] == _JOBS
        assert gc.collect() < _JOBS
    finally:
        gc.enable()
