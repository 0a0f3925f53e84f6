"""Time, injected. Nothing else in the library reads a clock or sleeps.

Two readings with different uses: :meth:`Clock.now` is what a calendar says and may jump,
so it stamps records and compares due times; :meth:`Clock.monotonic` never goes back, so it
measures durations and the local deadline of a lease.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Protocol, runtime_checkable

__all__ = ["Clock", "SystemClock", "Timer", "interruptible"]

_SLICE = 0.5
"""Seconds after which a signal is handled at the latest while the main thread waits."""


class Timer(Protocol):
    """A callback that will run later, unless it is cancelled."""

    def cancel(self) -> None:
        """Do not run the callback. Harmless when it already ran."""
        ...


@runtime_checkable
class Clock(Protocol):
    """What the library needs to know of time. Safe to use from any thread."""

    def now(self) -> float:
        """Seconds since the Unix epoch, as the calendar has it."""
        ...

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait in the running event loop."""
        ...

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback`` in the running event loop after ``seconds``."""
        ...

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Block this thread until ``event`` is set or ``seconds`` have passed.

        Returns:
            Whether the event is set.
        """
        ...


class SystemClock:
    """The clock of the machine."""

    __slots__ = ()

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        """Wait in the running event loop."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Run ``callback`` in the running event loop after ``seconds``."""
        return asyncio.get_running_loop().call_later(seconds, callback)

    def wait(self, event: threading.Event, seconds: float | None) -> bool:
        """Block this thread until ``event`` is set or ``seconds`` have passed."""
        return interruptible(event.wait, seconds)


def interruptible(wait: Callable[[float], bool], seconds: float | None = None) -> bool:
    """Block this thread as ``wait`` does, and have signals handled meanwhile.

    Python notes a signal and handles it later, in the main thread. One that comes in the moment
    before that thread begins to wait, or that the system gives to another thread, does not end the
    waiting: Ctrl+C would be heard when what is waited for has come.

    Args:
        wait: blocks for so many seconds at most, and says whether what it waits for has come.
        seconds: to wait at most; ``None`` for as long as it takes.

    Returns:
        Whether it has come.
    """
    left = threading.TIMEOUT_MAX if seconds is None else min(seconds, threading.TIMEOUT_MAX)
    if threading.get_ident() != threading.main_thread().ident:
        return wait(left)
    while left > _SLICE:
        if wait(_SLICE):
            return True
        left -= _SLICE
    return wait(left)
