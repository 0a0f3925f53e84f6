"""From the call of enqueue to the start of the job, and to its result, one job at a time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from benchmarks import floors, peer
from benchmarks.commanded import running, stamped, stamps
from benchmarks.figure import Figure, percentiles
from benchmarks.stores import MEMORY, STORES, Place, place
from benchmarks.tasks import app, stamp, when

__all__ = ["commanded", "run", "started"]


def run(scale: float) -> Iterator[Figure]:
    """A foreman in this process, and for what is shared by processes one in another."""
    for store in STORES:
        count = int(2_000 * scale)
        with place(store) as at:
            floor = _floor(at, count)
            other = peer.measure("trip", at, count=int(1_000 * scale))
            times = asyncio.run(_embedded(at, count))
            own = other if store == MEMORY else None
            yield from _figures("embedded foreman", store, times, floor, own)
            if store != MEMORY:
                times = asyncio.run(commanded(at, count))
                yield from _figures("treadle run", store, times, floor, other)


def _figures(
    where: str,
    store: str,
    times: list[list[float]],
    floor: list[float],
    other: list[list[float]] | None,
) -> Iterator[Figure]:
    for index, what in enumerate(("start", "result")):
        beside = percentiles(other[index]) if other is not None else (None, None)
        # What bounds it is known for the whole trip only.
        below = percentiles(floor) if what == "result" else (None, None)
        pairs = zip(("p50", "p99"), percentiles(times[index]), below, beside, strict=True)
        for name, value, least, theirs in pairs:
            yield Figure(
                "trip", f"{where}: to {what}, {name}", store, value, "ms",
                least, peer.PEER.beside(theirs),
            )  # fmt: skip


async def _embedded(at: Place, count: int) -> list[list[float]]:
    with app.override(url=at.url):
        async with app.foreman():
            return await _trips(count)


async def commanded(at: Place, count: int) -> list[list[float]]:
    with running(at), app.override(url=at.url):
        return await _trips(count)


async def started(at: Place, count: int) -> list[float]:
    """To the start alone, in milliseconds: for stores that keep no results."""
    times: list[float] = []
    with running(at), app.override(url=at.url):
        await stamp.aenqueue(0)
        await stamped(at, 1)
        for number in range(1, count + 1):
            began = time.perf_counter()
            await stamp.aenqueue(number)
            await stamped(at, number + 1)
            times.append((stamps(at)[-1] - began) * 1000)
    return times


async def _trips(count: int) -> list[list[float]]:
    starts: list[float] = []
    ends: list[float] = []
    await (await when.aenqueue()).aresult(timeout=30)  # the foreman is there
    for _ in range(count):
        began = time.perf_counter()
        job = await when.aenqueue()
        started = await job.aresult(timeout=30)
        ends.append((time.perf_counter() - began) * 1000)
        starts.append((started - began) * 1000)
    return [starts, ends]


def _floor(at: Place, count: int) -> list[float]:
    if at.store == MEMORY:
        return asyncio.run(floors.loop_trips(count))
    with floors.rows(at) as rows:
        return rows.trips(count)
