"""What users write with workers and pools, with the types that both checkers must see."""

from __future__ import annotations

import concurrent.futures
from dataclasses import dataclass
from typing import Any, assert_type

from treadle import Future, Pool, Retry, Timeout, Worker, stopping
from treadle.pools.crewstats import CrewStats
from treadle.pools.handle import Handle
from treadle.pools.worker import WorkerBuilder


class Model(Worker, mode="thread", max_workers=2, retry={"predict": 2, "*": Retry(1)}):
    def __init__(self, path: str, *, scale: float = 1.0) -> None:
        self.path = path
        self.scale = scale

    async def start(self) -> None: ...

    def stop(self) -> None: ...

    def healthy(self) -> bool:
        return self.index >= 0

    def predict(self, text: str) -> float:
        return 0.0 if stopping() else self.scale

    async def embed(self, text: str, size: int = 3) -> list[float]:
        return [self.scale] * size


@dataclass
class Settings(Worker):
    name: str
    size: int = 3

    def both(self) -> tuple[str, int]:
        return self.name, self.size


def visit(model: Model, more: int) -> str:
    return model.path * more


async def double(number: int) -> int:
    return number * 2


def plain_code() -> None:
    builder = Model.options(mode="process", max_workers=4, timeout="30s", on_full="raise")
    assert_type(builder, WorkerBuilder[Model])
    assert_type(builder.options(timeout=Timeout(1, total=10)), WorkerBuilder[Model])
    assert_type(Model.init("weights.bin"), Handle[Model])
    assert_type(Model.options().adopt(Model("a"), Model("b")), Handle[Model])
    with builder.init("weights.bin", scale=2.0) as model:
        assert_type(model, Handle[Model])
        assert_type(model.call(Model.predict, "text"), Future[float])
        assert_type(model.call(Model.embed, "text", size=2), Future[list[float]])
        assert_type(model.call(visit, 3), Future[str])
        assert_type(model.call(Model.predict, "text").result(timeout=3), float)
        assert_type(model.predict("text"), Any)
        assert_type(model.stats, CrewStats)
        assert_type(model.stats.workers[0].busy, float)
        model.resize(3)
        model.restart(index=0)
        model.stop(drain=False, timeout=1.0)
        model.stop(timeout="1s")
    with Settings.options(balancing="sticky").init("ours") as settings:
        assert_type(settings.call(Settings.both), Future[tuple[str, int]])
        settings.keyed("a").both()
    with Pool("thread", max_workers=4) as pool:
        assert_type(pool.submit(double, 3), Future[int])
        assert_type(pool.submit(len, "four").result(), int)
        assert_type(pool.executor().submit(double, 3), concurrent.futures.Future[int])
        assert_type(pool.executor().submit(len, "four"), concurrent.futures.Future[int])


async def asynchronous_code() -> None:
    async with Model.init("weights.bin") as model:
        assert_type(await model.call(Model.embed, "text"), list[float])
        await model.arestart()
        await model.astop(timeout=3)
