"""Workers and functions for tests of limits; of a module, so that they can travel."""

from __future__ import annotations

from typing import Any

from treadle import LIMITS, LimitSet, Worker


class Counting(Worker):
    """Says what of the limits is held while its calls run."""

    def __init__(self) -> None:
        self.attempts = 0

    def held(self, name: str = "slots") -> float:
        return self.limits.stats[name].used

    def names(self) -> list[str]:
        return list(self.limits.names)

    def size(self, tenant: str, size: int = 1) -> float:
        return self.limits.stats_of({"tenant": tenant, "size": size})["slots:tenant"].used

    def fail(self, times: int) -> int:
        self.attempts += 1
        if self.attempts <= times:
            raise ValueError(f"attempt {self.attempts}")
        return self.attempts

    def more(self, requested: dict[str, float], used: dict[str, float]) -> dict[str, float]:
        with self.limits.acquire(requested, timeout=5) as got:
            got.update(used)
            return got.amounts

    async def amore(self, requested: dict[str, float], used: dict[str, float]) -> dict[str, float]:
        async with self.limits.aacquire(requested, timeout=5) as got:
            got.update(used)
            return got.amounts


def given(x: int, limits: LimitSet = LIMITS) -> tuple[int, list[str]]:
    with limits.acquire(timeout=5):
        return x, list(limits.names)


def visit(worker: Counting, x: int, *, limits: LimitSet = LIMITS) -> tuple[int, list[str]]:
    return x, list(limits.names)


def value(x: Any) -> Any:
    return x
