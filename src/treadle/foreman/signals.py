"""Signals, told to a program that is one event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["heard"]

_ASKED_TO_END = (signal.SIGTERM, signal.SIGINT)


@contextlib.contextmanager
def heard(
    loop: asyncio.AbstractEventLoop, hear: Callable[[signal.Signals], object]
) -> Iterator[None]:
    """A block in which SIGTERM and SIGINT are heard.

    ``add_signal_handler`` alone may lose one: the number of a signal goes through the pipe that
    also carries the wake-ups of other threads, and a pipe that has no room drops it. That happens
    to a loop which could not turn for a moment, such as one whose process was stopped. A plain
    handler is always called, by the main thread; all that the pipe has to do for it is to wake
    the loop, which a full one does.

    Where a loop cannot watch signals (Windows, other threads) there is KeyboardInterrupt alone.

    Args:
        loop: runs in this thread.
        hear: called between two instructions of this thread, whatever the loop is doing, so it
            does no more than to leave the process or to tell the loop, as from another thread.
    """
    watched: list[signal.Signals] = []
    for number in _ASKED_TO_END:
        with contextlib.suppress(NotImplementedError, RuntimeError, ValueError):
            # It has the loop woken also when another thread receives the signal.
            loop.add_signal_handler(number, _nothing)
            watched.append(number)
            signal.signal(number, lambda received, _: hear(signal.Signals(received)))
            signal.siginterrupt(number, False)
    if watched:
        signal.set_wakeup_fd(signal.set_wakeup_fd(-1), warn_on_full_buffer=False)
    try:
        yield
    finally:
        for number in watched:
            loop.remove_signal_handler(number)


def _nothing() -> None:
    """The handler has done it."""
