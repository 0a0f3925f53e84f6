"""Where the jobs of a foreman run: a site for each mode, and one for each kind of worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from treadle.clock import Clock
from treadle.pools.options import Mode
from treadle.pools.sites.site import Channel, Program, Site
from treadle.pools.sites.workers import WorkerSite
from treadle.pools.staff import Staff

if TYPE_CHECKING:
    from treadle.pools.worker import WorkerBuilder
    from treadle.task import Task

__all__ = ["Sites"]


class Modes(Protocol):
    """The sites of tasks without a worker; see :class:`treadle.foreman.modes.Modes`."""

    def of(self, task: Task[..., Any]) -> Site:
        """Where jobs of a task run."""
        ...

    def __iter__(self) -> Iterator[Site]: ...


class Sites:
    """Finds the site of a task. Workers are hired with the first task that needs them.

    Args:
        tasks: of the app, by name; they may become more.
        modes: opens the site of a task without a worker, when it is first needed.
        program: what a site runs.
        clock: paces workers.
        changed: told whenever a worker may be free.
    """

    def __init__(
        self,
        tasks: Mapping[str, Task[..., Any]],
        modes: Modes,
        program: Program,
        *,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._tasks = tasks
        self._modes = modes
        self._program = program
        self._clock = clock
        self._changed = changed
        self._workers: dict[WorkerBuilder[Any], WorkerSite] = {}

    def of(self, task: Task[..., Any]) -> Site:
        """Where jobs of a task run."""
        builder = task.worker
        if builder is None:
            return self._modes.of(task)
        return self._workers.get(builder) or self._hire(builder)

    def employ(self, builder: WorkerBuilder[Any], staff: Staff) -> None:
        """Have jobs that need a worker of this builder be given those of a staff."""
        self._workers[builder] = WorkerSite(self._program, staff, clock=self._clock)

    def _hire(self, builder: WorkerBuilder[Any]) -> WorkerSite:
        options = builder.moded(self._mode(builder))
        staff = Staff(builder.plan, options, clock=self._clock, changed=self._changed)
        self.employ(builder, staff)
        return self._workers[builder]

    def _mode(self, builder: WorkerBuilder[Any]) -> Mode:
        tasks = (task for task in self._tasks.values() if task.worker == builder)
        return "asyncio" if any(task.is_async for task in tasks) else builder.natural_mode

    def give_up(self, task: Task[..., Any], channel: Channel) -> None:
        """A call will not end, and what it had goes on without it."""
        site = None if task.worker is None else self._workers.get(task.worker)
        if site is not None:
            site.give_up(channel)

    @property
    def number_of_tasks(self) -> int:
        """How many tasks there are; that it changes tells that :meth:`queues` may."""
        return len(self._tasks)

    def queues(self) -> dict[str, list[Staff]]:
        """The queues of tasks that are given workers, and whose."""
        found: dict[str, list[Staff]] = {}
        for task in self._tasks.values():
            if task.worker is not None:
                site = self._workers.get(task.worker) or self._hire(task.worker)
                staffs = found.setdefault(task.options.queue, [])
                if site.staff not in staffs:
                    staffs.append(site.staff)
        return found

    def __iter__(self) -> Iterator[Site]:
        yield from self._modes
        yield from self._workers.values()

    @property
    def abandoned(self) -> int:
        """Calls that were asked to end, did not, and were left to themselves."""
        return sum(site.abandoned for site in self)

    async def aclose(self) -> None:
        """Let go of threads, processes and workers. No call may be running."""
        for site in self:
            await site.aclose()
