"""Calls in threads of this process."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any

from treadle.clock import Clock
from treadle.logs import get_logger
from treadle.pools.sites.site import Call, Channel, Ended, Program

__all__ = ["ThreadSite", "Work"]

_log = get_logger("treadle.pools")


class ThreadSite:
    """Runs the plain functions of a call in threads, everything else on the caller's loop.

    Threads start when none is idle and stay. A thread cannot be stopped from outside: code
    that is asked to end has ``patience`` seconds to notice (``ctx.check()``, ``ctx.stopping``);
    then the thread is abandoned, said aloud, counted in ``abandoned``, and replaced.

    Args:
        program: what a call runs.
        clock: measures the patience.
        patience: seconds.
        name: of the threads.
    """

    def __init__(
        self, program: Program, *, clock: Clock, patience: float = 5.0, name: str = "treadle"
    ) -> None:
        self.abandoned = 0
        self._program = program
        self._clock = clock
        self._patience = patience
        self._name = name
        self._work: SimpleQueue[Work | None] = SimpleQueue()
        self._threads: dict[int, threading.Thread] = {}
        self._idle = 0
        self._lock = threading.Lock()

    async def run(self, call: Call, channel: Channel) -> Ended:
        """Run a call to its end."""
        # Before the dependencies: one that kills the process is to blame as well.
        channel.started()

        async def invoke(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
            return await self._invoke(Work(fn, args, kwargs), call.name)

        return await self._program(call, channel, invoke)

    async def _invoke(self, work: Work, name: str) -> Any:
        self._hand_over(work)
        try:
            return _given(await asyncio.shield(work.future))
        except asyncio.CancelledError:
            # Raised by the function itself, or asked for before a thread took it.
            if work.future.done() or work.withdraw():
                raise
            if not await self._noticed(work):
                self._abandon(work, name)
                raise
            return _given(work.future.result())

    async def _noticed(self, work: Work) -> bool:
        """Whether the code ended by itself within the patience. A second request cuts it short."""
        over = asyncio.get_running_loop().create_future()
        timer = self._clock.call_later(self._patience, over.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({over, work.future}, return_when=asyncio.FIRST_COMPLETED)
        timer.cancel()
        over.cancel()
        return work.future.done()

    def _hand_over(self, work: Work) -> None:
        with self._lock:
            if self._idle > 0:
                self._idle -= 1
            else:
                thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                thread.start()
                self._threads[id(thread)] = thread
        self._work.put(work)

    def _serve(self) -> None:
        thread = threading.current_thread()
        while (work := self._work.get()) is not None:
            if work.take():
                work.run()
            with self._lock:
                work.over = True
                if work.abandoned:
                    return  # it was replaced while it ran
                self._idle += 1
            del work  # with what it refers to, before the next wait
        with self._lock:
            self._threads.pop(id(thread), None)

    def _abandon(self, work: Work, name: str) -> None:
        with self._lock:
            if work.over:
                return  # at the last moment
            work.abandoned = True
            self.abandoned += 1
            self._threads.pop(id(work.thread), None)
        _log.error(
            "thread.abandoned",
            task=name,
            patience=self._patience,
            abandoned=self.abandoned,
            hint="threads cannot be stopped; call ctx.check() in long loops",
        )

    async def aclose(self) -> None:
        """End the idle threads. Abandoned ones are daemons and end with the process."""
        with self._lock:
            threads = list(self._threads.values())
        for _ in threads:
            self._work.put(None)
        for thread in threads:
            thread.join(self._patience)


def _given(end: tuple[Any, BaseException | None]) -> Any:
    """What a function returned, or raise what it raised.

    The pair is a result for the future in any case: a future treats StopIteration, GeneratorExit
    and CancelledError as words of its own.
    """
    value, error = end
    if error is not None:
        raise error
    return value


class Work:
    """A function call on its way through a thread."""

    __slots__ = (
        "_args", "_context", "_fn", "_kwargs", "_lock", "_loop", "_withdrawn", "abandoned",
        "future", "over", "thread",
    )  # fmt: skip

    def __init__(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self._fn, self._args, self._kwargs = fn, args, kwargs
        self._context = contextvars.copy_context()
        self._loop = asyncio.get_running_loop()
        self._lock = threading.Lock()
        self._withdrawn = False
        self.future: asyncio.Future[tuple[Any, BaseException | None]] = self._loop.create_future()
        self.thread: threading.Thread | None = None
        self.over = False
        self.abandoned = False

    def withdraw(self) -> bool:
        """Take it back, unless a thread has it already."""
        with self._lock:
            self._withdrawn = self.thread is None
            return self._withdrawn

    def take(self) -> bool:
        """Make it the work of this thread; False when it was withdrawn."""
        with self._lock:
            if not self._withdrawn:
                self.thread = threading.current_thread()
            return not self._withdrawn

    def run(self) -> None:
        """Call the function and tell what came of it."""
        try:
            value, error = self._context.run(self._fn, *self._args, **self._kwargs), None
        # Whatever a task raises, SystemExit included, is the end of its attempt and not
        # of the thread.
        except BaseException as raised:  # noqa: BLE001
            value, error = None, raised
        # A closed loop means that the foreman has gone: nobody is left to be told.
        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self.future.set_result, (value, error))
