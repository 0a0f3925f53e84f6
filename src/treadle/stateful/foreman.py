"""A foreman over workers: jobs of any function that is given one of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar, Unpack, overload

from msgspec.structs import replace

from treadle import foreman as base
from treadle.config import Settings
from treadle.context import CURRENT
from treadle.core import Core
from treadle.durations import Duration, seconds
from treadle.enqueueing import BoundTask, send
from treadle.errors import InvalidOption, NotOpen, QueueFull, UsageError, WaitTimeout
from treadle.foreman.waits import within
from treadle.job import Job
from treadle.pools.crewstats import PlaceStats
from treadle.pools.options import WorkerOptions, read_pool_options
from treadle.pools.staff import Staff
from treadle.pools.worker import WorkerBuilder
from treadle.ports import Page, Query
from treadle.querying import Conditions, query_of
from treadle.queues import Queue
from treadle.records import FINAL, JobState
from treadle.stateful.functions import Functions
from treadle.stateful.options import ForemanOptions, read_given

__all__ = ["Foreman"]

W = TypeVar("W")
V = TypeVar("V")
P = ParamSpec("P")
R = TypeVar("R")
_QUEUE = "jobs"
_WORKERS = 4
# Failed starts in a row after which a worker is given up.
_GIVE_UP = 5
# Room that somebody else was told of and did not take is found again after so long.
_LOOK_EVERY = 30.0


class Foreman(base.Foreman, Generic[W]):
    """Workers of this process, and the jobs that wait for them in memory.

    ::

        async with Foreman(Browser, max_workers=4, backlog=100) as foreman:
            for url in urls:
                await foreman.enqueue(scrape, url)
            await foreman.join()

    Entering starts the workers; leaving waits for all jobs and stops them. Left by an exception
    it waits for none: those that run are ended, and the workers stopped.

    What a foreman of an app does (:class:`treadle.foreman.Foreman`), it does as well: retries that
    hold no worker while they pause, timeouts, limits, and a breaker, after whose last trip it
    stops in good order and raises :class:`~treadle.errors.BreakerOpen`.

    Args:
        worker: a class of workers, or one with options: ``Browser.options(…).bind(proxy)``.
        options: see :class:`~treadle.stateful.options.ForemanOptions`.

    Raises:
        UnknownOption, InvalidOption: the options are wrong.
    """

    def __init__(
        self, worker: type[W] | WorkerBuilder[W], /, **options: Unpack[ForemanOptions]
    ) -> None:
        builder = WorkerBuilder[W].of(worker)
        workers = builder.workers if isinstance(builder, _ReadyMade) else ()
        given = read_given(options, builder.cls.__name__)
        chosen: dict[str, Any] = dict(given.worker)
        if workers:
            chosen["max_workers"] = len(workers)
        elif "max_workers" not in builder.pool_options.given:
            chosen.setdefault("max_workers", _WORKERS)
        self._builder = builder.options(**chosen)
        self._workers = workers
        self._own_limits = given.own_limits
        self._backlog = given.backlog
        self._staff: Staff | None = None
        # Takes no more jobs, and carries out those that it has.
        self._draining = False
        self._stops: set[asyncio.Task[None]] = set()
        settings = Settings(url="memory://")
        core = Core(settings, clock=given.clock, ids=given.ids)
        place = {"queue": _QUEUE, "bound": given.backlog, "on_full": "error"}
        self._functions = Functions(core, self._builder, place, given.task)
        pool = self._builder.pool_options
        super().__init__(
            core,
            breaker=given.breaker,
            name=self._builder.name,
            concurrency=pool.max_workers * pool.slots,
            queues=[_QUEUE],
            grace=seconds(given.grace, "grace"),
        )

    @classmethod
    def from_workers(cls, workers: Iterable[V], /, **options: Unpack[ForemanOptions]) -> Foreman[V]:
        """A foreman over workers that exist already, each with settings of its own.

        They are started by the foreman, and get their place in the list as ``index``.
        """
        if isinstance(workers, type):
            raise InvalidOption(
                f"workers={workers.__name__} is a class; give a list of its objects, or let "
                f"Foreman({workers.__name__}) make them",
                option="workers",
                value=workers,
            )
        there = list(workers)
        if not there or len({id(one) for one in there}) < len(there) or type in map(type, there):
            raise InvalidOption(
                f"workers={there!r} has to be a list of at least one worker, each only once, and "
                "made already",
                option="workers",
                value=there,
            )
        if "max_workers" in options:
            raise InvalidOption(
                f"max_workers={options['max_workers']!r} is the number of workers that there are",
                option="max_workers",
                value=options["max_workers"],
            )
        made: Any = cls
        foreman: Foreman[V] = made(_ReadyMade(there), **options)
        return foreman

    async def _open(self, stack: AsyncExitStack) -> None:
        await super()._open(stack)
        builder = self._builder
        self._staff = staff = Staff(
            builder.plan,
            builder.moded(builder.natural_mode),
            ready_made=self._workers,
            limits=self._own_limits,
            clock=self._core.clock,
            changed=self._status.changed.set,
            give_up=_GIVE_UP,
            all_gone=lambda error: self._status.fail("all workers have died", error),
        )
        # From here on it ends with the sites, however many of it are started.
        self._sites.employ(builder, staff)
        await staff.start()

    # ------------------------------------------------------------- jobs

    @overload
    async def enqueue(
        self,
        fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[R]: ...
    @overload
    async def enqueue(
        self, fn: Callable[Concatenate[W, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    async def enqueue(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job[Any]:
        """A job of a call; waits while the backlog is full.

        In a job of its own it does not wait: that one would hold the room for which it waits.

        Args:
            fn: a function that is given a worker first, or a task with ``worker=``, which keeps
                its own retry, timeout and limits.
            args, kwargs: its other arguments. They are data, as those of any job.

        Raises:
            InvalidCall, NotEncodable, PayloadTooLarge: the arguments cannot be a job's.
            NotOpen: the foreman is not open, or has stopped.
            BreakerOpen, Quit, WorkerNotStarted: the foreman has stopped for this reason.
        """
        call = self._call(fn, args, kwargs)
        while True:
            if self._life is None or self._draining or self._status.stopping:
                await self._check_at_work()
            try:
                return await send(self._core, call)
            except QueueFull:
                if self._is_inside:
                    task = call.task.options(bound=None)
                    call = BoundTask(task, call.args, call.kwargs)
                else:
                    await self._room(self._backlog)

    @overload
    async def try_enqueue(
        self,
        fn: Callable[Concatenate[W, P], Coroutine[Any, Any, R]],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Job[R]: ...
    @overload
    async def try_enqueue(
        self, fn: Callable[Concatenate[W, P], R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    async def try_enqueue(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Job[Any]:
        """As :meth:`enqueue`, without waiting.

        Raises:
            QueueFull: the backlog is full.
        """
        await self._check_at_work()
        return await send(self._core, self._call(fn, args, kwargs))

    @property
    def _is_inside(self) -> bool:
        """Whether code of one of its jobs asks."""
        attempt = CURRENT.get()
        return attempt is not None and attempt.is_of(self._core)

    def _call(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> BoundTask[Any]:
        return BoundTask(self._functions.task_of(fn), args, kwargs)

    async def jobs(self, query: Query | None = None, **conditions: Unpack[Conditions]) -> Page:
        """A page of its jobs for which all conditions hold, newest first; also after its end."""
        core = self._core
        found = query_of(conditions, query, task_of=self._functions.task_of, now=core.clock.now())
        return await (await core.ready()).find(found)

    async def counts(self) -> Mapping[JobState, int]:
        """How many of its jobs are in each state."""
        return await Queue(self._core, _QUEUE).acounts()

    # ------------------------------------------------------------- workers

    @property
    def workers(self) -> tuple[PlaceStats, ...]:
        """Each worker in numbers, as in the ``stats`` of a pool; those that leave are the last."""
        return () if self._staff is None else self._staff.numbers

    async def resize(self, workers: int) -> None:
        """Have so many workers from now on.

        Those too many end the jobs that they have; no job is lost. Returns once new ones are
        started.

        Raises:
            InvalidOption: it is no number of workers, or there are not so many that exist already.
            WorkerNotStarted: a new one could not be; there are as many as before.
            NotOpen: the foreman is not open, or has stopped.
        """
        options = read_pool_options({"max_workers": workers}, self._builder.pool_options)
        await self._check_at_work()
        assert self._staff is not None, "it is at work"
        await self._staff.resize(workers)
        concurrency = workers * options.slots
        self.options = replace(self.options, concurrency=concurrency)
        self._loop.concurrency = concurrency
        self._status.changed.set()

    # ------------------------------------------------------------- life

    async def stop(self, drain: bool = True, timeout: Duration | None = None) -> None:
        """Stop it, and return when it has. Harmless when it has.

        Jobs are refused from now on. In a job of its own it returns at once, and it stops
        meanwhile.

        Args:
            drain: carry out the jobs that it was given before, further attempts included. Else
                those that run are told, and the others stay as they are; :meth:`jobs` shows them.
            timeout: seconds, after which what still runs is ended, and stays as well. Without it,
                what runs has the ``grace`` of the foreman when there is no draining.
        """
        limit = None if timeout is None else seconds(timeout, "timeout")
        if self._life is None:
            self.ask_to_stop()
            return
        self._draining = True
        stopping = asyncio.ensure_future(self._stop(drain, limit))
        self._stops.add(stopping)
        stopping.add_done_callback(self._stops.discard)
        if not self._is_inside:
            await asyncio.shield(stopping)

    async def _stop(self, drain: bool, limit: float | None) -> None:
        clock = self._core.clock
        if drain and not self.stopping:
            idle = self._until_idle()
            await (idle if limit is None else within(clock, limit, idle))
            limit = 0.0
        if not self.stopping:
            if limit is not None:
                self.options = replace(self.options, grace=limit)
            self.ask_to_stop()
        elif limit is not None:
            await within(clock, limit, super().join())
            self._attempts.end_all()
        await super().join()

    async def join(self, timeout: Duration | None = None) -> None:
        """Return when all jobs have ended, or the foreman was stopped.

        Args:
            timeout: seconds to wait at most; the jobs go on.

        Raises:
            BreakerOpen, Quit, WorkerNotStarted: it has stopped for this reason.
            WaitTimeout: they have not ended in time.
            UsageError: a job of its own would wait for itself.
        """
        if self._is_inside:
            raise UsageError(
                "join() in a job of this foreman would wait for that very job; join where the "
                "foreman was made, or wait for single jobs: await job.aresult()"
            )
        try:
            async with asyncio.timeout(None if timeout is None else seconds(timeout, "timeout")):
                await self._until_done()
        except TimeoutError as error:
            if isinstance(error, WaitTimeout):
                raise
            raise WaitTimeout(f"the jobs have not ended after {timeout} s; they go on") from None

    async def _until_done(self) -> None:
        await self._until_idle()
        await self._raise_reason()

    async def _until_idle(self) -> None:
        while not self.stopping:
            counts = await self.counts()
            if not any(count for state, count in counts.items() if state not in FINAL):
                break
            await self._room(1)

    async def _room(self, bound: int | None) -> None:
        """Return when fewer jobs than that have not ended, or the foreman stops."""
        assert bound is not None, "what has no bound is never full"
        if self.stopping:
            return
        waits = self._status.waits
        room = asyncio.ensure_future(self._backend.wait_for_room(_QUEUE, bound, _LOOK_EVERY))
        waits.add(room)
        try:
            await asyncio.wait((room,))
        finally:
            waits.discard(room)
            if not room.done():
                room.cancel()
                await asyncio.wait((room,))
            if not room.cancelled():
                room.exception()  # the push that follows says what is wrong

    async def _check_at_work(self) -> None:
        if self._life is None:
            raise NotOpen("the foreman is not open; use 'async with Foreman(…) as foreman:'")
        if self.stopping:
            await self._raise_reason()
            raise NotOpen("the foreman has stopped and takes no more jobs; make another one")
        if self._draining:
            raise NotOpen("the foreman is stopping and takes no more jobs; make another one")

    async def _raise_reason(self) -> None:
        """Raise why it stops by itself, once it has stopped in good order."""
        if self.stopping:
            await super().join()
        if self._status.error is not None:
            raise self._status.error

    async def __aexit__(self, *exc_info: object) -> None:
        left_by_error = bool(exc_info) and exc_info[0] is not None
        try:
            if not left_by_error:
                await self.join()
        except asyncio.CancelledError:
            left_by_error = True
            raise
        finally:
            self.ask_to_stop()
            if left_by_error:
                self._attempts.end_all()
            await super().join()
            await self._core.bus.drain()
            self._core.background.close()


class _ReadyMade(WorkerBuilder[W]):
    """Workers that exist already."""

    def __init__(self, workers: Sequence[W]) -> None:
        common = WorkerBuilder[W].of(type(workers[0]))
        super().__init__(common.cls, common.pool_options)
        self.workers = tuple(workers)

    def options(self, **options: Unpack[WorkerOptions]) -> _ReadyMade[W]:
        """A copy with other options."""
        copy = _ReadyMade(self.workers)
        copy.pool_options = read_pool_options(options, self.pool_options)
        return copy

    def check_made(self) -> None:
        """Nothing: they are made."""
