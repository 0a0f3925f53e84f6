"""How code that runs can notice that it was asked to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from treadle.errors import CallCancelled

__all__ = ["noticed_by", "stopping", "waiting", "why_here"]

_here = threading.local()

Hear = Callable[[Callable[[], object]], Callable[[], object]]
Why = Callable[[], BaseException | None]
"""Why the call has to end that runs in a place now, once it has to."""


def stopping() -> bool:
    """Whether the call that runs here was asked to end: cancelled, timed out, or its pool killed.

    A thread cannot be stopped from outside. Long plain code asks now and then, and returns::

        def crunch(self, rows):
            for row in rows:
                if treadle.stopping():
                    return
                ...

    Coroutines need not ask: they are cancelled. Outside of a call it is False.
    """
    return why_here()() is not None


def why_here() -> Why:
    """What tells why the call that runs here has to end; it may be asked elsewhere, too."""
    why: Why | None = getattr(_here, "why", None)
    if why is not None:
        return why
    task = None if asyncio._get_running_loop() is None else asyncio.current_task()
    return lambda: None if task is None or not task.cancelling() else CallCancelled()


def noticed_by(why: Why, hear: Hear | None = None) -> None:
    """Have :func:`stopping` ask this, in this thread from now on.

    Args:
        why: says why the call has to end.
        hear: takes what wakes a call that waits, once it is asked to end, and gives what takes it
            back; without it the call looks by itself.
    """
    _here.why = why
    _here.hear = hear


@contextmanager
def waiting(wake: Callable[[], object] | None = None) -> Iterator[None]:
    """A block of plain code that only waits, and goes on waiting for no call that has to end.

    Args:
        wake: ends the waiting, from any thread; without it the waiting is a short one.

    Raises:
        BaseException: why the call has to end that runs here, when it has to.
    """
    hear: Hear | None = getattr(_here, "hear", None)
    forget = None if hear is None or wake is None else hear(wake)
    try:
        yield
    finally:
        if forget is not None:
            forget()
    error = why_here()()
    if isinstance(error, asyncio.CancelledError):  # which is for coroutines
        raise CallCancelled("the call was cancelled")
    if error is not None:
        raise error
