"""The same calls with the standard library: executors, bare tasks, semaphores."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any

from benchmarks.workers_classes import nothing

__all__ = [
    "MODES", "executor", "large_trips", "map_rate", "rate", "semaphore_rate",
    "shared_semaphore_rate", "task_rate", "task_trips", "trips",
]  # fmt: skip

MODES = ("sync", "thread", "asyncio", "process")
"""What the standard library has something for."""


def executor(mode: str, workers: int = 1) -> Executor:
    """Threads, or processes as the platform starts them by default."""
    return ThreadPoolExecutor(workers) if mode == "thread" else ProcessPoolExecutor(workers)


async def _anothing(value: int) -> int:
    return value


def _at_once(value: int) -> Future[int]:
    """A call that has ended, as a future."""
    future: Future[int] = Future()
    future.set_result(nothing(value))
    return future


@contextmanager
def _submitting(mode: str) -> Iterator[Callable[[int], Future[int]]]:
    """What submits a call: to nobody, to an executor, or to an event loop in a thread."""
    if mode == "sync":
        yield _at_once
        return
    if mode != "asyncio":
        with executor(mode) as pool:
            yield partial(pool.submit, nothing)
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda value: asyncio.run_coroutine_threadsafe(_anothing(value), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def rate(mode: str, count: int) -> float:
    """Submitted at once, then waited for: calls a second."""
    with _submitting(mode) as submit:
        submit(0).result()
        began = time.perf_counter()
        for future in [submit(number) for number in range(count)]:
            future.result()
        return count / (time.perf_counter() - began)


def trips(mode: str, count: int) -> list[float]:
    """One at a time: milliseconds each."""
    times: list[float] = []
    with _submitting(mode) as submit:
        submit(0).result()
        for number in range(count):
            began = time.perf_counter()
            submit(number).result()
            times.append((time.perf_counter() - began) * 1000)
    return times


async def task_rate(count: int) -> float:
    """Bare tasks, created at once and gathered: a second."""
    began = time.perf_counter()
    await asyncio.gather(*[asyncio.create_task(_anothing(number)) for number in range(count)])
    return count / (time.perf_counter() - began)


async def task_trips(count: int) -> list[float]:
    """Bare tasks, one at a time: milliseconds each."""
    times: list[float] = []
    for number in range(count):
        began = time.perf_counter()
        await asyncio.create_task(_anothing(number))
        times.append((time.perf_counter() - began) * 1000)
    return times


def map_rate(mode: str, count: int, chunk: int) -> float:
    """``Executor.map`` with two workers: items a second."""
    with executor(mode, 2) as pool:
        list(pool.map(nothing, range(10)))
        began = time.perf_counter()
        assert sum(1 for _ in pool.map(nothing, range(count), chunksize=chunk)) == count
        return count / (time.perf_counter() - began)


def large_trips(load: Any, count: int) -> list[float]:
    """A large value to a process and back: milliseconds each."""
    times: list[float] = []
    with executor("process") as pool:
        pool.submit(nothing, 0).result()
        for _ in range(count):
            began = time.perf_counter()
            pool.submit(nothing, load).result()
            times.append((time.perf_counter() - began) * 1000)
    return times


def semaphore_rate(count: int) -> float:
    """A semaphore of threads, taken and given back: a second."""
    return count / _taken(threading.BoundedSemaphore(4), count)


def shared_semaphore_rate(count: int) -> float:
    """A semaphore of processes, by two of them: together, a second."""
    context = multiprocessing.get_context("fork")
    semaphore, took = context.BoundedSemaphore(4), context.SimpleQueue()
    children = [context.Process(target=_take, args=(semaphore, count, took)) for _ in range(2)]
    for child in children:
        child.start()
    longest = max(took.get() for _ in children)
    for child in children:
        child.join()
    return 2 * count / longest


def _take(semaphore: Any, count: int, took: Any) -> None:
    took.put(_taken(semaphore, count))


def _taken(semaphore: Any, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        with semaphore:
            pass
    return time.perf_counter() - began
