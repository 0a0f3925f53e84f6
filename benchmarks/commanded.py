"""``treadle run`` beside the process that measures."""

from __future__ import annotations

import asyncio
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.stores import Place

__all__ = ["command", "running", "stamped", "stamps"]

_ROOT = Path(__file__).parent.parent
_PATIENCE = 60.0


def command(at: Place, *options: str) -> subprocess.Popen[bytes]:
    """``treadle run`` over the store of a place."""
    line = [sys.executable, "-m", "treadle", "run", "benchmarks.tasks:app"]
    line += ["--url", at.url, "--log-level", "warning", *options]
    environment = {**os.environ, "BENCH_STAMPS": str(at.stamps)}
    return subprocess.Popen(line, cwd=_ROOT, env=environment)


@contextmanager
def running(at: Place, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    """Foremen that serve until the end of the block."""
    process = command(at, *options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def stamps(at: Place) -> list[float]:
    """The starts of the jobs that left a stamp."""
    data = at.stamps.read_bytes() if at.stamps.exists() else b""
    return [one for (one,) in struct.iter_unpack("d", data)]


async def stamped(at: Place, count: int) -> None:
    """Return when so many jobs have started."""
    deadline = time.perf_counter() + _PATIENCE
    while not at.stamps.exists() or at.stamps.stat().st_size < count * 8:
        if time.perf_counter() > deadline:
            raise TimeoutError(f"{len(stamps(at))} of {count} jobs started in {_PATIENCE:.0f} s")
        await asyncio.sleep(0.0005)
