"""The app of the benchmarks, as a user would write it: typed arguments, retry, timeout."""

from __future__ import annotations

import os
import struct
import time
from functools import cache

from treadle import Treadle
from treadle.pools.footprint import resident_bytes

app = Treadle(os.environ.get("BENCH_URL", "memory://"))


@app.task(retry=3, timeout=30)
async def add(number: int, text: str = "x") -> int:
    """As little as an asynchronous task can do."""
    return number + 1


@app.task(retry=3, timeout=30)
def add_in_thread(number: int, text: str = "x") -> int:
    """As little as a plain task can do."""
    return number + 1


@app.task(retry=3, timeout=30, mode="process")
def add_in_process(number: int, text: str = "x") -> int:
    """As little as a task in a process can do."""
    return number + 1


@app.task(retry=3, timeout=30)
async def carry(data: bytes) -> bytes:
    """Takes a payload and gives it back."""
    return data


@app.task(retry=3, timeout=30)
async def when() -> float:
    """The time of its start, by a clock that all processes of the machine share."""
    return time.perf_counter()


@app.task(retry=3, timeout=30)
async def stamp(number: int) -> int:
    """Leaves the time of its start in a file, so that several processes can be timed."""
    os.write(_stamps(), struct.pack("d", time.perf_counter()))
    return number + 1


@app.task(retry=3, timeout=30)
async def resident() -> int:
    """The memory of the process that runs it."""
    return resident_bytes()


@cache
def _stamps() -> int:
    return os.open(os.environ["BENCH_STAMPS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
