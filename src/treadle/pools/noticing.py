"""How code that runs can notice that it was asked to end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

from treadle.errors import CallCancelled

__all__ = ["noticed_by", "stopping", "why_here"]

_here = threading.local()

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


def noticed_by(why: Why) -> None:
    """Have :func:`stopping` ask this, in this thread from now on."""
    _here.why = why
