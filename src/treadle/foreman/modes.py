"""The sites of tasks without a worker: one for each mode, and for each need."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from treadle.foreman.threads import Threads
from treadle.pools.needs import NO_NEEDS
from treadle.pools.options import cores
from treadle.pools.sites.aio import AsyncioSite
from treadle.pools.sites.site import Program, Site

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.pools.needs import PlaceNeeds
    from treadle.task import Task

__all__ = ["Modes"]


class Modes:
    """Opens sites when they are first needed, which may be long after the foreman was.

    Args:
        core: of the app.
        program: what a site runs.
        threads: of this process.
        patience: seconds that code has to end once it was asked to.
        most: jobs that run at a time.
        stopping: set when long work should find a good place to end.
    """

    def __init__(
        self,
        core: Core,
        program: Program,
        threads: Threads,
        *,
        patience: float,
        most: int,
        stopping: asyncio.Event,
    ) -> None:
        self._core = core
        self._most = most
        self._around: dict[str, Any] = {
            "patience": patience,
            "stopping": stopping,
            "lesson": partial(_lesson, core),
        }
        self._sites: dict[Hashable, Site] = {
            "asyncio": AsyncioSite(program),
            "thread": threads.site(program, core.clock, patience),
        }
        for task in core.tasks.values():
            if task.worker is None:
                self.of(task)

    def of(self, task: Task[..., Any]) -> Site:
        """Where jobs of a task run.

        Raises:
            Unsupported: other processes cannot find the app, or there is no Ray.
        """
        mode = task.mode
        key: Hashable = mode
        if mode == "process" or mode == "ray":
            needs = task.options.needs
            if mode == "ray" or needs is not NO_NEEDS:
                key = (mode, task.options.ray.key, needs.key(task.name))
        site = self._sites.get(key)
        if site is None:
            site = self._ray(task) if mode == "ray" else self._processes(task.options.needs)
            self._sites[key] = site
        return site

    def _processes(self, needs: PlaceNeeds) -> Site:
        from treadle.foreman.jobhost import host_plan
        from treadle.pools.sites.process import ProcessSite

        core = self._core
        most = min(self._most, needs.max_workers or cores())
        plan = host_plan(core)
        return ProcessSite(plan, clock=core.clock, needs=needs, most=most, **self._around)

    def _ray(self, task: Task[..., Any]) -> Site:
        from treadle.pools.places.ray.cluster import require_ray

        require_ray()
        from treadle.foreman.jobhost import host_plan
        from treadle.pools.sites.ray import RaySite

        core, needs = self._core, task.options.ray
        most = min(self._most, task.options.needs.max_workers or self._most)
        plan = host_plan(core)
        return RaySite(plan, needs=needs, clock=core.clock, most=most, **self._around)

    def __iter__(self) -> Iterator[Site]:
        return iter(tuple(self._sites.values()))


def _lesson(core: Core, name: str) -> tuple[Any, ...]:
    from treadle.foreman.lessons import lesson

    return lesson(core, name)
