"""What a foreman has in a simulation instead of threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from treadle.clock import Clock
from treadle.foreman.threads import Aside, Threads
from treadle.ids import Chance
from treadle.pools.sites.site import Program, Site
from treadle.pools.sites.thread import ThreadSite, Work

__all__ = ["SimulatedThreads"]


class SimulatedThreads(Threads):
    """A heartbeat and plain functions on the loop of the simulation.

    Args:
        chance: how long a plain function waits for a thread, and runs in it.
    """

    def __init__(self, chance: Chance) -> None:
        self._chance = chance

    def aside(self, main: Callable[[], Coroutine[Any, Any, None]], name: str) -> Aside:
        """A task."""
        return _TaskAside(main)

    def site(self, program: Program, clock: Clock, patience: float) -> Site:
        """Calls plain functions when their time in a thread is over."""
        return _SimulatedPlace(program, clock=clock, patience=patience, chance=self._chance)


class _TaskAside:
    def __init__(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._main = main
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._main())

    async def join(self) -> None:
        if self._task is not None:
            await asyncio.wait({self._task})
            if not self._task.cancelled():
                self._task.result()


class _SimulatedPlace(ThreadSite):
    """A place that hands over to nobody: the code of a call runs at once, some time later."""

    def __init__(self, program: Program, *, clock: Clock, patience: float, chance: Chance) -> None:
        super().__init__(program, clock=clock, patience=patience)
        self._chance = chance

    def _hand_over(self, work: Work) -> None:
        def taken() -> None:
            if work.take():
                self._clock.call_later(self._chance.uniform(0.0, 0.8), over)

        def over() -> None:
            # All of it is done now, at the end of its time. Who has abandoned the thread by now
            # had it begin before, and what it still did would be seen to begin too late.
            if not work.abandoned:
                work.run()
            work.over = True

        self._clock.call_later(self._chance.uniform(0.0, 0.01), taken)
