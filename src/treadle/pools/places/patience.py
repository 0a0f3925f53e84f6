"""What happens to a call that does not end when it is asked to."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

from treadle.clock import Clock
from treadle.loopthread import background

__all__ = ["after"]


def after(clock: Clock, seconds: float, act: Callable[[], object]) -> None:
    """Do something later, in the loop that all workers share; from any thread."""
    loop = background().loop
    with contextlib.suppress(RuntimeError):  # the process ends, and everything with it
        loop.call_soon_threadsafe(clock.call_later, seconds, act)
