"""What it costs to read something: processor time, and memory at its peak."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["MOST_BYTES", "Cost", "cost_of"]

MOST_BYTES = 64 << 20
_MOST_SECONDS = 0.1
_MOST_OBJECTS = 1_500_000
"""As many small objects as a slow processor may make in the time that a reading takes there."""


class Cost:
    """Of one call, which may have raised."""

    def __init__(self, seconds: float, peak: int, error: Exception | None) -> None:
        self.seconds = seconds
        self.peak = peak
        self.error = error

    def check(self) -> None:
        most = _MOST_SECONDS
        if self.seconds > most:
            with _alone():
                most = max(most, _yardstick())
        took = f"{self.seconds * 1000:.0f} ms, where {most * 1000:.0f} are allowed"
        assert self.seconds <= most, took
        assert self.peak <= MOST_BYTES, f"{self.peak / 1e6:.0f} MB"


def _yardstick() -> float:
    """How long this processor needs, at the moment, for what a reading may cost."""
    portions = 10
    best = float("inf")
    for _ in range(3):
        kept: dict[int, list[int]] = {}
        began = time.thread_time()
        for number in range(_MOST_OBJECTS // portions):
            kept[number] = [number]
        best = min(best, time.thread_time() - began)
    return best * portions


def _timed(call: Callable[[], Any]) -> tuple[float, Exception | None]:
    error = None
    # Processor time of this thread: what others do on the machine does not count.
    began = time.thread_time()
    try:
        call()
    except Exception as problem:  # noqa: BLE001  whoever asked for the cost looks at it
        error = problem
    return time.thread_time() - began, error


@contextmanager
def _alone() -> Iterator[None]:
    """The collector looks at what is made from now on, not at what the process had before."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def cost_of(call: Callable[[], Any], *, memory: bool = True) -> Cost:
    """The cost of a call: its time, and its memory in a pass of its own."""
    seconds, error = _timed(call)
    if seconds > _MOST_SECONDS:
        seconds = min(seconds, _timed_closely(call))
    if not memory:
        return Cost(seconds, 0, error)
    gc.collect()
    tracemalloc.start()
    try:
        _timed(call)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    return Cost(seconds, peak, error)


def _timed_closely(call: Callable[[], Any]) -> float:
    """The shortest of some times: the processor may be slow for a moment; what is slow stays so."""
    best = float("inf")
    with _alone():
        for _ in range(3):
            best = min(best, _timed(call)[0])
            if best <= _MOST_SECONDS:
                break
    return best
