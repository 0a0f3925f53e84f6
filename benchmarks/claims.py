"""What a claim costs, against the number of jobs in the queue."""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time

from benchmarks.figure import Figure
from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import NewJob, SessionInfo
from treadle.verdicts import Done

_CLAIMS = 300


def run(scale: float) -> list[Figure]:
    """Memory and SQLite, a hundred jobs and up to a million."""
    found: list[Figure] = []
    for depth in (1_000, int(100_000 * scale), int(1_000_000 * scale)):
        found.append(asyncio.run(_depth("memory://", "memory", depth)))
        with tempfile.TemporaryDirectory() as folder:
            url = f"sqlite:///{folder}/jobs.db?durability=normal"
            found.append(asyncio.run(_depth(url, "sqlite normal", depth)))
    return found


async def _depth(url: str, name: str, depth: int) -> Figure:
    ids = SystemIds()
    backend = backends.open(url, clock=SystemClock(), ids=ids, namespace="bench")
    await backend.open()
    payload = b"x" * 100
    for start in range(0, depth, 2000):
        many = min(2000, depth - start)
        await backend.push([NewJob(id=ids.new(), task="t", payload=payload) for _ in range(many)])
    session = await backend.open_session(SessionInfo(name="bench"))
    times: list[float] = []
    for request in range(1, _CLAIMS + 1):
        began = time.perf_counter()
        claimed = await backend.claim(Claim(session=session, request=request, limit=3))
        ends = [Settlement(token=lease.token, verdict=Done()) for lease in claimed.leases]
        await backend.settle(ends)
        times.append((time.perf_counter() - began) * 1e6)
    await backend.close_session(session)
    await backend.aclose()
    backend.close()
    value = statistics.quantiles(times, n=100)[49]
    return Figure(f"{name}: claim and settle 3, p50", value, "µs", f"{depth:,} jobs queued")
