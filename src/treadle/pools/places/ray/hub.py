"""The one thread that speaks with all actors of this process."""

from __future__ import annotations

import atexit
import heapq
import os
import threading
from collections.abc import Callable
from inspect import ismethod
from itertools import count
from queue import Empty, SimpleQueue
from typing import Protocol
from weakref import WeakMethod

from treadle.clock import Clock, SystemClock
from treadle.logs import get_logger
from treadle.loopthread import hears_ends

__all__ = ["Hub", "hub", "leave_at_exit"]

_log = get_logger("treadle.pools")


class Guest(Protocol):
    """A place, as the hub knows it."""

    def leave(self) -> None:
        """Stop in good order, because this process ends."""
        ...

    def wait_left(self) -> None:
        """Block until it has, for a while, and then make it."""
        ...


class Hub:
    """Does what places want done, one thing after another.

    Its thread lives from the first place on as long as the process: the system ends what a thread
    has started, such as a cluster, when that thread ends.

    Args:
        clock: says when something that was asked for later is due.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._wanted: SimpleQueue[Callable[[], object]] = SimpleQueue()
        self._later: list[tuple[float, int, Callable[[], Callable[[], object] | None]]] = []
        self._numbers = count()
        self._places: set[Guest] = set()
        self._thread = threading.Thread(target=self._work, name="treadle-ray", daemon=True)
        self._thread.start()

    @property
    def is_current(self) -> bool:
        """Whether the caller runs on it."""
        return threading.current_thread() is self._thread

    def do(self, step: Callable[[], object]) -> None:
        """Have something done soon. From any thread."""
        self._wanted.put(step)

    def later(self, seconds: float, step: Callable[[], object]) -> None:
        """Have something done after a while, unless its object is gone by then. Only on the hub."""
        step_of = WeakMethod(step) if ismethod(step) else lambda: step
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._later, (due, next(self._numbers), step_of))

    def join(self, place: Guest) -> None:
        """A place begins."""
        self._places.add(place)

    def leave(self, place: Guest) -> None:
        """A place has ended."""
        self._places.discard(place)

    def close(self) -> None:
        """Have all places leave."""
        places = tuple(self._places)
        for place in places:
            place.leave()
        for place in places:
            place.wait_left()

    def _work(self) -> None:
        hears_ends()
        while True:
            self._do_what_is_due()
            try:
                step = self._wanted.get(timeout=self._pause())
            except Empty:
                continue
            _try(step)
            del step  # with what it refers to, before the next wait

    def _do_what_is_due(self) -> None:
        while self._later and self._later[0][0] <= self._clock.monotonic():
            step = heapq.heappop(self._later)[2]()
            if step is not None:
                _try(step)

    def _pause(self) -> float | None:
        if not self._later:
            return None
        return max(0.0, self._later[0][0] - self._clock.monotonic())


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception:  # noqa: BLE001 - one place does not end the others
        _log.exception("ray.step_failed")


_lock = threading.Lock()
_hub: Hub | None = None


def hub(place: Guest) -> Hub:
    """The hub of this process, joined by a place."""
    global _hub
    with _lock:
        if _hub is None:
            _hub = Hub()
        _hub.join(place)
        return _hub


_at_exit = False


def leave_at_exit() -> None:
    """Have the places that are left then stop before this process leaves its cluster.

    What is registered last is done first, so this comes after Ray was imported.
    """
    global _at_exit
    with _lock:
        if not _at_exit:
            atexit.register(_close)
            _at_exit = True


def _close() -> None:
    if _hub is not None:
        _hub.close()


def _after_fork() -> None:
    global _hub, _lock
    _hub, _lock = None, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
