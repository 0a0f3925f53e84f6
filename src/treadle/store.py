"""The backend of an app while one URL holds: opened when needed, once per event loop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from collections.abc import Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from treadle.clock import Clock
from treadle.ids import Ids
from treadle.loopthread import LoopThread
from treadle.records import NewJob
from treadle.sending import Outbox, Repeats

if TYPE_CHECKING:
    from treadle.ports import Backend

__all__ = ["Eager", "Store"]

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
    ) -> None:
        self.url = url
        self.eager = eager
        self._open = open
        self._lock = threading.Lock()
        self._backend: Backend | None = None
        self._loops: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = (
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
        if self.outbox is None:
            loop = asyncio.get_running_loop()
            backend = self.backend()
            await backend.open()
            repeats = Repeats(
                backend, clock=self._clock, chance=self._ids.chance, patience=self._patience
            )
            self._loops.setdefault(loop, Outbox(repeats))
        return self.backend()

    @property
    def outbox(self) -> Outbox | None:
        """What sends the jobs of the running loop; ``None`` when it is not connected."""
        loop = asyncio.get_running_loop()
        latest = self._latest
        if latest is not None and latest[0]() is loop:
            return latest[1]
        box = self._loops.get(loop)
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
            self._latest = None
        if backend is not None:
            backend.close()

    def forget(self) -> None:
        """In a forked child: what is open is the parent's."""
        self._lock = threading.Lock()
        with contextlib.suppress(RuntimeError):
            self._loops.clear()
        _of_parents.append(self._backend)
        self._backend = self._latest = None


_of_parents: list[Backend | None] = []
"""Backends of the parent, kept in a forked child: closing them would close the parent's."""
