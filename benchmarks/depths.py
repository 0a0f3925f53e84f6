"""What a claim costs, against the number of jobs in the queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks import floors
from benchmarks.figure import Figure, percentiles
from benchmarks.stores import MEMORY, SQLITE_NORMAL, Place, place
from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Settlement
from treadle.records import NewJob, SessionInfo
from treadle.verdicts import Done

__all__ = ["LIMIT", "claims", "run", "times"]

_CLAIMS, LIMIT = 2_000, 10
_PAYLOAD = b"x" * 100


def run(scale: float) -> Iterator[Figure]:
    """A hundred jobs, and up to a million."""
    for store in (MEMORY, SQLITE_NORMAL):
        for depth in (100, int(100_000 * scale), int(1_000_000 * scale)):
            with place(store) as at:
                found = asyncio.run(claims(at, depth, times(scale)))
                floor = (None, None) if store == MEMORY else _floor(at, depth, times(scale))
            named = zip(("p50", "p99"), percentiles(found), floor, strict=True)
            for name, value, least in named:
                what = f"claim of {LIMIT} among {depth:,}, {name}"
                yield Figure("depth", what, store, value, "µs", least)


def times(scale: float) -> int:
    """How many claims are measured: enough for a percentile, at full scale."""
    return max(50, int(_CLAIMS * min(scale, 1.0)))


async def claims(at: Place, depth: int, count: int) -> list[float]:
    """The depth stays the same: what was claimed is settled, and as many are pushed."""
    ids = SystemIds()
    backend = backends.open(at.url, clock=SystemClock(), ids=ids, namespace="bench")
    await backend.open()
    found: list[float] = []
    try:
        for start in range(0, depth, 2000):
            await _push(backend, ids, min(2000, depth - start))
        session = await backend.open_session(SessionInfo(name="bench"))
        for request in range(1, count + 1):
            ask = Claim(session=session, request=request, limit=LIMIT)
            began = time.perf_counter()
            claimed = await backend.claim(ask)
            found.append((time.perf_counter() - began) * 1e6)
            assert len(claimed.leases) == LIMIT, claimed
            await backend.settle(
                [Settlement(token=lease.token, verdict=Done()) for lease in claimed.leases]
            )
            await _push(backend, ids, LIMIT)
        await backend.close_session(session)
    finally:
        await backend.aclose()
        backend.close()
    return found


async def _push(backend: Backend, ids: SystemIds, many: int) -> None:
    await backend.push([NewJob(id=ids.new(), task="t", payload=_PAYLOAD) for _ in range(many)])


def _floor(at: Place, depth: int, count: int) -> tuple[float, float]:
    found: list[float] = []
    with floors.rows(at, _PAYLOAD) as rows:
        rows.insert(depth, floors.PUSH)
        for _ in range(count):
            began = time.perf_counter()
            claimed = rows.claim(LIMIT)
            found.append((time.perf_counter() - began) * 1e6)
            rows.finish([row for row, _ in claimed])
            rows.insert(LIMIT, LIMIT)
    return percentiles(found)
