"""What calls of workers cost, beside the standard library and a peer.

The floor is what the standard library has for the same: an executor, a bare task. Each figure is
the best of a few, since what disturbs a measurement only ever makes it slower.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

from benchmarks import workers_floor as floor
from benchmarks import workers_foremen, workers_peer, workers_weight
from benchmarks.figure import Aim, Figure, percentiles
from benchmarks.workers_classes import Array, Echo, acquire_many, nothing
from treadle import LimitSet, Pool, Slots, agather, gather

__all__ = ["run"]

beside = workers_peer.PEER.beside

CALLS = {"sync": 20_000, "thread": 20_000, "asyncio": 20_000, "process": 20_000, "ray": 2_000}
"""Calls that are submitted together, by mode."""
EMBEDDED = "asyncio, own loop"
_ITEMS, _TRIPS, _TAKEN, _TAKEN_SHARED = 10_000, 1_000, 20_000, 10_000
_IDLE = {"thread": 50, "asyncio": 50, "process": 2}
_TIMES = 3


def run(scale: float) -> Iterator[Figure]:
    """Calls, maps, limits, memory, foremen; Ray at full scale only: its cluster starts slowly."""
    modes = [*CALLS][:-1]
    if scale >= 1 and find_spec("ray") is not None:
        modes.append("ray")
    mib = 64 if scale >= 1 else 8
    theirs = workers_peer.measure(modes, scale, mib)
    for mode in modes:
        yield from _calls(mode, scale, theirs)
    yield from _embedded(scale, theirs)
    yield from _maps(scale, theirs)
    yield from _large(mib, theirs)
    yield from _limits(scale, theirs)
    yield from _idle(theirs)
    yield from workers_foremen.run(scale)


def best(measure: Callable[[], float]) -> float:
    """The highest of a few rates."""
    return max(measure() for _ in range(_TIMES))


def scaled(count: int, scale: float) -> int:
    """So many at this scale, and enough to measure anything."""
    return max(100, int(count * scale))


# ------------------------------------------------------------- calls


def _calls(mode: Any, scale: float, theirs: workers_peer.Found) -> Iterator[Figure]:
    count, trips = scaled(CALLS[mode], scale), scaled(_TRIPS, scale)
    aims = [Aim("peer", 50 if mode == "process" else 5)]
    if mode == "thread":
        aims.append(Aim("floor", 1))
    if mode == "process":
        aims.append(Aim("floor", 5))
    with Echo.options(mode=mode).init() as worker:
        call = worker.anothing if mode == "asyncio" else worker.nothing
        call(0).result()

        def rate() -> float:
            began = time.perf_counter()
            gather([call(number) for number in range(count)])
            return count / (time.perf_counter() - began)

        value, times = best(rate), _one_by_one(lambda: call(1).result(), trips)
    below = best(lambda: floor.rate(mode, count)) if mode in floor.MODES else None
    yield Figure(
        "workers", "calls at once, gathered", mode, value, "calls/s",
        below, beside(theirs.get(f"rate {mode}")), tuple(aims),
    )  # fmt: skip
    least = percentiles(floor.trips(mode, trips))[0] if mode in floor.MODES else None
    yield Figure(
        "workers", "one call at a time, p50", mode, percentiles(times)[0], "ms",
        least, beside(theirs.get(f"trip {mode}")),
    )  # fmt: skip


def _one_by_one(call: Callable[[], Any], count: int) -> list[float]:
    times: list[float] = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        times.append((time.perf_counter() - began) * 1000)
    return times


def _embedded(scale: float, theirs: workers_peer.Found) -> Iterator[Figure]:
    count, trips = scaled(CALLS["asyncio"], scale), scaled(_TRIPS, scale)
    value = best(lambda: asyncio.run(_embedded_rate(count)))
    below = best(lambda: asyncio.run(floor.task_rate(count)))
    yield Figure(
        "workers", "calls at once, gathered", EMBEDDED, value, "calls/s",
        below, beside(theirs.get("rate embedded")), (Aim("floor", 0.5), Aim("peer", 5)),
    )  # fmt: skip
    times, least = asyncio.run(_embedded_trips(trips)), asyncio.run(floor.task_trips(trips))
    yield Figure(
        "workers", "one call at a time, p50", EMBEDDED, percentiles(times)[0], "ms",
        percentiles(least)[0], beside(theirs.get("trip embedded")),
    )  # fmt: skip


async def _embedded_rate(count: int) -> float:
    async with Echo.options(mode="asyncio").init() as worker:
        await worker.anothing(0)
        began = time.perf_counter()
        await agather([worker.anothing(number) for number in range(count)])
        return count / (time.perf_counter() - began)


async def _embedded_trips(count: int) -> list[float]:
    times: list[float] = []
    async with Echo.options(mode="asyncio").init() as worker:
        for number in range(count):
            began = time.perf_counter()
            await worker.anothing(number)
            times.append((time.perf_counter() - began) * 1000)
    return times


# ------------------------------------------------------------- more of them, and larger ones


def _maps(scale: float, theirs: workers_peer.Found) -> Iterator[Figure]:
    count = scaled(_ITEMS, scale)
    modes: tuple[Any, ...] = ("thread", "process")
    for mode in modes:
        for chunk in (1, 100):
            with Pool(mode, max_workers=2) as pool:
                list(pool.map(nothing, range(10)))

                def rate(pool: Pool = pool, chunk: int = chunk) -> float:
                    began = time.perf_counter()
                    assert sum(1 for _ in pool.map(nothing, range(count), chunk=chunk)) == count
                    return count / (time.perf_counter() - began)

                value = best(rate)
            below = best(lambda mode=mode, chunk=chunk: floor.map_rate(mode, count, chunk))  # type: ignore[misc]
            yield Figure(
                "workers", f"map in 2 workers, chunks of {chunk}", mode, value, "items/s",
                below, beside(theirs.get(f"map {mode} {chunk}")),
            )  # fmt: skip


def _large(mib: int, theirs: workers_peer.Found) -> Iterator[Figure]:
    for what, load in (("bytes", bytes(mib << 20)), ("array", Array(bytearray(mib << 20)))):
        with Pool("process", max_workers=1) as pool:
            pool.submit(nothing, 0).result()
            times = _one_by_one(lambda pool=pool, load=load: pool.submit(nothing, load).result(), 3)  # type: ignore[misc]
        yield Figure(
            "workers", f"{mib} MiB of {what}, there and back", "process", min(times), "ms",
            min(floor.large_trips(load, 3)), beside(theirs.get(f"large {what}")),
        )  # fmt: skip


# ------------------------------------------------------------- limits, memory


def _limits(scale: float, theirs: workers_peer.Found) -> Iterator[Figure]:
    count, shared = scaled(_TAKEN, scale), scaled(_TAKEN_SHARED, scale)
    limits = LimitSet(Slots(4))
    value = best(lambda: count / acquire_many(limits, count))
    yield Figure(
        "workers", "slots taken and given back", "thread", value, "times/s",
        best(lambda: floor.semaphore_rate(count)), beside(theirs.get("limit thread")),
        (Aim("peer", 5),),
    )  # fmt: skip
    value = best(lambda: _shared_rate(shared))
    yield Figure(
        "workers", "the same slots, by 2 processes", "process", value, "times/s",
        best(lambda: floor.shared_semaphore_rate(shared)), beside(theirs.get("limit process")),
        (Aim("value", 10_000), Aim("peer", 5)),
    )  # fmt: skip


def _shared_rate(count: int) -> float:
    """Both take and give back as fast as they can: together, a second."""
    limits = LimitSet(Slots(4), shared=True)
    with Pool("process", max_workers=2, balancing="round_robin") as pool:
        gather([pool.submit(acquire_many, limits, 10) for _ in range(2)])
        times = gather([pool.submit(acquire_many, limits, count) for _ in range(2)])
    return 2 * count / max(times)


def _idle(theirs: workers_peer.Found) -> Iterator[Figure]:
    for mode, count in _IDLE.items():
        value = workers_weight.of("workers", mode, count)
        if value is not None:
            yield Figure(
                "workers", f"an idle worker, of {count}", mode, value, "MiB",
                workers_weight.of("executor", mode, count), beside(theirs.get(f"idle {mode}")),
            )  # fmt: skip
