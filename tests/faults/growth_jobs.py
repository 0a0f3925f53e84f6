"""The app of the tests of growth, for foreman processes that are replaced."""

from __future__ import annotations

import os
import threading

from treadle import Treadle
from treadle.clock import SystemClock

app = Treadle("sqlite:///nowhere.db")
_KEPT: list[bytes] = []
_CLOCK, _NEVER = SystemClock(), threading.Event()


@app.task(mode="asyncio")
async def work() -> int:
    """The process that it ran in."""
    return os.getpid()


@app.task
def leak() -> int:
    """The same, and a megabyte of that process is never given back."""
    _KEPT.append(b"x" * 2**20)
    _CLOCK.wait(_NEVER, 0.02)
    return os.getpid()
