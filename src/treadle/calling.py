"""Calls of tasks here and now, in pools of this process that the tasks of an app share."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from treadle.clock import Clock, SystemClock
from treadle.errors import InvalidCall, NotOpen
from treadle.ids import Ids
from treadle.loopthread import background, may_block
from treadle.policies.limitset import Limits
from treadle.policies.retry import Retry
from treadle.policies.stored import restored
from treadle.policies.timeout import Timeout
from treadle.pools.bound import Bound, Carrier
from treadle.pools.crew import Crew
from treadle.pools.defaults import with_defaults
from treadle.pools.lane import Lane
from treadle.pools.limiting.common import CommonLimits
from treadle.pools.needs import NO_NEEDS
from treadle.pools.options import Mode, PoolOptions, cores
from treadle.pools.resident import Plan
from treadle.pools.shelf import Shelf
from treadle.pools.submission import Kind

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.options import Options
    from treadle.task import Task

__all__ = ["Pools", "bound_here", "check_arguments"]

P = ParamSpec("P")
R = TypeVar("R")
# Which pool it is: its mode, the loop in which it lives, what its tasks need.
_Key = tuple[str, asyncio.AbstractEventLoop | None, Hashable]
# Configured for pools of the user's; tasks have options of their own.
_DECIDED = frozenset({"mode", "retry", "timeout", "max_queued_tasks"})
_ONLY_JOBS = (("due", "delay= or run_at="), ("after", "after="), ("id", "id="), ("flow", "flow="))


class Pools:
    """A pool for each mode, started on first use. One of the asyncio mode lives in each loop.

    A task that needs places of its own has a pool for itself.

    Args:
        clock, ids: of the app; those of the machine for tasks without one.
    """

    def __init__(self, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self._clock = clock
        self._ids = ids
        self._closed = False
        self._lock = threading.Lock()
        self._crews: dict[_Key, Crew] = {}
        self._lanes: weakref.WeakKeyDictionary[Task[..., Any], Lane] = weakref.WeakKeyDictionary()
        self._limits = CommonLimits(clock or SystemClock())
        _all.add(self)

    def lane(self, task: Task[..., Any]) -> Lane:
        """The way to the pool of a task, with its policies.

        Raises:
            NotOpen: the app was closed.
        """
        crew = self._crew(task)
        lane = self._lanes.get(task)
        if lane is None or lane.crew is not crew:
            lane = self._lanes[task] = Lane(crew, task.name, self._options(task))
        return lane

    def _crew(self, task: Task[..., Any]) -> Crew:
        mode, loop = task.mode, None
        if mode == "asyncio":
            loop = background().loop if may_block() else asyncio.get_running_loop()
        needs = task.options.needs
        # Actors are alike when they take the same of the cluster, too.
        ray = task.options.ray.key if mode == "ray" else None
        key = (mode, loop, (ray, None if needs is NO_NEEDS else needs.key(task.name)))
        crew = self._crews.get(key)
        if crew is not None and not crew.closed:
            return crew
        with self._lock:
            if self._closed:
                raise NotOpen(
                    "the app was closed, and its pools with it; open it again with 'with app:', "
                    "or close it later"
                )
            crew = self._crews.get(key)
            if crew is None or crew.closed:
                self._crews = {one: crew for one, crew in self._crews.items() if _lives(one[1])}
                crew = self._crews[key] = self._started(mode, task.options)
            return crew

    def _started(self, mode: Any, asked: Options[Any]) -> Crew:
        needs, own = asked.needs, asked.needs.max_workers
        options = PoolOptions(
            mode=mode,
            max_workers=1 if mode == "asyncio" else own or cores(),
            balancing="least_active",
            given=_DECIDED if own is None else _DECIDED | {"max_workers"},
            ray=asked.ray,
            **needs.of_children,
        )
        # The dependencies that outlive calls live on the shelves.
        plan = Plan(cls=Shelf, name=f"tasks-{mode}")
        crew = Crew(plan, with_defaults(options), clock=self._clock, ids=self._ids, alike=True)
        crew.start()
        return crew

    def _options(self, task: Task[..., Any]) -> PoolOptions:
        options = task.options
        retry, timeout = options.retry, options.timeout
        if options.call_retry is not None:
            retry = restored(options.call_retry, retry)
        if options.call_retries is not None:
            retry = retry.replace(max=None if options.call_retries < 0 else options.call_retries)
        if options.call_timeout is not None:
            timeout = options.call_timeout
        policies: dict[str, Any] = {}
        if options.limits:
            policies["limits"] = self._limits.of(task.name, options.limits, _limits_of(task.core))
        mode: Mode = task.mode  # type: ignore[assignment]  # read when the task was declared
        return PoolOptions(
            mode=mode,
            retry={} if retry == Retry(0) else {"*": retry},
            timeout=Timeout(None if timeout == math.inf else timeout),
            **policies,
        )

    # ------------------------------------------------------------- life

    def reopen(self) -> None:
        """Allow calls again after a close."""
        self._closed = False

    def close(self) -> None:
        """Take no more calls, and return when those that were accepted have ended."""
        for crew in self._shut():
            crew.stop()

    async def aclose(self) -> None:
        """As :meth:`close`, awaited."""
        for crew in self._shut():
            await crew.astop()

    def _shut(self) -> list[Crew]:
        with self._lock:
            self._closed = True
            crews, self._crews = self._crews, {}
        return [crew for (_, loop, _), crew in crews.items() if _lives(loop)]

    def forget(self) -> None:
        """In a forked child: the places are the parent's."""
        self._lock = threading.Lock()
        self._crews = {}
        self._lanes = weakref.WeakKeyDictionary()


def _limits_of(core: Core | None) -> list[Limits]:
    tasks = () if core is None else tuple(core.tasks.values())
    return [task.options.limits for task in tasks if task.options.limits]


def _lives(loop: asyncio.AbstractEventLoop | None) -> bool:
    return loop is None or loop.is_running()


_all: weakref.WeakSet[Pools] = weakref.WeakSet()
_of_no_app = Pools()


def _after_fork() -> None:
    for pools in list(_all):
        pools.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def bound_here(task: Task[P, R]) -> Bound[P, R]:
    """The function of a task, bound to the pool of its mode.

    Raises:
        InvalidCall: it needs what only a job has.
        NotOpen: its app was closed.
    """
    if task.worker is not None:
        raise InvalidCall(
            f"task {task.name!r} is given a worker; enqueue it, or hold workers of your own and "
            f"call them with it: {task.worker.cls.__name__}.init().call({task.fn.__name__}.fn, …)",
            task=task.name,
        )
    for field, option in _ONLY_JOBS:
        if getattr(task.options, field) is not None:
            raise InvalidCall(
                f"{option} of task {task.name!r} is for jobs; a call in a pool begins as soon as a "
                "place is free. Enqueue it, or leave the option away",
                task=task.name,
            )
    pools = _of_no_app if task.core is None else task.core.pools
    lane = pools.lane(task)
    return Bound(_injected(task, lane) if task.injected else lane, Kind.FUNCTION, task.fn)


def _injected(task: Task[..., Any], lane: Lane) -> Carrier:
    from treadle.injecting import Asked, InjectedLane, Nobody

    asked = Asked(task.name, task.fn, task.is_async, task.mode, task.injected)
    return InjectedLane(lane, asked, Nobody() if task.core is None else task.core)


def check_arguments(task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Return when arguments fit the parameters of a task.

    Raises:
        InvalidCall: they do not, or one of them is injected.
    """
    for name, _ in task.injected:
        if name in kwargs:
            raise InvalidCall(
                f"task {task.name!r}: {name!r} is injected where the call runs, and cannot be "
                "given; for a test, call the function itself",
                task=task.name,
            )
    try:
        task.signature.bind(*args, **kwargs)
    except TypeError as error:
        raise InvalidCall(f"task {task.name!r}: {error}", task=task.name) from None
