"""The app: where tasks are declared, jobs enqueued and found, foremen made."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from types import ModuleType, TracebackType
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, overload

from treadle.altering import alter
from treadle.appoptions import AppOptions, make_core
from treadle.bus import Observer
from treadle.durations import Duration, seconds
from treadle.enqueueing import BoundTask, send, send_blocking, send_many, send_many_blocking
from treadle.errors import InvalidCall, InvalidOption
from treadle.followups import rehearse
from treadle.guards import LONGEST_NAME, is_name
from treadle.hints import missing
from treadle.injected import Scope, check_parameters
from treadle.job import Job
from treadle.loopthread import refuse_in_loop
from treadle.middleware import Middleware, checked
from treadle.options import DeclareOptions
from treadle.ports import ALTER_MAX, Altered, Change, Page, Query
from treadle.querying import Conditions, check_chosen, query_of
from treadle.queues import Queue
from treadle.records import JobRecord
from treadle.task import (
    AsyncTask,
    Decorator,
    PlainTask,
    Task,
    WorkerDecorator,
    declare,
    is_task,
)
from treadle.transactions import Transaction

if TYPE_CHECKING:
    from typing import Unpack

    from treadle.foreman import Foreman
    from treadle.locks.lock import Lock, LockOptions
    from treadle.policies.limits import Limit
    from treadle.pools.limiting.limitset import LimitSet
    from treadle.pools.worker import WorkerBuilder
    from treadle.store import Store

__all__ = ["Treadle"]

P = ParamSpec("P")
R = TypeVar("R")
W = TypeVar("W")
F = TypeVar("F", bound=Observer)
MiddlewareT = TypeVar("MiddlewareT", bound=Middleware)


class Treadle:
    """Tasks, and a place where their jobs live.

    Nothing is opened before it is needed. ``async with app:`` (or ``with app:``) opens it on
    entry and closes it on exit, of several such blocks on the last one; without, ``aclose()`` or
    the end of the process closes it.

    Args:
        url: of the backend: ``memory://``, ``sqlite:///jobs.db`` … By default what is
            configured (``TREADLE_URL``, ``treadle.toml``), else ``sqlite:///treadle.db``.
        options: see :class:`~treadle.appoptions.AppOptions`.
    """

    def __init__(self, url: str | None = None, **options: Unpack[AppOptions]) -> None:
        self.core = make_core(url, options)
        # How many blocks of ``with app:`` are open, in all threads.
        self._blocks = 0
        self._entering = threading.Lock()
        if options.get("eager"):
            self.core.store = self._eager_store("memory://", options.get("eager"))
        for one in options.get("middleware", ()):
            self.middleware(one)

    def __repr__(self) -> str:
        return f"<Treadle {self.core.namespace!r} with {len(self.tasks)} tasks>"

    if not TYPE_CHECKING:  # for a type checker every name would exist

        def __getattr__(self, name: str) -> Any:
            raise missing("a Treadle app", self, name, _SYNONYMS)

    @property
    def tasks(self) -> Mapping[str, Task[..., Any]]:
        """The tasks by name."""
        return self.core.tasks

    # ------------------------------------------------------------ declaring

    @overload
    def task(  # type: ignore[overload-overlap]  # a coroutine is a result, too
        self, fn: Callable[P, Coroutine[Any, Any, R]], /
    ) -> AsyncTask[P, R]: ...
    @overload
    def task(self, fn: Callable[P, R], /) -> PlainTask[P, R]: ...
    @overload
    def task(
        self, /, *, worker: type[W] | WorkerBuilder[W], **options: Unpack[DeclareOptions]
    ) -> WorkerDecorator[W]: ...
    @overload
    def task(self, /, **options: Unpack[DeclareOptions]) -> Decorator: ...
    def task(self, fn: Any = None, /, **options: Any) -> Any:
        """Make a task of a function: ``@app.task`` or ``@app.task(retry=3)``.

        Args:
            fn: the function, when there are no options.
            options: see :class:`~treadle.options.DeclareOptions`.
        """
        if fn is not None:
            return declare(fn, options, self.core)
        return functools.partial(declare, options=options, core=self.core)

    def include(self, *sources: ModuleType | Task[..., Any] | str) -> list[Task[..., Any]]:
        """Take in tasks that were made with ``@treadle.task``.

        Args:
            sources: modules, names of modules to import, or tasks.

        Raises:
            UsageError: a task belongs to another app.
            InvalidOption: a module has no tasks.
        """
        taken: list[Task[..., Any]] = []
        for source in sources:
            module = _imported(source) if isinstance(source, str) else source
            if not isinstance(module, ModuleType):
                taken.append(module)
                continue
            found = [one for one in vars(module).values() if is_task(one)]
            if not found:
                raise InvalidOption(
                    f"module {module.__name__!r} has no tasks at its top; "
                    "decorate them with @treadle.task",
                    option="sources",
                    value=source,
                )
            taken.extend(found)
        for task in taken:
            task.join(self.core)
        return taken

    def remove(self, task: Task[..., Any] | Callable[..., Any] | str) -> bool:
        """Take a task out of the app again.

        It belongs to no app then, and can be included again, here or elsewhere. Its jobs stay where
        they are: foremen that do not know it set them aside, for one that does.

        Args:
            task: the task, its function or its name.

        Returns:
            False when it is none of this app.

        Raises:
            UsageError: a foreman of the app runs in this process.
        """
        known = self.core.known(task)
        if known is None:
            return False
        self.core.refuse_beside_foremen("remove")
        known.leave(self.core)
        return True

    def middleware(self, middleware: MiddlewareT) -> MiddlewareT:
        """Surround every enqueue and every attempt from now on. Also a decorator.

        The first that was added is the outermost.
        """
        self.core.middleware = (*self.core.middleware, checked(middleware))
        return middleware

    @overload
    def on(
        self, pattern: str, fn: F, *, task: str | None = None, queue: str | None = None
    ) -> F: ...
    @overload
    def on(
        self, pattern: str, fn: None = None, *, task: str | None = None, queue: str | None = None
    ) -> Callable[[F], F]: ...
    def on(
        self,
        pattern: str,
        fn: Any = None,
        *,
        task: str | None = None,
        queue: str | None = None,
    ) -> Any:
        """Call a function for the events of this process that match: ``@app.on("job.failed")``.

        Args:
            pattern: name of an event, or a glob such as ``"job.*"``.
            fn: a plain or asynchronous function of one event.
            task: glob for the name of the task.
            queue: glob for the name of the queue.
        """
        return self.core.bus.on(pattern, fn, task=task, queue=queue)

    # ------------------------------------------------------------ enqueueing

    @overload
    def enqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    def enqueue(
        self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    def enqueue(self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    def enqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """A durable job of a call.

        Args:
            task: a task, ``task.options(…)``, or the function of one.
            args, kwargs: its arguments.
        """
        call = BoundTask(self.core.task_of(task), args, kwargs)
        return send_blocking(self.core, call, "Treadle.enqueue", "app.aenqueue")

    @overload
    async def aenqueue(self, task: Task[P, R], /, *args: P.args, **kwargs: P.kwargs) -> Job[R]: ...
    @overload
    async def aenqueue(
        self, task: Callable[P, Coroutine[Any, Any, R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    @overload
    async def aenqueue(
        self, task: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Job[R]: ...
    async def aenqueue(self, task: Any, /, *args: Any, **kwargs: Any) -> Job[Any]:
        """A durable job of a call. See :meth:`enqueue`."""
        return await send(self.core, BoundTask(self.core.task_of(task), args, kwargs))

    def enqueue_many(self, calls: Iterable[BoundTask[R]]) -> list[Job[R]]:
        """Jobs of calls of several tasks, pushed together: ``[fetch.bind(url), …]``.

        A thousand at a time, as by :meth:`Task.enqueue_many`.
        """
        return send_many_blocking(
            self.core,
            self._calls(calls),
            "Treadle.enqueue_many",
            "app.aenqueue_many",
        )

    async def aenqueue_many(self, calls: Iterable[BoundTask[R]]) -> list[Job[R]]:
        """Jobs of calls of several tasks, pushed together. See :meth:`enqueue_many`."""
        return await send_many(self.core, self._calls(calls))

    def _calls(self, calls: Iterable[BoundTask[R]]) -> Iterator[BoundTask[R]]:
        for index, call in enumerate(calls):
            if not isinstance(call, BoundTask):
                raise InvalidCall(
                    f"item {index} is {call!r}, not a call; write task.bind(…), or "
                    "task.enqueue_many(…) for calls of one task",
                    task="",
                )
            self.core.task_of(call.task)
            yield call

    def connect(self, *, limit: Duration = 5.0) -> Transaction:
        """A transaction of the store, for rows of your own: ``with app.connect() as connection:``.

        What is written through the connection and what is enqueued with
        ``task.options(within=connection)`` is committed together when the block is left, and
        rolled back when it raises. In an event loop: ``async with``.

        Args:
            limit: how long it may take; where a store has one writer at a time, others wait for it.

        Raises:
            Unsupported: the backend has no such transactions.
            TransactionTooLong: it took longer, and was rolled back.
        """
        return Transaction(self.core, seconds(limit, "limit"), "app.connect()")

    # ------------------------------------------------------------ finding

    @overload
    def job(self, job_id: str, task: Task[..., R]) -> Job[R]: ...
    @overload
    def job(self, job_id: str, task: None = None) -> Job[Any]: ...
    def job(self, job_id: str, task: Task[..., Any] | None = None) -> Job[Any]:
        """A handle on a job by its id. Asks the store nothing yet.

        Args:
            job_id: as in ``job.id``.
            task: whose result it is, for the type of ``result()``.

        Raises:
            InvalidOption: no job can have such an id.
            UnknownTask: the task is none of this app.
        """
        if not is_name(job_id):
            raise InvalidOption(
                f"job_id={job_id!r:.200} is not the id of a job: a text of 1 to {LONGEST_NAME} "
                "characters that can be seen, as in job.id",
                option="job_id",
                value=job_id,
            )
        known = None if task is None else self.core.task_of(task)
        return Job(self.core, job_id, known, created=False)

    async def ajobs(self, query: Query | None = None, **conditions: Unpack[Conditions]) -> Page:
        """A page of the jobs for which all conditions hold, newest first.

        Args:
            query: a query to start from.
            conditions: see :class:`~treadle.querying.Conditions`; ``cursor=page.cursor`` goes on.
        """
        found = self._query(query, conditions)
        backend = await self.core.ready()
        return await backend.find(found)

    def jobs(self, query: Query | None = None, **conditions: Unpack[Conditions]) -> Page:
        """A page of the jobs for which all conditions hold. See :meth:`ajobs`."""
        found = self._query(query, conditions)
        return self.core.call(lambda: self.ajobs(found), "Treadle.jobs", "app.ajobs")

    def _query(self, base: Query | None, conditions: Mapping[str, Any]) -> Query:
        core = self.core
        return query_of(conditions, base, task_of=core.task_of, now=core.clock.now())

    def _chosen(self, base: Query | None, conditions: Mapping[str, Any]) -> Query:
        query = self._query(base or Query(limit=ALTER_MAX), conditions)
        check_chosen(query)
        return query

    async def aalter(
        self, change: Change, query: Query | None = None, **conditions: Unpack[Conditions]
    ) -> Altered:
        """Change the jobs for which all conditions hold, at most 1,000 a call.

        ``altered.cursor`` is where the next call goes on: ``cursor=altered.cursor``.

        Args:
            change: ``Cancel()``, ``Retry()``, ``Reschedule(…)``, ``Reprioritise(…)``,
                ``Delete()`` of :mod:`treadle.ports`.
            query: a query to start from, with a ``limit`` of its own.
            conditions: see :class:`~treadle.querying.Conditions`; ``task="*"`` for all jobs.

        Raises:
            InvalidOption: no condition says which jobs.
        """
        return await alter(self.core, self._chosen(query, conditions), change)

    def alter(
        self, change: Change, query: Query | None = None, **conditions: Unpack[Conditions]
    ) -> Altered:
        """Change the jobs for which all conditions hold. See :meth:`aalter`."""
        found = self._chosen(query, conditions)
        return self.core.call(lambda: self.aalter(change, found), "Treadle.alter", "app.aalter")

    async def arehearse(self, job: Job[R] | str) -> R:
        """What the call of a stored job gives, run here and now: to look at it with a debugger.

        The job itself stays as it is, whatever its state, and no foreman learns of it. A copy of it
        runs as in eager mode: with its arguments, options, middleware, dependencies and retries,
        which do not wait. What it enqueues runs here, too, and nothing of that is left.

        For a console or a script: what other code of the process enqueues meanwhile runs here, too.

        Args:
            job: the job or its id.

        Raises:
            JobFailed: it fails; errors listed in ``errors=`` are raised as they were.
            JobNotFound: there is no such job, or it is no longer kept.
            UnknownTask: its task is none of this app.
            UsageError: a foreman of the app runs in this process.
        """
        record, task = await self._stored(job)
        with self.override(eager="raise"):
            return await rehearse(self.core, record, task)

    def rehearse(self, job: Job[R] | str) -> R:
        """What the call of a stored job gives, run in this thread. See :meth:`arehearse`."""
        words = ("Treadle.rehearse", "app.arehearse")
        record, task = self.core.call(lambda: self._stored(job), *words)
        with self.override(eager="raise"):
            result: R = self.core.call(lambda: rehearse(self.core, record, task), *words)
        return result

    async def _stored(self, job: Job[Any] | str) -> tuple[JobRecord, Task[..., Any]]:
        self.core.refuse_beside_foremen("rehearse")
        record = await (self.job(job) if isinstance(job, str) else job).arecord()
        return record, self.core.task_of(record.spec.task)

    def queue(self, name: str) -> Queue:
        """A handle on a queue with its subqueues: pause, resume, purge, limit, count."""
        return Queue(self.core, name)

    def limits(self, *limits: Limit, config: Mapping[str, Any] | None = None) -> LimitSet:
        """Limits that the store counts, for calls of workers and for code, in the whole fleet.

        Jobs of tasks whose limits have the same keys share them.

        Args:
            limits: :class:`Rate` and :class:`Slots`, each with a ``key``.
            config: what goes with the set; ``got.config`` has it.

        Raises:
            InvalidOption: a limit without a key.
        """
        from treadle.pools.limiting.limitset import LimitSet

        for limit in limits:
            if limit.key is None:
                raise InvalidOption(
                    f"limits: {limit!r} has no key=, by which the fleet would know it",
                    option="limits",
                    value=limit,
                )
        return LimitSet(*limits, config=config, store=self.core)

    def lock(self, name: str, **options: Unpack[LockOptions]) -> Lock:
        """A lock for everything that shares the store: ``with app.lock("reports") as fence``.

        Asks the store nothing yet. In an event loop: ``async with``.

        Args:
            name: what is locked; 1 to 200 characters.
            options: ``lease``, ``timeout`` and ``renew``; see :class:`~treadle.Lock`.

        Raises:
            InvalidOption: a name that nobody can see, or durations that are none.
        """
        from treadle.locks import Lock

        return Lock(self.core, name, **options)

    # ------------------------------------------------------------ running

    def foreman(self, **options: Any) -> Foreman:
        """A foreman that runs jobs in this process: ``async with app.foreman():``.

        Args:
            options: see :class:`~treadle.foreman.Foreman`.
        """
        from treadle.foreman import Foreman

        return Foreman(self.core, **options)

    @contextmanager
    def override(
        self,
        *,
        url: str | None = None,
        eager: bool | Literal["raise"] | None = None,
        depends: Mapping[Callable[..., Any], Callable[..., Any]] | None = None,
    ) -> Iterator[Self]:
        """Another backend, eager mode, other dependencies, as long as the block lasts.

        Args:
            url: where jobs live meanwhile.
            eager: run jobs where they are enqueued, in a store of its own; ``"raise"``: an enqueue
                raises the error of a job that fails.
            depends: functions to call in the place of those in ``Depends(…)``.
        """
        core = self.core
        store, overrides = core.store, core.overrides
        core.overrides = {**overrides, **_checked_overrides(depends or {})}
        if url is not None or eager:
            core.store = self._eager_store(url, eager) if eager else core.store_at(url or core.url)
        try:
            yield self
        finally:
            core.overrides = overrides
            if core.store is not store:
                core.store.close()
                core.store = store

    def _eager_store(self, url: str | None, eager: object) -> Store:
        from treadle.eager import EagerRunner

        if eager not in (True, "raise"):
            raise InvalidOption(
                f"eager={eager!r} is not True, False or 'raise'", option="eager", value=eager
            )
        runner = EagerRunner(self.core, raises=eager == "raise")
        return self.core.store_at(url or "memory://", eager=runner)

    # ------------------------------------------------------------ life

    async def aopen(self) -> Self:
        """Reach the backend now, and check that it serves what the tasks need."""
        self.core.reopen()
        await self.core.reach()
        for task in self.tasks.values():
            self.core.check_served(task)
        return self

    async def aclose(self) -> None:
        """Close the backend, the dependencies of the app, and the background loop."""
        await self.core.aclose()

    def close(self) -> None:
        """Close the backend and the background loop."""
        refuse_in_loop("Treadle.close", "app.aclose")
        self.core.close()

    async def __aenter__(self) -> Self:
        try:
            await self.aopen()
        except BaseException:
            if not self._blocks:
                await self.aclose()  # nobody else will: there is no exit without an entry
            raise
        self.core.app_level().users += 1
        self._enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._leave():
            await self.core.leave_level()
        else:
            await self.aclose()

    def __enter__(self) -> Self:
        refuse_in_loop("Treadle.__enter__", "app.aopen")
        try:
            self.core.call(self.aopen, "Treadle.__enter__", "app.aopen")
        except BaseException:
            if not self._blocks:
                self.close()  # nobody else will: there is no exit without an entry
            raise
        self._enter()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self._leave():
            self.close()

    def _enter(self) -> None:
        with self._entering:
            self._blocks += 1

    def _leave(self) -> bool:
        """Whether other blocks still need the app: the last one that is left closes it."""
        with self._entering:
            self._blocks = max(0, self._blocks - 1)
            return self._blocks > 0


def _imported(name: str) -> ModuleType:
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        # One that the module itself needs is told by its own traceback.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        raise InvalidOption(
            f"include: there is no module {name!r} ({error.name!r} cannot be found); give the name "
            "as it is imported, such as 'shop.tasks', from where the program is started",
            option="sources",
            value=name,
        ) from error


_SYNONYMS = {
    "delay": "enqueue", "send": "enqueue", "send_task": "enqueue", "defer": "enqueue",
    "get_job": "job", "fetch_job": "job", "get_jobs": "jobs", "queues": "queue",
    "get_queue": "queue", "worker": "foreman", "run_worker": "foreman", "run": "foreman",
    "actor": "task", "job_function": "task", "add_middleware": "middleware",
    "autodiscover": "include", "autodiscover_tasks": "include", "discover": "include",
    "shutdown": "close", "stop": "close", "open": "aopen", "subscribe": "on", "on_event": "on",
    "signal": "on", "every": "", "cron": "", "unregister": "remove", "exclude": "remove",
    "execute": "rehearse", "run_job": "rehearse", "perform": "rehearse",
}  # fmt: skip
"""Words for the same in other libraries."""


def _checked_overrides(
    depends: Mapping[Callable[..., Any], Callable[..., Any]],
) -> Mapping[Callable[..., Any], Callable[..., Any]]:
    for original, fake in depends.items():
        if not callable(fake):
            raise InvalidOption(
                f"depends: {fake!r} in the place of {original!r} is not a function; "
                "write lambda: value",
                option="depends",
                value=fake,
            )
        check_parameters(fake, Scope.JOB)
    return depends
