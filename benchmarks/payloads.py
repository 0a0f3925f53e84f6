"""What larger arguments and results cost."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator

from benchmarks import floors, peer
from benchmarks.figure import Figure
from benchmarks.stores import MEMORY, SQLITE, Place, place
from benchmarks.tasks import app, carry

__all__ = ["run"]

_SIZES = {"10 B": 10, "1 KiB": 1 << 10, "100 KiB": 100 << 10}


def run(scale: float) -> Iterator[Figure]:
    """Arguments of three sizes, each given back as the result."""
    for store in (MEMORY, SQLITE):
        for name, size in _SIZES.items():
            count = int((20_000 if size < 10_000 else 1_000) * scale)
            with place(store) as at:
                values = asyncio.run(_ours(at, os.urandom(size), count))
                floor = (None, None) if store == MEMORY else _floor(at, os.urandom(size), count)
                theirs = min(count, int(5_000 * scale))
                other = peer.measure("payload", at, size=size, count=theirs) or (None, None)
            verbs = ("enqueue in bulk", "drain")
            for verb, value, least, beside in zip(verbs, values, floor, other, strict=True):
                yield Figure(
                    "payload", f"{verb}, {name}", store, value, "jobs/s",
                    least, peer.PEER.beside(beside),
                )  # fmt: skip


async def _ours(at: Place, data: bytes, count: int) -> tuple[float, float]:
    with app.override(url=at.url):
        began = time.perf_counter()
        for start in range(0, count, floors.BATCH):
            await carry.aenqueue_many([(data,)] * min(floors.BATCH, count - start))
        pushed = time.perf_counter()
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
            drained = time.perf_counter()
            assert foreman.stats["job.succeeded"] == count, foreman.stats
    return count / (pushed - began), count / (drained - pushed)


def _floor(at: Place, data: bytes, count: int) -> tuple[float, float]:
    with floors.rows(at, data) as rows:
        return rows.insert(count, floors.BATCH), asyncio.run(rows.drain(count))
