"""What a foreman process weighs."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks import floors, peer
from benchmarks.commanded import running, stamped
from benchmarks.drains import fill
from benchmarks.figure import Figure
from benchmarks.stores import SQLITE, Place, place
from benchmarks.tasks import add, app, resident, stamp

__all__ = ["idle", "run"]


def run(scale: float) -> Iterator[Figure]:
    """Resident memory of ``treadle run`` after it has run some jobs."""
    count = int(10_000 * scale)
    for processes, what in ((1, "treadle run"), (2, "treadle run, each of 2 processes")):
        with place(SQLITE) as at:
            value = asyncio.run(_foreman(at, count, processes)) / 2**20
            theirs = peer.measure("memory", at, count=count) if sys.platform == "linux" else None
            other = theirs / 2**20 if theirs is not None else None
        yield Figure(
            "memory", what, SQLITE, value, "MiB", floors.resident_mib(), peer.PEER.beside(other)
        )


async def _foreman(at: Place, count: int, processes: int) -> int:
    """What the process says that runs the last job; the supervisor itself runs none."""
    await fill(at, add, [(n,) for n in range(count)])
    with running(at, "--processes", str(processes)), app.override(url=at.url):
        job = await resident.aenqueue()
        return await job.aresult(timeout=120)


async def idle(at: Place, count: int) -> float:
    """MiB of ``treadle run`` with one process that has run so many jobs and waits for more."""
    await fill(at, stamp, [(number,) for number in range(count)])
    with running(at) as process:
        await stamped(at, count)
        await asyncio.sleep(1)
        return _resident(process.pid)


def _resident(process: int) -> float:
    pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
