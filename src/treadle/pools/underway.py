"""Calls that were accepted and are not, or not all the time, with a worker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from treadle.errors import WorkerStopped
from treadle.pools.future import Future

__all__ = ["Underway"]


class Underway:
    """Calls that wait for arguments, room, limits or their next attempt.

    The workers of a pool may not end before them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: dict[Future[Any], Callable[[WorkerStopped], None] | None] = {}
        self._then: list[Callable[[], None]] = []
        # Seconds in the lines of limits.
        self.waited = 0.0

    def has_waited(self, seconds: float) -> None:
        """A call has left the line of a limit."""
        with self._lock:
            self.waited += seconds

    def add(
        self, future: Future[Any], let_go: Callable[[WorkerStopped], None] | None = None
    ) -> None:
        """Know of a call until it has ended.

        Args:
            let_go: ends it with an error, unless a worker has it just now.
        """
        with self._lock:
            known = future in self._open
            self._open[future] = let_go
        if not known:
            future.add_done_callback(self._ended)

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self._open.pop(future, None)
            then = [] if self._open else self._then
            if then:
                self._then = []
        for one in then:
            one()

    def when_none(self, then: Callable[[], None]) -> None:
        """Do something as soon as there are no such calls."""
        with self._lock:
            if self._open:
                self._then.append(then)
                return
        then()

    def let_go(self, error: WorkerStopped) -> None:
        """End those with an error that no worker has just now."""
        with self._lock:
            calls = list(self._open.items())
        for future, let_go in calls:
            if let_go is not None:
                let_go(error)
            elif not future.running():
                future.end(None, error)

    def all(self) -> list[Future[Any]]:
        """Those that there are."""
        with self._lock:
            return list(self._open)
