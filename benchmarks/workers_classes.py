"""What the workers of the benchmarks do: as little as can be."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from typing import Any, TypeVar

from treadle import LimitSet, Worker

__all__ = ["Array", "Echo", "acquire_many", "nothing"]

T = TypeVar("T")


class Echo(Worker):
    """Gives back what it is given."""

    def nothing(self, value: int) -> int:
        return value

    async def anothing(self, value: int) -> int:
        return value


def nothing(value: T) -> T:
    """Gives back what it is given."""
    return value


def acquire_many(limits: LimitSet, count: int) -> float:
    """Take and give back: seconds."""
    began = time.perf_counter()
    for _ in range(count):
        with limits.acquire():
            pass
    return time.perf_counter() - began


class Array:
    """Pickles as arrays do: it offers its memory where the protocol takes that, else a copy."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: Any) -> tuple[Callable[..., Any], tuple[Any]]:
        return Array, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(self.data),)
