"""The backend of an app while one URL holds: opened when needed, once per event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from treadle.clock import Clock
from treadle.errors import BackendUnavailable
from treadle.ids import Ids
from treadle.logs import get_logger
from treadle.loopthread import LoopThread
from treadle.ports import placing, routed
from treadle.records import NewJob, Pushed
from treadle.sending import Outbox, Outboxes, Repeats, Sender
from treadle.telling import Hear, heard

if TYPE_CHECKING:
    from treadle.ports import Backend, Routed
    from treadle.spool import Spool, Spools

__all__ = ["Eager", "Store"]

_log = get_logger("treadle.spool")

T = TypeVar("T")


class Eager(Protocol):
    """Runs jobs in the process that enqueues them, before the enqueue returns."""

    def adapted(self, new: NewJob) -> NewJob:
        """The job without what would make it wait for others."""
        ...

    async def drain(self, job_ids: Sequence[str]) -> None:
        """Run what can run, until these jobs have ended or cannot run now."""
        ...

    def call(self, background: LoopThread, verb: Coroutine[Any, Any, T]) -> T:
        """Carry out a blocking verb; plain functions of tasks run in this thread."""
        ...


class _Direct:
    """Sends jobs to a store that has no spool, beside others that have one."""

    def __init__(self, connected: Callable[[], Coroutine[Any, Any, Sender]]) -> None:
        self._connected = connected

    async def push(self, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        return await (await self._connected()).push(jobs)


class Store:
    """Where the jobs of an app live.

    Args:
        url: of the backend.
        open: gives the backend of the URL, not yet connected.
        clock, ids: of the app.
        patience: seconds for which an enqueue is repeated.
        hear: told of the jobs that ended by themselves.
        eager: runs jobs where they are enqueued.
        spool: keeps jobs while the store is away.
        of_several: the backend is made of several.
    """

    def __init__(
        self,
        url: str,
        open: Callable[[str], Backend],  # noqa: A002 - what it does
        *,
        clock: Clock,
        ids: Ids,
        patience: float,
        hear: Hear,
        eager: Eager | None = None,
        spool: Spool | Spools | None = None,
        of_several: bool = False,
    ) -> None:
        self.url = url
        self.eager = eager
        self.spool = spool
        if spool is not None:
            self._join(spool)
        self._of_several = of_several
        self._open = open
        self._lock = threading.Lock()
        # As it was opened; what everybody is given has a hearer beside it.
        self.made: Backend | None = None
        self._backend: Backend | None = None
        # Whether it is known that any new id will do: it is no store in parts.
        self.any_id = False
        self._placed: Callable[[NewJob], str] | None = None
        # Of the loops that are connected.
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = (
            weakref.WeakKeyDictionary()
        )
        # With a spool: of the loops that enqueue, connected or not.
        self._spooling: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Sender] = (
            weakref.WeakKeyDictionary()
        )
        # Of the loop that asked last, which nearly always asks next.
        self._latest: tuple[weakref.ref[asyncio.AbstractEventLoop], Sender] | None = None
        self._clock = clock
        self._ids = ids
        self._patience = patience
        self._hear = hear

    def backend(self) -> Backend:
        """The backend, made at the first call. It may not be connected yet."""
        backend = self._backend
        if backend is None:
            with self._lock:
                backend = self._backend
                if backend is None:
                    self.made = self._open(self.url)
                    backend = heard(self.made, self._hear)
                    self._placed = placing(backend)
                    self.any_id = self._placed is None
                    self._backend = backend
        return backend

    def placed(self, job: NewJob) -> str:
        """The id of a job, so that it lies with what it names where a backend is in parts."""
        return job.id if self._placed is None else self._placed(job)

    async def ready(self) -> Backend:
        """The backend, connected for the running loop.

        Raises:
            BackendError: it cannot be reached or used.
        """
        if self.spool is not None or self.outbox is None:
            await self.direct()
        return self.backend()

    async def reach(self) -> Backend:
        """The same, but not connected when it is away and jobs are spooled meanwhile."""
        if self.spool is None:
            return await self.ready()
        self._line_up(self.spool)
        try:
            return await self.ready()
        except (BackendUnavailable, OSError) as error:
            _log.warning("spool.without_store", path=self.spool.file.path, reason=str(error))
            return self.backend()

    async def direct(self) -> Sender:
        """What sends the jobs of the running loop to the store, and nowhere else.

        Raises:
            BackendError: the store cannot be reached or used.
        """
        loop = asyncio.get_running_loop()
        box = self._loops.get(loop)
        if box is None:
            await self.backend().open()
            assert self.made is not None
            box = self._loops.setdefault(loop, self._straight(self.made))
        return box

    def _straight(self, backend: Backend) -> Sender:
        """What sends jobs to a store, or to those of which it is made."""
        several = routed(backend)
        if several is None:
            return Outbox(self._repeats(backend, "the store"))
        boxes = {
            name: Outbox(self._repeats(backend, f"backend {name!r} ({part.url})"))
            for name, part in several.parts.items()
        }
        return Outboxes(boxes, several.route)

    def _repeats(self, backend: Backend, name: str) -> Repeats:
        return Repeats(
            backend,
            clock=self._clock,
            chance=self._ids.chance,
            patience=self._patience,
            hear=self._hear,
            name=name,
        )

    async def sender(self) -> Sender:
        """What sends the jobs of the running loop: to the store, or into the spool.

        Raises:
            BackendError: the store cannot be reached or used, and there is no spool.
        """
        if self.spool is None:
            return await self.direct()
        return self._spooling.get(asyncio.get_running_loop()) or self._line_up(self.spool)

    def _line_up(self, spool: Spool | Spools) -> Sender:
        from treadle.spool import Spooling

        spool.open()
        several = self.several
        box: Sender
        if several is None:
            box = Outbox(Spooling(spool.parts[0], self.direct, self._clock))
        else:
            named = spool.named
            boxes = {
                name: Outbox(
                    Spooling(named[name], self.direct, self._clock)
                    if name in named
                    else _Direct(self.direct)
                )
                for name in several.parts
            }
            box = Outboxes(boxes, several.route)
        return self._spooling.setdefault(asyncio.get_running_loop(), box)

    def _join(self, spool: Spool | Spools) -> None:
        """Tell spools where their jobs go."""
        for name, one in spool.named.items():

            async def ready(name: str = name) -> Backend:
                backend = await self.ready()
                several = routed(backend)
                return backend if several is None else await several.reach(name)

            def known(name: str = name) -> Backend:
                several = self.several
                return self.backend() if several is None else several.parts[name]

            one.ready, one.backend = ready, known

    @property
    def several(self) -> Routed | None:
        """The stores of which this one is made, where it is made of several."""
        return routed(self.backend()) if self._of_several else None

    @property
    def outbox(self) -> Sender | None:
        """What sends the jobs of the running loop; ``None`` when there is none yet."""
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is not None and latest[0]() is loop:
            return latest[1]
        box = (self._loops if self.spool is None else self._spooling).get(loop)
        if box is not None:
            self._latest = (weakref.ref(loop), box)
        return box

    @property
    def is_open(self) -> bool:
        """Whether a backend was made."""
        return self._backend is not None

    async def aclose(self) -> None:
        """Close the client of the running loop."""
        loop = asyncio.get_running_loop()
        spooling = self._spooling.pop(loop, None)
        if spooling is not None:
            await spooling.idle()
            self._latest = None
        box = self._loops.get(loop)
        if self._backend is not None and box is not None:
            await box.idle()
            self._loops.pop(loop, None)
            self._latest = None
            await self._backend.aclose()

    def close(self) -> None:
        """Close the backend and every client of it."""
        with self._lock:
            backend, self._backend = self._backend, None
            self._loops.clear()
            self._spooling.clear()
            self._latest = None
        if self.spool is not None:
            self.spool.close()
        if backend is not None:
            backend.close()

    def forget(self) -> None:
        """In a forked child: what is open is the parent's."""
        self._lock = threading.Lock()
        with contextlib.suppress(RuntimeError):
            self._loops.clear()
            self._spooling.clear()
        if self.spool is not None:
            self.spool.forget()
        _of_parents.append(self._backend)
        self._backend = self._latest = None


_of_parents: list[Backend | None] = []
"""Backends of the parent, kept in a forked child: closing them would close the parent's."""
