"""The tasks of a simulated application: one for each thing that a job may do."""

from __future__ import annotations

import asyncio
from typing import Protocol

from treadle import CONTEXT, Context, Rate, Retry, Skip, Slots, Treadle, backoff

__all__ = ["Lab", "declare"]


class Lab(Protocol):
    """Where the code of jobs runs, and who looks on."""

    def started(self, ctx: Context) -> None:
        """The code has begun."""
        ...

    def effect(self, ctx: Context) -> None:
        """It has done what it is for."""
        ...

    async def work(self, least: float, most: float) -> None:
        """Take some time."""
        ...

    async def step(self, ctx: Context, least: float, most: float) -> None:
        """Take some time, in code that ends when it is asked to."""
        ...


_SOON = backoff.exponential("200ms", max="3s")


def declare(app: Treadle, lab: Lab) -> None:
    """Give an app its tasks."""
    _ordinary(app, lab)
    _failing(app, lab)
    _lasting(app, lab)
    _exclusive(app, lab)


def _ordinary(app: Treadle, lab: Lab) -> None:
    async def run(ctx: Context, most: float = 0.8) -> int:
        lab.started(ctx)
        await lab.step(ctx, 0.0, most)
        lab.effect(ctx)
        return ctx.fence

    @app.task(name="plain", keep=None)
    async def plain(ctx: Context = CONTEXT) -> int:
        return await run(ctx)

    @app.task(name="blocking", keep=None, queue="a.x")
    def blocking(ctx: Context = CONTEXT) -> int:
        lab.started(ctx)
        lab.effect(ctx)
        return ctx.fence

    @app.task(name="parent", keep=None, queue="a")
    async def parent(ctx: Context = CONTEXT) -> None:
        ctx.enqueue(plain)
        ctx.enqueue(app.tasks["keyed"].options(key="follow-ups"))
        await run(ctx)

    @app.task(name="once", keep=None, delivery="at_most_once")
    async def once(ctx: Context = CONTEXT) -> None:
        await run(ctx, most=2.0)


def _failing(app: Treadle, lab: Lab) -> None:
    @app.task(name="flaky", keep=None, retry=Retry(4, backoff=_SOON))
    async def flaky(failures: int = 2, ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        await lab.step(ctx, 0.0, 0.3)
        if ctx.tries < failures:
            raise ValueError("not yet")
        lab.effect(ctx)

    @app.task(name="hopeless", keep=None, retry=Retry(1, backoff=_SOON), queue="b")
    def hopeless(ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        raise ValueError("never")

    @app.task(name="skipping", keep=None)
    async def skipping(ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        raise Skip("nothing to do")

    @app.task(name="unsendable", keep=None)
    async def unsendable(ctx: Context = CONTEXT) -> object:
        lab.started(ctx)
        return object()


def _lasting(app: Treadle, lab: Lab) -> None:
    @app.task(name="late", keep=None, timeout=1.5, retry=Retry(2, backoff=_SOON))
    async def late(ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        await lab.step(ctx, 0.0, 4.0)
        lab.effect(ctx)

    @app.task(name="long", keep=None, queue="b")
    async def long(ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        for step in range(ctx.resumed or 0, 6):
            await lab.step(ctx, 0.5, 3.0)
            ctx.checkpoint(step + 1)
            ctx.progress(step, 6)
        lab.effect(ctx)

    @app.task(name="stubborn", keep=None, timeout=2.0)
    async def stubborn(ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        for _ in range(3):
            try:
                await lab.work(1.0, 8.0)
            except asyncio.CancelledError:
                continue
        lab.effect(ctx)

    @app.task(name="once-long", keep=None, delivery="at_most_once")
    async def once_long(ctx: Context = CONTEXT) -> None:
        lab.started(ctx)
        for _ in range(4):
            await lab.step(ctx, 0.5, 4.0)
        lab.effect(ctx)


def _exclusive(app: Treadle, lab: Lab) -> None:
    async def run(ctx: Context) -> None:
        lab.started(ctx)
        await lab.step(ctx, 0.0, 1.5)
        lab.effect(ctx)

    @app.task(name="keyed", keep=None, key="account", retry=Retry(2, backoff=_SOON))
    async def keyed(failures: int = 0, ctx: Context = CONTEXT) -> None:
        await run(ctx)
        if ctx.tries < failures:
            raise ValueError("not yet")

    @app.task(name="ordered", keep=None, key="line", ordered=True)
    async def ordered(ctx: Context = CONTEXT) -> None:
        await run(ctx)

    @app.task(name="unique", keep=None, unique={"by": "report", "on_conflict": "skip"})
    async def unique(ctx: Context = CONTEXT) -> None:
        await run(ctx)

    @app.task(name="newest", keep=None, unique={"by": "newest", "on_conflict": "replace"})
    async def newest(ctx: Context = CONTEXT) -> None:
        await run(ctx)

    @app.task(name="limited", keep=None, limits=[Slots(2, key="pool"), Rate(4, per=1.0)])
    async def limited(ctx: Context = CONTEXT) -> None:
        await run(ctx)
