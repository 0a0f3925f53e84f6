"""The tasks of the fault tests: each says when it starts and when it has done its work."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

from treadle import CONTEXT, Context, Retry, Treadle, backoff
from treadle.clock import SystemClock
from treadle.testing.ledger import Ledger

__all__ = ["Jobs"]

CLOCK = SystemClock()
DEADLY: dict[str, Callable[[], object]] = {
    "exit 0": partial(os._exit, 0),
    "exit 3": partial(os._exit, 3),
    "abort": os.abort,
    "segfault": partial(ctypes.string_at, 0),
}
"""How a process ends that its job does not let live."""


class Jobs:
    """The tasks, registered with an app. Jobs are kept: ledgers are compared with what is there.

    Args:
        app: not open yet.
        ledger: of this process.
        go_on: a file; when it is there, those who wait for it end.
        say: tells the test something.
    """

    def __init__(
        self,
        app: Treadle,
        ledger: Ledger,
        go_on: Path,
        say: Callable[[str], object] = lambda _: None,
    ) -> None:
        self._ordinary(app, ledger)
        self._zombies(app, ledger, go_on, say)
        self._killers(app, ledger)

    def _ordinary(self, app: Treadle, ledger: Ledger) -> None:
        @app.task(name="add", keep=None)
        async def add(number: int, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            ledger.effect(ctx)
            return number + 1

        @app.task(name="add_in_thread", keep=None)
        def add_in_thread(number: int, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            ledger.effect(ctx)
            return number + 1

        @app.task(name="again", keep=None, retry=Retry(1, backoff=backoff.fixed(0.1, jitter=False)))
        async def again(number: int, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            if ctx.tries == 0:
                raise ValueError("the first time")
            ledger.effect(ctx)
            return number + 1

        @app.task(name="slow", keep=None)
        async def slow(number: int, seconds: float, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            await CLOCK.sleep(seconds)
            ledger.effect(ctx)
            return number + 1

        self.add = add
        self.add_in_thread = add_in_thread
        self.again = again
        self.slow = slow

    def _zombies(
        self, app: Treadle, ledger: Ledger, go_on: Path, say: Callable[[str], object]
    ) -> None:
        async def again_later(then: str) -> None:
            """What the second attempt of a job does before it ends well, or does not."""
            if then == "retry":
                raise ValueError("not this time")
            while then == "run" and not go_on.exists():
                await CLOCK.sleep(0.02)

        # So late that the test says when.
        later = Retry(1, backoff=backoff.fixed(3600, jitter=False))

        @app.task(name="late", keep=None, retry=later)
        async def late(then: str, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            if ctx.fence == 2:
                await again_later(then)
            ledger.effect(ctx)
            return ctx.fence

        @app.task(name="held", keep=None, retry=later)
        async def held(then: str, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            if ctx.fence == 2:
                await again_later(then)
            try:
                while ctx.fence == 1:
                    ctx.progress(1)
                    await CLOCK.sleep(0.1)
            except asyncio.CancelledError:
                say("cancelled")
                raise
            ledger.effect(ctx)
            return ctx.fence

        self.late = late
        self.held = held

    def _killers(self, app: Treadle, ledger: Ledger) -> None:
        @app.task(name="pill", keep=None)
        def pill(ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            os.kill(os.getpid(), signal.SIGKILL)
            return 0

        @app.task(name="deadly", keep=None)
        def deadly(way: str, ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            DEADLY[way]()
            return 0

        @app.task(name="single", keep=None, unique="only one")
        async def single(ctx: Context = CONTEXT) -> int:
            ledger.started(ctx)
            ledger.effect(ctx)
            return 1

        self.single = single
        self.pill = pill
        self.deadly = deadly
