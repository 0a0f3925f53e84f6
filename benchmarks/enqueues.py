"""How fast jobs are accepted: one at a time, concurrently, in bulk."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks import floors, peer
from benchmarks.figure import Figure
from benchmarks.stores import MEMORY, STORES, Place, place
from benchmarks.tasks import add, app

__all__ = ["rate", "run"]


def run(scale: float) -> Iterator[Figure]:
    """Each way into each store."""
    for store in STORES:
        for what, count, batch in (
            ("one at a time", int(10_000 * scale), 1),
            (f"gather of {floors.PUSH:,}", int(40_000 * scale), floors.PUSH),
            (f"enqueue_many of {floors.PUSH:,}", int(40_000 * scale), floors.PUSH),
        ):
            bulk = what.startswith("enqueue_many")
            with place(store) as at:
                value = asyncio.run(rate(at, count, batch, bulk=bulk))
                floor = _floor(at, count, batch)
                other = None
                if batch == 1 or bulk:
                    other = peer.measure("enqueue", at, count=int(10_000 * scale), bulk=bulk)
            yield Figure("enqueue", what, store, value, "jobs/s", floor, peer.PEER.beside(other))


async def rate(at: Place, count: int, batch: int, *, bulk: bool) -> float:
    with app.override(url=at.url):
        await add.aenqueue(0)
        began = time.perf_counter()
        for start in range(0, count, batch):
            numbers = range(start, min(count, start + batch))
            if bulk:
                await add.aenqueue_many([(n,) for n in numbers])
            elif batch > 1:
                await asyncio.gather(*[add.aenqueue(n) for n in numbers])
            else:
                await add.aenqueue(start)
        return count / (time.perf_counter() - began)


def _floor(at: Place, count: int, batch: int) -> float:
    if at.store == MEMORY:
        return asyncio.run(floors.queue_rate(count))
    with floors.rows(at) as rows:
        return rows.insert(count, batch)
