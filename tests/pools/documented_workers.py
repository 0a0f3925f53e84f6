"""Workers and functions as pages about workers show them; child processes import them from here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, field_validator, validate_call

from tests.pools.gates import note, notes
from treadle import LIMITS, Future, LimitSet, Rate, Worker, task


class DataProcessor(Worker):
    """Multiplies, and counts how often."""

    def __init__(self, multiplier: int) -> None:
        self.multiplier = multiplier
        self.count = 0

    def process(self, value: int) -> int:
        self.count += 1
        return value * self.multiplier

    def counted(self) -> int:
        return self.count

    def is_future(self, value: object) -> bool:
        return isinstance(value, Future)


class Counter(Worker):
    """State of its own."""

    def __init__(self) -> None:
        self.count = 0

    def increment(self) -> int:
        self.count += 1
        return self.count


class Both(Worker):
    """Plain and asynchronous methods."""

    async def later(self, value: int) -> int:
        return 2 * value

    def now(self, value: int) -> int:
        return value + 10


class Described(Worker, BaseModel):
    """Fields that are checked and put into shape."""

    name: str = Field(min_length=1)
    value: int = Field(default=0, ge=0)
    tags: list[str] = []

    @field_validator("name")
    @classmethod
    def shaped(cls, name: str) -> str:
        return name.strip().title()

    def compute(self, number: int) -> int:
        return self.value * number

    def described(self) -> dict[str, Any]:
        return {"name": self.name, "value": self.value, "tags": self.tags}


class Validated(Worker):
    """Arguments that are coerced, of the constructor too."""

    @validate_call
    def __init__(self, base: int) -> None:
        self.base = base

    @validate_call
    def compute(self, x: int, y: int = 0) -> int:
        return (x + y) * self.base


@dataclass
class Api(Worker):
    """Reserves what a call may cost, and settles what it did."""

    key: str

    def ask(self, prompt: str) -> str:
        with self.limits.acquire({"tokens": 100}) as got:
            got.update({"tokens": len(prompt)})
        return f"{self.key}: {prompt}"


@dataclass
class Flaky(Worker):
    """Fails until it was called often enough; a file counts, so that any place may."""

    file: Path
    failures: int

    def fetch(self, kind: str) -> str:
        note(self.file, kind)
        if len(notes(self.file)) <= self.failures:
            raise {"connection": ConnectionError, "value": ValueError}[kind](f"retry {kind}")
        return kind

    def generate(self) -> str:
        note(self.file, "generated")
        return '{"data": 1}' if len(notes(self.file)) > self.failures else "nonsense"


def compute(x: int, y: int) -> int:
    return x**2 + y**2


async def compute_later(x: int, y: int) -> int:
    return x**2 + y**2


def square(x: int) -> int:
    return x**2


def factorial(n: int) -> int:
    return 1 if n <= 1 else n * factorial(n - 1)


@task(mode="thread")
def process_item(x: int) -> int:
    return x**2


@task(mode="process")
def process_elsewhere(x: int) -> int:
    return x**2


@task(mode="thread", limits=[Rate(100, per=60, key="api")])
def call_api(prompt: str, limits: LimitSet = LIMITS) -> tuple[str, list[str]]:
    return prompt.upper(), list(limits.names)
