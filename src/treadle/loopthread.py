"""The event loop in the background, on which blocking verbs are carried out."""

from __future__ import annotations

import asyncio
import atexit
import os
import sys
import threading
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, ClassVar, TypeVar

from treadle.clock import interruptible
from treadle.errors import Blocking, NotOpen

__all__ = [
    "LoopThread",
    "background",
    "hears_ends",
    "is_listening",
    "may_block",
    "may_wait",
    "refuse_in_loop",
]

T = TypeVar("T")
# Seconds that the interpreter waits at its end for code that blocks a loop in the background.
_LAST = 5.0


class LoopThread:
    """An event loop in a daemon thread, started on first use.

    It ends with :meth:`close` or with the interpreter. A forked child starts its own.
    """

    _all: ClassVar[weakref.WeakSet[LoopThread]] = weakref.WeakSet()

    def __init__(self, name: str = "treadle-loop") -> None:
        self._name = name
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._all.add(self)

    def call(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine to its end and give its result. Blocks this thread."""
        future = self.start(coroutine)
        try:
            interruptible(partial(_ended, future))
            return future.result()
        except BaseException:
            future.cancel()  # the caller was interrupted: nobody waits any more
            raise

    def start(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine without waiting for it."""
        try:
            return asyncio.run_coroutine_threadsafe(coroutine, self._running())
        except BaseException:
            coroutine.close()
            raise

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself, running."""
        return self._running()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on this loop."""
        return self._thread is threading.current_thread()

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_serve, args=(self._loop,), name=self._name, daemon=True
                )
                self._thread.start()
            return self._loop

    def close(self, timeout: float | None = None) -> None:
        """End the loop and its thread. Harmless when it does not run.

        Args:
            timeout: seconds to wait for code that blocks the loop.
        """
        if self.is_current:
            raise NotOpen(
                "an app cannot be closed from its own background loop; close it where it was opened"
            )
        with self._lock:
            loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        loop.call_soon_threadsafe(loop.stop)
        thread.join(timeout)

    def forget(self) -> None:
        """In a forked child: the thread is not there, its loop is the parent's."""
        self._lock = threading.Lock()
        if self._loop is not None:
            _orphans.append(self._loop)
        self._loop = self._thread = None


def _ended(future: Future[Any], seconds: float) -> bool:
    try:
        future.exception(seconds)
    except (TimeoutError, CancelledError):
        return future.done()
    return True


_background: LoopThread | None = None


def background() -> LoopThread:
    """The loop that all workers of this process share which have none of their own."""
    global _background
    with _background_lock:
        if _background is None:
            _background = LoopThread("treadle-workers")
        return _background


_background_lock = threading.Lock()

_orphans: list[asyncio.AbstractEventLoop] = []
"""Loops of the parent, kept in a forked child because an open loop complains when collected."""


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.wait(left))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def may_block() -> bool:
    """Whether this thread may block: no event loop runs in it, or only that of a notebook.

    A notebook runs its cells inside an event loop that has nothing else to do.
    """
    return asyncio._get_running_loop() is None or _in_notebook()


_listening = threading.local()


def hears_ends() -> None:
    """Say that this thread is the one that hears how calls have ended."""
    _listening.here = True


def is_listening() -> bool:
    """Whether no call may end as long as this thread waits for one."""
    return getattr(_listening, "here", False)


def may_wait() -> bool:
    """Whether this thread may block until calls have ended or workers have started."""
    return may_block() and not is_listening()


def refuse_in_loop(verb: str, twin: str) -> None:
    """Return when this thread may block.

    Raises:
        Blocking: an event loop runs here, which blocking would stop.
    """
    if may_block():
        return
    raise Blocking(
        f"{verb}() would block the event loop that runs here; use 'await {twin}()'", twin=twin
    )


def _in_notebook() -> bool:
    ipython = sys.modules.get("IPython")
    if ipython is None or "ipykernel" not in sys.modules:
        return False
    get_ipython: Callable[[], Any] = ipython.get_ipython
    return getattr(get_ipython(), "kernel", None) is not None


@atexit.register
def _close_all() -> None:
    for loop in list(LoopThread._all):
        if not loop.is_current:
            loop.close(_LAST)


def _after_fork() -> None:
    global _background_lock
    _background_lock = threading.Lock()
    for loop in list(LoopThread._all):
        loop.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
