"""Whether a foreman goes on, and what it ends with."""

from __future__ import annotations

import asyncio
from typing import Any

from treadle.logs import get_logger

__all__ = ["QUIT", "Status"]

QUIT = 75
"""Exit status after ``Quit`` or the last trip of the breaker (EX_TEMPFAIL of sysexits.h)."""

_log = get_logger("treadle.foreman")


class Status:
    """What the parts of a foreman know of its end. The first reason to stop stands."""

    def __init__(self) -> None:
        self.stopping = False
        # Why, for people.
        self.reason = ""
        self.exit_status = 0
        # The same, for a program that asks.
        self.error: BaseException | None = None
        # Why a process wants to be replaced by a fresh one.
        self.recycled: str | None = None
        # A stop was asked for.
        self.asked = asyncio.Event()
        # An attempt has ended, a verdict was answered, the breaker has moved, or a stop was
        # asked for: whoever waits for places looks again.
        self.changed = asyncio.Event()
        # Cancelled by a stop.
        self.waits: set[asyncio.Future[Any]] = set()

    def stop(self, reason: str) -> None:
        """Stop in good order."""
        self.reason = self.reason or reason
        self.stopping = True
        self.asked.set()
        self.changed.set()
        for wait in self.waits:
            wait.cancel()

    def quit(self, reason: str, error: BaseException) -> None:
        """Stop in good order, and say to the supervisor that no other is to follow."""
        self._end(QUIT, reason, error)

    def fail(self, reason: str, error: BaseException) -> None:
        """Stop in good order, because it cannot go on."""
        self._end(1, reason, error)

    def _end(self, exit_status: int, reason: str, error: BaseException) -> None:
        _log.warning("foreman.quit", reason=reason)
        self.exit_status = self.exit_status or exit_status
        self.error = self.error or error
        self.stop(reason)

    def recycle(self, reason: str) -> None:
        """Stop in good order, to be replaced."""
        if not self.stopping:
            _log.info("foreman.recycled", reason=reason)
            self.recycled = reason
            self.stop(reason)
