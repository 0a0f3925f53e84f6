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
from treadle.records import NewJob
from treadle.sending import Outbox, Repeats

if TYPE_CHECKING:
    from treadle.ports import Backend
    from treadle.spool import Spool

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


class Store:
    """Where the jobs of an app live.

    Args:
        url: of the backend.
        open: gives the backend of the URL, not yet connected.
        clock, ids: of the app.
        patience: seconds for which an enqueue is repeated.
        eager: runs jobs where they are enqueued.
        spool: keeps jobs while the store is away.
    """

    def __init__(
        self,
        url: str,
        open: Callable[[str], Backend],  # noqa: A002 - what it does
        *,
        clock: Clock,
        ids: Ids,
        patience: float,
        eager: Eager | None = None,
        spool: Spool | None = None,
    ) -> None:
        self.url = url
        self.eager = eager
        self.spool = spool
        if spool is not None:
            spool.ready, spool.backend = self.ready, self.backend
        self._open = open
        self._lock = threading.Lock()
        self._backend: Backend | None = None
        # Of the loops that are connected.
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = (
            weakref.WeakKeyDictionary()
        )
        # With a spool: of the loops that enqueue, connected or not.
        self._spooling: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = (
            weakref.WeakKeyDictionary()
        )
        # Of the loop that asked last, which nearly always asks next.
        self._latest: tuple[weakref.ref[asyncio.AbstractEventLoop], Outbox] | None = None
        self._clock = clock
        self._ids = ids
        self._patience = patience

    def backend(self) -> Backend:
        """The backend, made at the first call. It may not be connected yet."""
        backend = self._backend
        if backend is None:
            with self._lock:
                backend = self._backend
                if backend is None:
                    backend = self._backend = self._open(self.url)
        return backend

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

    async def direct(self) -> Outbox:
        """What sends the jobs of the running loop to the store, and nowhere else.

        Raises:
            BackendError: the store cannot be reached or used.
        """
        loop = asyncio.get_running_loop()
        box = self._loops.get(loop)
        if box is None:
            backend = self.backend()
            await backend.open()
            repeats = Repeats(
                backend, clock=self._clock, chance=self._ids.chance, patience=self._patience
            )
            box = self._loops.setdefault(loop, Outbox(repeats))
        return box

    async def sender(self) -> Outbox:
        """What sends the jobs of the running loop: to the store, or into the spool.

        Raises:
            BackendError: the store cannot be reached or used, and there is no spool.
        """
        if self.spool is None:
            return await self.direct()
        return self._spooling.get(asyncio.get_running_loop()) or self._line_up(self.spool)

    def _line_up(self, spool: Spool) -> Outbox:
        from treadle.spool import Spooling

        spool.open()
        box = Outbox(Spooling(spool, self.direct, self._clock))
        return self._spooling.setdefault(asyncio.get_running_loop(), box)

    @property
    def outbox(self) -> Outbox | None:
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
