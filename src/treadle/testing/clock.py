"""Time that stands still until a test moves it."""

from __future__ import annotations

import asyncio
import heapq
import math
import threading
import time
import types
from collections.abc import Callable, Generator
from typing import Any

from treadle.clock import Timer

__all__ = ["START", "ManualClock", "eventually", "settle"]

START = 1_767_225_600.0
"""Where a :class:`ManualClock` starts: 2026-01-01T00:00:00Z."""

_GRID = 2.0**20
"""Instants are rounded up to 1/_GRID seconds. Such instants are exact as floats also when the
calendar is added, so what was due in ``n`` seconds is due after ``advance(n)``, for any ``n``."""
_SLICE = 0.001
"""Real seconds between two looks of a thread that waits for manual time."""
_PATIENCE = 1.0
"""Real seconds that :func:`settle` gives a woken thread to come to rest."""


class _Alarm:
    """One callback at one instant of manual time."""

    __slots__ = ("_clock", "due", "fire", "live", "order")

    def __init__(self, clock: ManualClock, due: float, order: int, fire: Callable[[], object]):
        self._clock = clock
        self.due = due
        self.order = order
        self.fire = fire
        self.live = True

    def __lt__(self, other: _Alarm) -> bool:
        return (self.due, self.order) < (other.due, other.order)

    def cancel(self) -> None:
        self.live = False
        self._clock._forget(self)


class ManualClock:
    """A :class:`~treadle.clock.Clock` that moves only when it is told to.

    One clock serves any number of event loops and threads at once; a sleeper is woken in the
    loop in which it sleeps. Two sleepers of one loop wake in the order of their instants.

    Args:
        start: seconds since the epoch at which the calendar starts.
    """

    def __init__(self, start: float = START) -> None:
        self._lock = threading.Lock()
        self._elapsed = 0.0
        self._start = start
        self._order = 0
        self._alarms: list[_Alarm] = []
        self._woken: set[threading.Thread] = set()
        self._waiting: dict[threading.Thread, float] = {}

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._start + self._elapsed

    def monotonic(self) -> float:
        """Seconds that the clock was advanced; a :meth:`jump` does not change them."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Wait in the running loop until the clock was advanced by so many seconds."""
        if seconds <= 0:
            await _turn()
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not future.done():
                future.set_result(None)

        alarm = self.call_later(seconds, wake)
        try:
            await future
        finally:
            alarm.cancel()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback`` in the running loop once the clock was advanced so far."""
        loop = asyncio.get_running_loop()
        with self._lock:
            self._order += 1

            def run() -> None:
                if alarm.live:
                    alarm.live = False
                    callback()

            def fire() -> None:
                if not loop.is_closed():
                    loop.call_soon_threadsafe(run)

            due = _instant(self._elapsed + max(seconds, 0.0))
            alarm = _Alarm(self, due, self._order, fire)
            if seconds > 0:
                heapq.heappush(self._alarms, alarm)
                return alarm
        alarm.fire()
        return alarm

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Block this thread until the event is set or the clock was advanced so far."""
        thread = threading.current_thread()
        until = math.inf if seconds is None else _instant(self._elapsed + seconds)
        with self._lock:
            self._woken.discard(thread)
            self._waiting[thread] = until
        try:
            # An event cannot be woken without being set, so the thread looks at both.
            while not event.wait(_SLICE) and self._elapsed < until:
                pass
        finally:
            with self._lock:
                self._waiting.pop(thread, None)
        return event.is_set()

    def advance(self, seconds: float) -> None:
        """Move on, waking what is due, in order.

        What a woken sleeper does next happens after the call, when its loop runs; a timer
        that it sets is not due before the next advance. :meth:`aadvance` has no such gap.
        """
        target = self._target(seconds)
        while self._step(target):
            pass

    async def aadvance(self, seconds: float) -> None:
        """Move on from one due instant to the next, letting the loop come to rest at each.

        A timer that sets itself again every second fires ten times in ten seconds.
        """
        target = self._target(seconds)
        await settle(self)
        while self._step(target):
            await settle(self)
        await settle(self)

    def jump(self, seconds: float) -> None:
        """Set the calendar forth or back, as an operator does; nothing is woken by it."""
        with self._lock:
            self._start += seconds

    @property
    def next_due(self) -> float | None:
        """Seconds until the first sleeper or timer is due; ``None`` when there is none."""
        with self._lock:
            dues = [alarm.due for alarm in self._alarms[:1]]
            dues += [due for due in self._waiting.values() if due != math.inf]
            return max(min(dues) - self._elapsed, 0.0) if dues else None

    def _target(self, seconds: float) -> float:
        if seconds < 0:
            raise ValueError(
                f"advance({seconds}): time only goes forward; use jump() for the calendar"
            )
        return _instant(self._elapsed + seconds)

    def _step(self, target: float) -> bool:
        """Move to the next instant at which something is due; False at the target."""
        with self._lock:
            dues = [alarm.due for alarm in self._alarms[:1]]
            dues += [due for due in self._waiting.values() if self._elapsed < due < math.inf]
            first = min(dues, default=target)
            if first > target or not dues:
                self._elapsed = max(self._elapsed, target)
                return False
            self._elapsed = max(self._elapsed, first)
            fired: list[_Alarm] = []
            while self._alarms and self._alarms[0].due <= self._elapsed:
                fired.append(heapq.heappop(self._alarms))
            self._woken |= {t for t, due in self._waiting.items() if due <= self._elapsed}
        for alarm in fired:
            alarm.fire()
        return True

    def _forget(self, alarm: _Alarm) -> None:
        with self._lock:
            if alarm in self._alarms:
                self._alarms.remove(alarm)
                heapq.heapify(self._alarms)

    def _restless(self) -> bool:
        """Whether a thread that was woken has neither ended nor come back to wait."""
        with self._lock:
            self._woken = {thread for thread in self._woken if thread.is_alive()}
            return bool(self._woken)


def _instant(seconds: float) -> float:
    return math.ceil(seconds * _GRID) / _GRID


async def settle(clock: ManualClock | None = None) -> None:
    """Let the running loop go on until it has nothing left to do at this instant.

    With a clock also the threads that it woke: until each waits on the clock again or has
    ended, for a second of real time at most.
    """
    await _settle_loop()
    if clock is None or not clock._restless():
        return
    deadline = time.monotonic() + _PATIENCE
    while clock._restless() and time.monotonic() < deadline:
        await asyncio.sleep(_SLICE)
    await _settle_loop()


async def eventually(condition: Callable[[], bool], patience: float = 10.0) -> None:
    """Return as soon as the condition holds; for what other threads and processes do.

    Raises:
        AssertionError: it does not hold after ``patience`` seconds of real time.
    """
    deadline = time.monotonic() + patience
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"{condition} did not become true within {patience} s")
        await asyncio.sleep(_SLICE)


async def _settle_loop() -> None:
    # An asyncio loop keeps what it will run next in ``_ready``; other loops get enough turns.
    ready = getattr(asyncio.get_running_loop(), "_ready", None)
    quiet = 0
    while quiet < (3 if ready is not None else 100):
        await _turn()
        quiet = 0 if ready else quiet + 1


@types.coroutine
def _turn() -> Generator[None, Any, None]:
    """One turn of the loop."""
    yield
