"""Calls of tasks here and now, in pools of this process that the tasks of an app share."""

from __future__ import annotations

import asyncio
import math
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from treadle.clock import Clock
from treadle.errors import InvalidCall, NotOpen
from treadle.ids import Ids
from treadle.loopthread import background, may_block
from treadle.policies.limits import Limit
from treadle.policies.retry import Retry
from treadle.policies.stored import restored
from treadle.policies.timeout import Timeout
from treadle.pools.bound import Bound, Carrier
from treadle.pools.crew import Crew
from treadle.pools.lane import Lane
from treadle.pools.limiting.limitset import LimitSet
from treadle.pools.options import Mode, PoolOptions, cores
from treadle.pools.resident import Plan
from treadle.pools.shelf import Shelf
from treadle.pools.submission import Kind

if TYPE_CHECKING:
    from treadle.task import Task

__all__ = ["Pools", "bound_here", "check_arguments"]

P = ParamSpec("P")
R = TypeVar("R")
_ONLY_JOBS = (("due", "delay= or run_at="), ("after", "after="), ("id", "id="), ("flow", "flow="))


class Pools:
    """A pool for each mode, started on first use. One of the asyncio mode lives in each loop.

    Args:
        clock, ids: of the app; those of the machine for tasks without one.
    """

    def __init__(self, clock: Clock | None = None, ids: Ids | None = None) -> None:
        self._clock = clock
        self._ids = ids
        self._closed = False
        self._lock = threading.Lock()
        self._crews: dict[tuple[str, asyncio.AbstractEventLoop | None], Crew] = {}
        self._lanes: weakref.WeakKeyDictionary[Task[..., Any], Lane] = weakref.WeakKeyDictionary()
        # Copies of a task share what they have used of its limits.
        self._limits: dict[tuple[str, tuple[Limit, ...]], LimitSet] = {}
        _all.add(self)

    def lane(self, task: Task[..., Any]) -> Lane:
        """The way to the pool of a task, with its policies.

        Raises:
            NotOpen: the app was closed.
        """
        crew = self._crew(task.mode)
        lane = self._lanes.get(task)
        if lane is None or lane.crew is not crew:
            lane = self._lanes[task] = Lane(crew, task.name, self._options(task))
        return lane

    def _crew(self, mode: str) -> Crew:
        loop = None
        if mode == "asyncio":
            loop = background().loop if may_block() else asyncio.get_running_loop()
        crew = self._crews.get((mode, loop))
        if crew is not None and not crew.closed:
            return crew
        with self._lock:
            if self._closed:
                raise NotOpen(
                    "the app was closed, and its pools with it; open it again with 'with app:', "
                    "or close it later"
                )
            crew = self._crews.get((mode, loop))
            if crew is None or crew.closed:
                self._crews = {key: one for key, one in self._crews.items() if _lives(key[1])}
                crew = self._crews[mode, loop] = self._started(mode)
            return crew

    def _started(self, mode: Any) -> Crew:
        several = 1 if mode == "asyncio" else cores()
        options = PoolOptions(mode=mode, max_workers=several, balancing="least_active")
        # The dependencies that outlive calls live on the shelves.
        plan = Plan(cls=Shelf, name=f"tasks-{mode}")
        crew = Crew(plan, options, clock=self._clock, ids=self._ids, alike=True)
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
            key = (task.name, tuple(options.limits))
            policies["limits"] = self._limits.setdefault(key, LimitSet(*options.limits))
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
        return [crew for (_, loop), crew in crews.items() if _lives(loop)]

    def forget(self) -> None:
        """In a forked child: the places are the parent's."""
        self._lock = threading.Lock()
        self._crews = {}
        self._lanes = weakref.WeakKeyDictionary()


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
