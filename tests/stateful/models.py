"""A worker of a process, and functions that visit it."""

from __future__ import annotations

import os
from dataclasses import dataclass

import msgspec

from treadle import Worker


class Model(Worker):
    """Keeps count in its process."""

    def __init__(self, base: int) -> None:
        self.count = base


def predict(model: Model, number: int) -> tuple[int, int]:
    model.count += 1
    return os.getpid(), model.count + number


def die(model: Model) -> None:
    os._exit(3)


@dataclass
class Sums(Worker):
    """Adds up, as a dataclass."""

    sum: int


class Totals(Worker, msgspec.Struct):
    """Adds up, as a record."""

    sum: int


def add(worker: Sums | Totals, number: int) -> tuple[int, int]:
    worker.sum += number
    return worker.sum, worker.index
