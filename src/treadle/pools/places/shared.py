"""Calls that any thread of a pool may carry out: the next one that is free does."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

from treadle.errors import CallCancelled
from treadle.pools.submission import Submission

__all__ = ["SharedLine", "Taker"]


class Taker(Protocol):
    """A place that takes calls out of the line."""

    def hand(self, call: Submission) -> None:
        """Carry out a call: the place was found to be idle."""
        ...


class SharedLine:
    """One line for all places of a pool, so that a long call holds up none of the others.

    Args:
        placed: told of the place of each call, before it begins.
    """

    def __init__(self, placed: Callable[[Submission, Taker], object]) -> None:
        self._placed = placed
        self._lock = threading.Lock()
        self._line: deque[Submission] = deque()
        # Those that wait for a call; the one that has waited for the shortest time is last.
        self._idle: list[Taker] = []
        self._retired: set[object] = set()

    def __len__(self) -> int:
        return len(self._line)

    def put(self, call: Submission) -> None:
        """Have a call carried out."""
        call.place = self
        with self._lock:
            if not self._idle:
                self._line.append(call)
                return
            taker = self._idle.pop()
            self._placed(call, taker)
            # Inside, so that it is there for whoever finds itself not idle any more.
            taker.hand(call)

    def next(self, taker: Taker) -> Submission | None:
        """The next call; ``None`` when the place is idle from now on, and will be handed one."""
        with self._lock:
            if self._line and taker not in self._retired:
                call = self._line.popleft()
                self._placed(call, taker)
                return call
            if taker not in self._retired:
                self._idle.append(taker)
        return None

    def leave(self, taker: Taker) -> bool:
        """A place has something else to do for now; False when it was handed a call."""
        with self._lock:
            if taker not in self._idle:
                return False
            self._idle.remove(taker)
            return True

    def retire(self, taker: object) -> None:
        """Give a place no more calls."""
        with self._lock:
            self._retired.add(taker)
            self._idle = [one for one in self._idle if one is not taker]

    def interrupt(self, call: Submission, error: BaseException | None = None) -> bool:
        """End a call that waits; one that was taken is for its place to end."""
        if call.place is not self:
            return call.place.interrupt(call, error)
        if error is None or isinstance(error, CallCancelled):
            return call.future.end_cancelled(*(() if error is None else (str(error),)))
        return call.future.end(None, error)

    def drop(self, error: BaseException) -> None:
        """End everything that waits, with an error."""
        with self._lock:
            line, self._line = self._line, deque()
        for call in line:
            call.future.end(None, error)
