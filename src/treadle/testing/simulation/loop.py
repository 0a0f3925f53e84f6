"""An event loop whose time is not real, and processes in it that stand still and die."""

from __future__ import annotations

import asyncio
import heapq
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from contextvars import Context, ContextVar
from typing import Any, TypeVar, TypeVarTuple

from treadle.clock import Timer
from treadle.testing.clock import START

__all__ = ["Process", "SimulatedClock", "SimulatedLoop", "Stuck", "aside"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
_PROCESS: ContextVar[Process] = ContextVar("treadle.simulation.process")


class Stuck(RuntimeError):
    """Nothing runs, and nothing is due: everything waits for something that will not come."""


class Process:
    """What lives, stands still and dies together, as an operating system has it.

    Every task and timer belongs to the process in whose context it was made. One that is killed
    runs no line of code any more, no ``finally`` either; one that is frozen does all that it had
    to do at once when it is thawed.
    """

    def __init__(self, loop: SimulatedLoop, name: str) -> None:
        self.name = name
        self.dead = False
        # When it stood still the last time, and whether it does now.
        self.frozen_at = -1.0
        self.frozen = False
        # Until when it was harmed the last time, by that or by the network.
        self.harmed_at = -1.0
        # It was asked to end before all had ended.
        self.leaving = False
        # Told of its death.
        self.at_death: list[Callable[[], object]] = []
        self._loop = loop
        self._held: list[asyncio.Handle] = []

    def spawn(self, main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """A task of this process."""
        context = Context()
        context.run(_PROCESS.set, self)
        return self._loop.create_task(main, name=self.name, context=context)

    def freeze(self) -> None:
        """Stand still."""
        self.frozen = True
        self.harm()
        self.frozen_at = self._loop.time()

    def thaw(self) -> None:
        """Go on."""
        if self.frozen and not self.dead:
            self.frozen = False
            self.harm()
            self.frozen_at = self._loop.time()
            self._release()

    def harm(self, seconds: float = 0.0) -> None:
        """Something happens to it, for so long, that may cost it a lease."""
        self.harmed_at = max(self.harmed_at, self._loop.time() + seconds)

    def unharmed_since(self, instant: float) -> bool:
        """Whether nothing has happened to it."""
        return not (self.dead or self.frozen) and self.harmed_at < instant

    @property
    def faithful(self) -> bool:
        """Whether it had all the time to do what it owed."""
        return not (self.dead or self.leaving)

    def kill(self) -> None:
        """Run nothing any more."""
        self.dead = True
        for told in self.at_death:
            told()

    def bury(self) -> None:
        """Let what is left of it clean up after itself; the simulation is over."""
        self.dead = self.frozen = False
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        self._loop.resume(held)

    def admits(self, handle: asyncio.Handle) -> bool:
        """Whether a callback of it may run now; else it is kept."""
        if self.frozen or self.dead:
            self._held.append(handle)
            return False
        return True


class _Callback(asyncio.Handle):
    __slots__ = ()

    def _run(self) -> None:
        if _admitted(self):
            super()._run()


class _Alarm(asyncio.TimerHandle):
    __slots__ = ()

    def _run(self) -> None:
        if _admitted(self):
            super()._run()


def _admitted(handle: Any) -> bool:
    context: Context = handle._context
    if _PROCESS not in context:
        return True
    process: Process = context[_PROCESS]
    return process.admits(handle)


class SimulatedLoop(asyncio.BaseEventLoop):
    """Runs callbacks in one order, and jumps to the next timer when there is nothing to do.

    It has neither sockets nor threads, so a run depends on nothing but the code that it runs.
    """

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._selector = self  # where the base class waits

    def time(self) -> float:
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Wait, in no time."""
        if timeout is None:
            raise Stuck("nothing is due, and the simulation has not ended")
        if timeout > 0:
            self._now = max(self._now, self._scheduled[0].when())
        return []

    def resume(self, handles: list[asyncio.Handle]) -> None:
        """Run callbacks that were kept back."""
        self._ready.extend(handles)

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        handle = _Callback(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        if self.is_closed():
            raise RuntimeError("Event loop is closed")
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self,
        when: float,
        callback: Callable[[*Ts], object],
        *args: *Ts,
        context: Context | None = None,
    ) -> asyncio.TimerHandle:
        alarm = _Alarm(when, callback, args, self, context)
        heapq.heappush(self._scheduled, alarm)
        alarm._scheduled = True  # type: ignore[attr-defined]
        return alarm

    def run_in_executor(
        self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts
    ) -> asyncio.Future[T]:
        raise RuntimeError(f"{func} would run in a thread, and a simulation has none")

    def _process_events(self, event_list: list[Any]) -> None:
        """There are none."""


def aside(main: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """A task of no process: of the network, or of the store."""
    return asyncio.get_running_loop().create_task(main, context=Context())


class SimulatedClock:
    """The clock of one process.

    Args:
        loop: whose time it is.
        ahead: seconds that its calendar is wrong.
    """

    def __init__(self, loop: SimulatedLoop, ahead: float = 0.0) -> None:
        self._loop = loop
        self.ahead = ahead

    def now(self) -> float:
        """Seconds since the epoch."""
        return START + self.ahead + self._loop.time()

    def monotonic(self) -> float:
        """Seconds since the start of the simulation."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait in virtual time."""
        await asyncio.sleep(seconds)  # noqa: TID251 - of the simulated loop

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback`` after so much virtual time."""
        return self._loop.call_later(seconds, callback)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """There is no thread that could wait."""
        raise RuntimeError("a thread would wait, and a simulation has none")
