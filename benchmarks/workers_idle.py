"""Workers that have answered a call and wait for the next."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

from benchmarks.workers_classes import Echo, nothing
from benchmarks.workers_floor import executor
from treadle import gather

__all__ = ["STARTED"]

Started = Callable[[int], AbstractContextManager[None]]


def _workers(mode: Any) -> Started:
    @contextmanager
    def workers(count: int) -> Iterator[None]:
        # A loop has one worker of a pool: there are as many pools.
        together = 1 if mode == "asyncio" else count
        with ExitStack() as stack:
            for _ in range(count // together):
                pool = stack.enter_context(Echo.options(mode=mode, max_workers=together).init())
                call = pool.anothing if mode == "asyncio" else pool.nothing
                gather([call(number) for number in range(together)])
            yield

    return workers


def _executors(mode: str) -> Started:
    @contextmanager
    def workers(count: int) -> Iterator[None]:
        with ExitStack() as stack:
            # One each: an executor starts another one only while none is idle.
            for _ in range(count):
                stack.enter_context(executor(mode)).submit(nothing, 0).result()
            yield

    return workers


STARTED: dict[str, Callable[[str], Started]] = {"workers": _workers, "executor": _executors}
"""Treadle's workers, and those of the standard library, by mode."""
