"""What the tests of the policies share."""

from __future__ import annotations

from collections.abc import Iterable

from treadle.policies.match import AttemptInfo

FIRST = AttemptInfo(attempt=1, elapsed=0.0, task="tasks.fetch")


class Dice:
    """Chance that falls as it is told to, the last value over and over."""

    def __init__(self, *values: float) -> None:
        self.values = list(values) or [0.0]

    def random(self) -> float:
        return self.values.pop(0) if len(self.values) > 1 else self.values[0]

    def uniform(self, a: float, b: float, /) -> float:
        return a + (b - a) * self.random()

    def getrandbits(self, k: int, /) -> int:
        return int(self.random() * (1 << k))


def boom(*_: object) -> bool:
    """A predicate with a bug."""
    raise LookupError("a bug of the predicate")


def names(errors: Iterable[BaseException]) -> list[str]:
    return [type(error).__name__ for error in errors]
