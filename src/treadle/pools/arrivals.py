"""Things handed over one by one, in the order in which they come."""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, TypeVar

from treadle.pools.future import Future

__all__ = ["Arrivals"]

T = TypeVar("T")


class Arrivals(Generic[T]):
    """A line in which things wait for who asks, or who asks for things.

    Both cost the same however many there are. Safe to use from any thread.
    """

    __slots__ = ("_asked", "_come", "_lock")

    def __init__(self) -> None:
        # Forgotten results cancel their calls when they are collected, which may be in the middle
        # of this.
        self._lock = threading.RLock()
        self._come: deque[T] = deque()
        self._asked: deque[Future[T]] = deque()

    def put(self, one: T) -> None:
        """Something comes."""
        with self._lock:
            while self._asked:
                # Who does not wait any more has cancelled what was asked for.
                if self._asked.popleft().end(one):
                    return
            self._come.append(one)

    def next(self) -> Future[T]:
        """What comes next, for one who asks. Cancelled, it is left to the one after."""
        asked: Future[T] = Future()
        with self._lock:
            if self._come:
                asked.end(self._come.popleft())
            else:
                self._asked.append(asked)
        return asked
