"""Notices an event loop that does not turn, and says what holds it."""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable

from treadle.clock import Clock
from treadle.logs import get_logger

__all__ = ["Watchdog"]

_log = get_logger("treadle.foreman")
_FRAMES = 12


class Watchdog:
    """Looks from another thread whether an event loop still turns.

    Made on the loop that it watches. Each look asks the loop for a sign of life; one that does not
    come within ``patience`` seconds is logged once, with the stack of the loop's thread then.

    Args:
        clock: measures the silence.
        patience: seconds.
        blocked: told the seconds of silence and the stack.
    """

    def __init__(
        self, clock: Clock, *, patience: float, blocked: Callable[[float, str], None]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._clock = clock
        self._patience = patience
        self._blocked = blocked
        self._asked: float | None = None
        self._said = False

    def look(self) -> None:
        """Ask for a sign of life, or find that one is overdue."""
        now = self._clock.monotonic()
        if self._asked is None:
            if not self._loop.is_closed():
                self._asked = now
                self._loop.call_soon_threadsafe(self._alive)
            return
        silent = now - self._asked
        if silent >= self._patience and not self._said:
            self._said = True
            stack = self._stack()
            _log.warning(
                "loop.blocked",
                seconds=round(silent, 2),
                hint="blocking calls belong in a plain def task, which runs in a thread",
                stack=stack,
            )
            self._blocked(silent, stack)

    def _alive(self) -> None:
        self._asked = None
        self._said = False

    def _stack(self) -> str:
        frame = sys._current_frames().get(self._thread_id)
        return "".join(traceback.format_stack(frame)[-_FRAMES:]) if frame is not None else ""
