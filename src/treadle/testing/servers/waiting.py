"""Waiting, in real time, for what other processes do."""

from __future__ import annotations

import threading
from collections.abc import Callable

from treadle.clock import SystemClock

__all__ = ["until"]

_CLOCK = SystemClock()
_LOOK = 0.01


def until(condition: Callable[[], bool], patience: float) -> bool:
    """Whether the condition came to hold within so many seconds."""
    deadline = _CLOCK.monotonic() + patience
    pause = threading.Event()
    while not condition():
        if _CLOCK.monotonic() > deadline:
            return False
        _CLOCK.wait(pause, _LOOK)
    return True
