"""Run in the environment of the peer of the workers: ``workers_peer_program.py {"modes": …}``.

It prints what it measured as JSON. Nothing of Treadle can be imported here.
"""

from __future__ import annotations

import asyncio
import json
import logging
import pickle
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from workers_weight import weighed

warnings.simplefilter("ignore")

from concurry import (  # noqa: E402
    LimitSet,
    ResourceLimit,
    TaskWorker,
    Worker,
    async_gather,
    gather,
)

CALLS = {"sync": 20_000, "thread": 5_000, "asyncio": 5_000, "process": 200, "ray": 300}
ITEMS = {"thread": 2_000, "process": 300}
IDLE = {"thread": 50, "asyncio": 50, "process": 2}
TRIPS, TIMES = 200, 3


class Echo(Worker):
    """Gives back what it is given."""

    def nothing(self, value: int) -> int:
        return value

    async def anothing(self, value: int) -> int:
        return value


def nothing(value: Any) -> Any:
    return value


class Array:
    """Pickles as arrays do: it offers its memory where the protocol takes that, else a copy."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Array, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(self.data),)


def taken(limits: Any, count: int) -> float:
    began = time.perf_counter()
    for _ in range(count):
        with limits.acquire():
            pass
    return time.perf_counter() - began


@contextmanager
def stopping(worker: Any) -> Iterator[Any]:
    try:
        yield worker
    finally:
        worker.stop()


def echo(mode: str) -> Any:
    return stopping(Echo.options(mode=mode).init())


def median(times: list[float]) -> float:
    return sorted(times)[len(times) // 2] * 1000


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def calls(mode: str, scale: float) -> Iterator[tuple[str, float]]:
    count = max(100, int(CALLS[mode] * scale))
    with echo(mode) as worker:
        call = worker.anothing if mode == "asyncio" else worker.nothing
        call(0).result()
        took = min(
            timed(lambda: gather([call(n) for n in range(count)]))
            for _ in range(1 if mode in {"process", "ray"} else TIMES)
        )
        yield f"rate {mode}", count / took
        yield f"trip {mode}", median([timed(lambda: call(1).result()) for _ in range(TRIPS)])


async def embedded(scale: float) -> dict[str, float]:
    count = max(100, int(CALLS["asyncio"] * scale))
    with echo("asyncio") as worker:
        await worker.anothing(0)
        rates = []
        for _ in range(TIMES):
            began = time.perf_counter()
            await async_gather([worker.anothing(number) for number in range(count)])
            rates.append(count / (time.perf_counter() - began))
        times = []
        for number in range(TRIPS):
            began = time.perf_counter()
            await worker.anothing(number)
            times.append(time.perf_counter() - began)
    return {"rate embedded": max(rates), "trip embedded": median(times)}


def maps(scale: float) -> Iterator[tuple[str, float]]:
    for mode, items in ITEMS.items():
        count = max(100, int(items * scale))
        for chunk in (1, 100):
            with stopping(TaskWorker.options(mode=mode, max_workers=2).init()) as pool:
                list(pool.map(nothing, range(10)))
                took = timed(lambda: list(pool.map(nothing, range(count), chunksize=chunk)))  # noqa: B023
            yield f"map {mode} {chunk}", count / took


def large(mib: int) -> Iterator[tuple[str, float]]:
    for what, load in (("bytes", bytes(mib << 20)), ("array", Array(bytearray(mib << 20)))):
        with stopping(TaskWorker.options(mode="process").init()) as pool:
            pool.submit(nothing, 0).result()
            took = min(timed(lambda: pool.submit(nothing, load).result()) for _ in range(2))  # noqa: B023
        yield f"large {what}", took * 1000


def limits(scale: float) -> Iterator[tuple[str, float]]:
    count = max(100, int(5_000 * scale))
    slots = [ResourceLimit(key="slots", capacity=4)]
    own = LimitSet(limits=slots, shared=True, mode="thread")
    yield "limit thread", count / min(taken(own, count) for _ in range(TIMES))
    count = max(50, int(300 * scale))
    with stopping(TaskWorker.options(mode="process", max_workers=2).init()) as pool:
        shared = LimitSet(limits=slots, shared=True, mode="process")
        gather([pool.submit(taken, shared, 5) for _ in range(2)])
        times = gather([pool.submit(taken, shared, count) for _ in range(2)])
    yield "limit process", 2 * count / max(times)


def idle() -> Iterator[tuple[str, float]]:
    for mode, number in IDLE.items():

        @contextmanager
        def workers(count: int, mode: str = mode) -> Iterator[None]:
            started = [Echo.options(mode=mode).init() for _ in range(count)]
            try:
                gather([one.nothing(0) for one in started])
                yield
            finally:
                for one in started:
                    one.stop()

        found = weighed(workers, number)
        if found is not None:
            yield f"idle {mode}", found


def main() -> None:
    asked = json.loads(sys.argv[1])
    logging.disable()
    found: dict[str, float] = {}
    if asked["modes"] == ["ray"]:
        import ray

        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
        found |= calls("ray", asked["scale"])
    else:
        found |= idle()
        for mode in asked["modes"]:
            found |= calls(mode, asked["scale"])
        found |= asyncio.run(embedded(asked["scale"]))
        found |= maps(asked["scale"])
        found |= large(asked["mib"])
        found |= limits(asked["scale"])
    print(json.dumps(found))


if __name__ == "__main__":
    main()
