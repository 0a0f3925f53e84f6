"""What an app, its jobs and its foremen share."""

from __future__ import annotations

import asyncio
import os
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from treadle import backends
from treadle.bus import Bus
from treadle.calling import Pools
from treadle.clock import Clock, SystemClock
from treadle.codec import Codec
from treadle.config import Settings
from treadle.depends import Level
from treadle.errors import InvalidOption, NotOpen, UnknownTask, UsageError
from treadle.events import Event
from treadle.hints import did_you_mean
from treadle.ids import Ids, SystemIds
from treadle.logs import get_logger
from treadle.loopthread import LoopThread, refuse_in_loop
from treadle.middleware import Middleware
from treadle.mould import check_needs, needs_of
from treadle.routing import DEFAULT, check_routes, open_all, urls_of
from treadle.sending import Sender
from treadle.store import Eager, Store
from treadle.telling import tell_fates

if TYPE_CHECKING:
    from treadle.fates import Fate
    from treadle.ports import Backend
    from treadle.records import NewJob
    from treadle.spool import Spool, Spools
    from treadle.task import Task

__all__ = ["Core"]

T = TypeVar("T")
_log = get_logger("treadle.task")


class Core:
    """The parts of an app, without its verbs.

    Args:
        settings: from :func:`treadle.config.load`.
        codec: seals arguments and results.
        clock, ids: by default those of the machine.
        errors: exception classes that may be rebuilt from what a job left.
        patience: seconds for which an enqueue is repeated while the store does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        codec: Codec | None = None,
        clock: Clock | None = None,
        ids: Ids | None = None,
        errors: Iterable[type[BaseException]] = (),
        patience: float = 30.0,
    ) -> None:
        self.settings = settings
        self.namespace = settings.namespace
        self.clock: Clock = clock or SystemClock()
        self.ids: Ids = ids or SystemIds(self.clock)
        self.codec = codec or Codec(max_payload=settings.max_payload)
        self.errors = tuple(errors)
        self.bus = Bus()
        self.middleware: tuple[Middleware, ...] = ()
        self.tasks: dict[str, Task[Any, Any]] = {}
        self._by_fn: dict[Any, Task[Any, Any]] = {}
        # Of dependencies, for tests.
        self.overrides: dict[Callable[..., Any], Callable[..., Any]] = {}
        self.background = LoopThread()
        self.bus.elsewhere = self.background.start
        self.patience = min(patience, settings.request_ttl)
        self.store = (
            self._routed_store()
            if settings.backends or settings.routes
            else self.store_at(settings.url)
        )
        self._levels: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Level] = (
            weakref.WeakKeyDictionary()
        )
        self.pools = Pools(self.clock, self.ids)
        # Foremen of this process that are open.
        self.serving = 0
        self._closed = False
        _all.add(self)

    @property
    def url(self) -> str:
        """Where the jobs live now."""
        return self.store.url

    @property
    def urls(self) -> Mapping[str, str]:
        """Those of all backends, by name."""
        return {DEFAULT: self.url} if self.store.several is None else urls_of(self.settings)

    def store_at(self, url: str, *, eager: Eager | None = None) -> Store:
        """A store of this app at another place.

        Raises:
            InvalidOption: there can be no such place.
        """
        backends.check(url)
        return Store(
            url,
            self._open_backend,
            clock=self.clock,
            ids=self.ids,
            patience=self.patience,
            hear=self.hear,
            eager=eager,
            spool=None if eager is not None else self._spool_for(url),
        )

    def _routed_store(self) -> Store:
        """The store that is configured, of several backends.

        Raises:
            InvalidOption: queues cannot be routed so.
        """
        check_routes(self.settings)
        return Store(
            self.settings.url,
            lambda _: open_all(self.settings, self._open_backend, clock=self.clock, ids=self.ids),
            clock=self.clock,
            ids=self.ids,
            patience=self.patience,
            hear=self.hear,
            spool=self._spools(),
            of_several=True,
        )

    def _spools(self) -> Spools | None:
        found = {name: self._spool_for(url) for name, url in urls_of(self.settings).items()}
        parts = {name: spool for name, spool in found.items() if spool is not None}
        if not parts:
            return None
        from treadle.spool import Spools

        return Spools(parts)

    def _spool_for(self, url: str) -> Spool | None:
        """What keeps jobs while their server is away, if that is wanted."""
        path = self.settings.spool
        if path is None:
            return None
        from treadle.spool import Spool, SpoolFile, place_of, served

        if not served(url):
            return None
        return Spool(
            SpoolFile(str(Path(path).absolute())),
            place_of(url, self.namespace),
            most=self.settings.spool_max,
            request_ttl=self.settings.request_ttl,
            clock=self.clock,
            chance=self.ids.chance,
            bus=self.bus,
            start=self.background.start,
        )

    def _open_backend(self, url: str) -> Backend:
        options: dict[str, Any] = {"max_failed": self.settings.max_failed}
        if "request_ttl" in self.settings.sources:
            options["request_ttl"] = self.settings.request_ttl
        if self.settings.companion is not None and url.startswith("amqp"):
            options["companion"] = self.settings.companion
        return backends.open(
            url, clock=self.clock, ids=self.ids, namespace=self.namespace, **options
        )

    def backend(self) -> Backend:
        """The backend, opened lazily.

        Raises:
            NotOpen: the app was closed.
        """
        if self._closed:
            raise NotOpen(
                "the app was closed; open it again with 'async with app:' or 'with app:', "
                "or close it later"
            )
        return self.store.backend()

    async def ready(self) -> Backend:
        """The backend, connected for the running loop."""
        if self._closed:
            self.backend()
        return await self.store.ready()

    async def outbox(self) -> Sender:
        """What sends the jobs that are enqueued in the running loop."""
        if self._closed:
            self.backend()
        return self.store.outbox or await self.store.sender()

    async def direct_outbox(self) -> Sender:
        """What sends jobs that no spool may keep."""
        if self._closed:
            self.backend()
        return await self.store.direct()

    async def reach(self) -> Backend:
        """The backend, connected for the running loop unless a spool keeps its jobs meanwhile."""
        if self._closed:
            self.backend()
        return await self.store.reach()

    def call(self, verb: Callable[[], Coroutine[Any, Any, T]], name: str, twin: str) -> T:
        """Carry out a verb and wait for it.

        Args:
            verb: makes the coroutine of the awaitable twin.
            name: of the blocking verb, for the message.
            twin: what to await instead.

        Raises:
            Blocking: an event loop runs in this thread.
        """
        refuse_in_loop(name, twin)
        eager = self.store.eager
        if eager is not None:
            return eager.call(self.background, verb())
        try:
            return self.background.call(verb())
        finally:
            if self._closed:  # it was refused, and nobody else would end the thread
                self.background.close()

    def task_of(self, task: object) -> Task[Any, Any]:
        """The task of what a user names: a task, a copy of one, its function, its name.

        Raises:
            UnknownTask: it is none of this app.
        """
        from treadle.task import is_task

        if is_task(task):
            if task.core is self:
                return task
            if task.core is None:
                raise UnknownTask(
                    f"task {task.name!r} belongs to no app yet; app.include(…) takes it in",
                    task=task.name,
                    known=tuple(self.tasks),
                )
            raise UsageError(f"task {task.name!r} belongs to another app; enqueue it there")
        found = self.known(task)
        if found is None:
            raise self._unknown(task)
        return found

    def known(self, task: object) -> Task[Any, Any] | None:
        """The task of what a user names, if it is one of this app."""
        from treadle.task import is_task

        if is_task(task):
            return task if task.core is self else None
        if isinstance(task, str):
            return self.tasks.get(task)
        return self._by_fn.get(task) if isfunction(task) else None

    def _unknown(self, task: object) -> UnknownTask:
        name = task if isinstance(task, str) else getattr(task, "__qualname__", repr(task))
        # Where several tasks end in the same word, none of them is meant more than the others.
        short = {full.rpartition(".")[2]: full for full in self.tasks}
        hint = did_you_mean(name, self.tasks, short)
        known = ", ".join(sorted(self.tasks)) or "none"
        way = "" if isinstance(task, str) else "; decorate it with @app.task"
        return UnknownTask(
            f"{name!r} is not a task of this app{hint}{way}. Known tasks: {known}",
            task=name,
            known=tuple(self.tasks),
        )

    def adopt(self, task: Task[Any, Any]) -> None:
        """Register a task. The same function again, as after a reload, takes its own place.

        Raises:
            InvalidOption: another function has the name.
            Unsupported: the backend is open and does not serve what the task needs.
        """
        if self.store.is_open:
            self.check_served(task)
        other = self.tasks.get(task.name)
        if other is not None and (other.fn.__module__, other.fn.__qualname__) != (
            task.fn.__module__,
            task.fn.__qualname__,
        ):
            raise InvalidOption(
                f"two tasks are named {task.name!r}: {other.fn.__module__}."
                f"{other.fn.__qualname__} and {task.fn.__module__}.{task.fn.__qualname__}; "
                "give one of them another name: name='…'",
                option="name",
                value=task.name,
            )
        if other is not None and _stands_elsewhere(other.fn, task.fn):
            _log.warning(
                "task.replaced",
                task=task.name,
                hint="another function of this name stands in the same module, and its jobs run "
                "this one now; rename one of them, unless the module was loaded again",
            )
        self.tasks[task.name] = task
        self._by_fn[task.fn] = task

    def drop(self, task: Task[Any, Any]) -> None:
        """Forget a task."""
        self.tasks.pop(task.name, None)
        self._by_fn.pop(task.fn, None)

    def refuse_beside_foremen(self, verb: str) -> None:
        """Return when no foreman of the app runs in this process.

        Raises:
            UsageError: one does.
        """
        if self.serving:
            raise UsageError(
                f"{verb} changes what a foreman runs, and one of this app runs in this process; "
                "stop it first, or do this in another program"
            )

    def check_served(self, task: Task[Any, Any]) -> None:
        """Return when the backend of a task serves what it needs.

        Raises:
            Unsupported: it does not.
            InvalidOption: it shares a limit with a task in another backend.
        """
        check_needs(needs_of(task.options), self.store, task.name, task.options.queue)
        if self.store.several is not None:
            self.store.placed(task.mould.declared())

    def tell(
        self,
        name: str,
        spec: NewJob,
        attempt: int | None = None,
        data: Mapping[str, Any] | None = None,
    ) -> None:
        """Tell the observers of this process what happened to a job, if any listens."""
        if self.bus.wanted(name):
            self.bus.emit(
                Event(
                    name=name,
                    at=self.clock.now(),
                    job_id=spec.id,
                    task=spec.task,
                    queue=spec.queue,
                    attempt=attempt,
                    data=data or {},
                )
            )

    def hear(self, fates: Sequence[Fate]) -> None:
        """Log what became of jobs by themselves, and tell the observers of this process."""
        tell_fates(self.bus, self.clock, fates)

    def app_level(self) -> Level:
        """The dependencies of the running loop that live as long as the app."""
        loop = asyncio.get_running_loop()
        level = self._levels.get(loop)
        if level is None:
            level = self._levels[loop] = Level()
        return level

    async def leave_level(self) -> None:
        """Leave the dependencies of the app in the running loop, and close them as the last one."""
        level = self.app_level()
        level.users -= 1
        if level.users == 0:
            await level.aclose()

    def reopen(self) -> None:
        """Allow verbs again after a close."""
        self._closed = False
        self.pools.reopen()

    async def aclose(self) -> None:
        """Close what belongs to the running loop, then everything else."""
        level = self._levels.pop(asyncio.get_running_loop(), None)
        try:
            await self.pools.aclose()
            if level is not None:
                await level.aclose()
            await self.bus.drain()
            await self.store.aclose()
            spool = self.store.spool
            if spool is not None and spool.forwards:
                await asyncio.wrap_future(self.background.start(self._end_forwarding(spool)))
        finally:
            self._closed = True
            self.background.close()
            self.store.close()

    def close(self) -> None:
        """Close everything, from code that is not asynchronous."""
        self._closed = True
        self.pools.close()
        spool = self.store.spool
        if spool is not None and spool.forwards:
            self.background.call(self._end_forwarding(spool))
        self.background.close()
        self.store.close()

    def open_spool(self) -> None:
        """Have forwarded what an earlier process has left in the spool, if there is one."""
        if self.store.spool is not None:
            self.store.spool.open()

    async def _end_forwarding(self, spool: Spool | Spools) -> None:
        await spool.halt()
        await self.store.aclose()

    def forget(self) -> None:
        """In a forked child: nothing that is open is ours."""
        self._levels = weakref.WeakKeyDictionary()
        self.store.forget()


def _stands_elsewhere(one: Any, other: Any) -> bool:
    """Whether two functions of one name are written in two places of their module.

    In a notebook that is one cell, carried out again after a change.
    """
    if one is other or other.__module__ == "__main__":
        return False
    places = [getattr(fn, "__code__", None) for fn in (one, other)]
    return len({code and (code.co_filename, code.co_firstlineno) for code in places}) > 1


_all: weakref.WeakSet[Core] = weakref.WeakSet()


def _after_fork() -> None:
    for core in list(_all):
        core.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
