"""What stays behind after very many calls and pools: nothing that adds up."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import threading
from pathlib import Path

import pytest

from treadle import Pool
from treadle.clock import SystemClock
from treadle.pools.footprint import resident_bytes
from treadle.pools.options import Mode

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
_MIB = 1 << 20


def fail(depth: int) -> int:
    """Raise an error whose traceback has a megabyte of text."""
    if depth:
        return fail(depth - 1)
    error = ValueError("no " * 100)
    error.add_note("x" * _MIB)
    raise error


def give_back(pause: float = 0) -> None:
    """Let go of what the allocator keeps for later, in each of two places that pause."""
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # another allocator
        ctypes.CDLL(None).malloc_trim(0)
    SystemClock().wait(threading.Event(), pause)


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_memory_is_bounded_over_failing_calls_with_large_tracebacks(mode: Mode) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("this system tells the peak of the memory alone")
    with Pool(mode, max_workers=2) as pool:

        def some(number: int) -> None:
            for _ in range(number // 20):
                futures = [pool.submit(fail, 20) for _ in range(20)]
                for future in futures:
                    assert isinstance(future.exception(60), ValueError)

        def used() -> list[int]:
            if mode == "process":
                for future in [pool.submit(give_back, 0.1) for _ in range(2)]:
                    future.result(30)
            give_back()
            return [resident_bytes(), *(worker.rss or 0 for worker in pool.stats.workers)]

        some(400)
        before = used()
        some(10_000)
        grown = [now - then for then, now in zip(before, used(), strict=True)]
        assert max(grown) < 32 * _MIB, grown


@pytest.mark.parametrize("mode", ["thread", "asyncio", "process"])
def test_a_thousand_pools_leave_nothing(mode: Mode) -> None:
    # What all pools share stays as long as there is one.
    with Pool(mode, max_workers=1) as kept:
        kept.submit(int).result(30)
        for _ in range(20):
            _open_and_close(mode)
        before = _held()
        for _ in range(1000):
            _open_and_close(mode)
        gc.collect()
        assert _held() == before
        assert kept.submit(len, "four").result(30) == 4


def _open_and_close(mode: Mode) -> None:
    with Pool(mode, max_workers=1) as pool:
        assert pool.submit(abs, -1).result(30) == 1


def _held() -> tuple[int, int, int]:
    """Open files, threads and child processes."""
    folder = Path("/proc/self/fd")
    files = len(list(folder.iterdir())) if folder.exists() else 0
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    processes = len(children.read_text().split()) if children.exists() else 0
    return files, threading.active_count(), processes
