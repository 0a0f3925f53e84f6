"""Which calls may overlap, and which have to be alone."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from treadle.pools.submission import Kind, Submission

__all__ = ["Order"]

_LIFE = Kind.LIFE
_ALONE = frozenset({"start", "stop", "restart"})


class Order:
    """Lets calls run beside each other, but the worker's start, stop and restart alone.

    What comes while such a step waits or runs stays in line behind it.

    Args:
        go: carries out a call that was in line.
    """

    def __init__(self, go: Callable[[Submission], None]) -> None:
        self.lock = threading.Lock()
        self._go = go
        self._line: deque[Submission] = deque()
        # Calls that run; the step that runs alone.
        self._running = 0
        self._alone: Submission | None = None
        # Whether what comes has to wait.
        self._held = False
        self._closing = False

    def enter(self, call: Submission, *, first: bool = False) -> bool:
        """Whether a call may run now; else its turn comes, before the others if ``first``."""
        with self.lock:
            if not self._held and (call.kind is not _LIFE or call.what not in _ALONE):
                self._running += 1
                return True
            if first:
                self._line.appendleft(call)
            else:
                self._line.append(call)
            ready = self._ready()
        for one in ready:
            self._go(one)
        return False

    def enter_beside(self) -> None:
        """Count one more, without a turn."""
        with self.lock:
            self._running += 1

    def leave(self, call: Submission) -> bool:
        """A call has ended; whether it was the last one after :meth:`close`."""
        with self.lock:
            if call is self._alone:
                self._alone = None
            else:
                self._running -= 1
            if not self._held:
                return self._closing and self._running == 0
            ready = self._ready()
            over = self._closing and self._idle()
        for one in ready:
            self._go(one)
        return over

    def close(self) -> bool:
        """Whether nothing runs and waits; if not, the last :meth:`leave` says so."""
        with self.lock:
            self._closing = True
            return self._idle()

    def _idle(self) -> bool:
        return self._running == 0 and self._alone is None and not self._line

    def take_back(self) -> list[Submission]:
        """The calls that wait, without the steps of the worker's life."""
        with self.lock:
            calls = [call for call in self._line if call.kind != Kind.LIFE]
            self._line = deque(call for call in self._line if call.kind == Kind.LIFE)
            self._held = self._alone is not None or bool(self._line)
        return calls

    def _ready(self) -> list[Submission]:
        """What may run now, out of the line."""
        ready: list[Submission] = []
        while self._line and self._alone is None:
            call = self._line[0]
            if call.kind == Kind.LIFE and call.what in _ALONE:
                if self._running > 0:
                    break
                self._alone = call
            else:
                self._running += 1
            ready.append(self._line.popleft())
        self._held = self._alone is not None or bool(self._line)
        return ready
