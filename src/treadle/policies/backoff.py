"""How long to pause between two attempts.

Every backoff is a frozen value with one method, ``delay(attempt, chance, previous)``, which
works for any attempt, however large. Jitter takes a share off the delay, by chance: of 1
(full jitter) between 0 and the delay, of 0.2 between 80 and 100 percent of it. It keeps jobs
that failed together from coming back together.
"""

# ruff: noqa: A002 - "max" is the word for it, and no function here needs the builtin

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, TypeAlias, runtime_checkable

from treadle.durations import Duration, seconds
from treadle.ids import Chance
from treadle.policies.definition import Definition, number, refuse

__all__ = [
    "DEFAULT_BACKOFF",
    "Backoff",
    "BackoffLike",
    "Decorrelated",
    "Exponential",
    "Fibonacci",
    "Fixed",
    "Function",
    "Linear",
    "backoff",
    "decorrelated",
    "exponential",
    "fibonacci",
    "fixed",
    "grow",
    "linear",
]


@runtime_checkable
class Backoff(Protocol):
    """What a retry asks for the pause before the next attempt."""

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` (from 1) has failed.

        ``previous`` is the pause before that attempt, where it is known.
        """
        ...


BackoffLike: TypeAlias = Backoff | Duration | Callable[[int], Duration]
"""A backoff, a fixed duration, or a function of the number of the failed attempt."""


class Fixed(Definition):
    """The same delay every time; see :func:`fixed`."""

    __slots__ = ("jitter", "pause")

    pause: float
    jitter: float

    def __init__(self, pause: Duration, *, jitter: float = 0.0) -> None:
        self._set(pause=seconds(pause, "pause"), jitter=_share(jitter))

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` has failed."""
        return _jittered(self.pause, self.jitter, chance)


class Linear(Definition):
    """A delay that grows by the same step; see :func:`linear`."""

    __slots__ = ("jitter", "max", "start", "step")

    start: float
    step: float
    max: float
    jitter: float

    def __init__(
        self,
        start: Duration,
        step: Duration | None = None,
        *,
        max: Duration = 600.0,
        jitter: float = 0.0,
    ) -> None:
        first = seconds(start, "start")
        self._set(
            start=first,
            step=first if step is None else seconds(step, "step"),
            max=seconds(max, "max"),
            jitter=_share(jitter),
        )

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` has failed."""
        return _jittered(min(self.max, self.start + self.step * (attempt - 1)), self.jitter, chance)


class Exponential(Definition):
    """A delay that is multiplied each time; see :func:`exponential`."""

    __slots__ = ("factor", "jitter", "max", "start")

    start: float
    factor: float
    max: float
    jitter: float

    def __init__(
        self,
        start: Duration = 1.0,
        *,
        factor: float = 2.0,
        max: Duration = 600.0,
        jitter: float = 1.0,
    ) -> None:
        self._set(
            start=seconds(start, "start"),
            factor=number(factor, "factor", least=1.0),
            max=seconds(max, "max"),
            jitter=_share(jitter),
        )

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` has failed."""
        return _jittered(grow(self.start, self.factor, attempt, self.max), self.jitter, chance)


class Fibonacci(Definition):
    """A delay that is the sum of the two before; see :func:`fibonacci`."""

    __slots__ = ("jitter", "max", "start")

    start: float
    max: float
    jitter: float

    def __init__(
        self, start: Duration = 1.0, *, max: Duration = 600.0, jitter: float = 0.0
    ) -> None:
        self._set(start=seconds(start, "start"), max=seconds(max, "max"), jitter=_share(jitter))

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` has failed."""
        one, two, step = self.start, self.start, 1
        while step < attempt and 0 < one < self.max:
            one, two, step = two, one + two, step + 1
        return _jittered(min(one, self.max), self.jitter, chance)


class Decorrelated(Definition):
    """A random delay that grows from the one before; see :func:`decorrelated`."""

    __slots__ = ("factor", "max", "start")

    start: float
    max: float
    factor: float

    def __init__(
        self, start: Duration = 1.0, *, max: Duration = 600.0, factor: float = 3.0
    ) -> None:
        self._set(
            start=seconds(start, "start"),
            max=seconds(max, "max"),
            factor=number(factor, "factor", least=1.0),
        )

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` has failed."""
        if previous is None:
            most = grow(self.start, self.factor, attempt + 1, self.max)
        else:
            most = min(self.max, previous * self.factor)
        least = min(self.start, self.max)
        # Rounded, the largest number between two may be larger than both.
        return min(self.max, chance.uniform(least, max(least, most)))


class Function(Definition):
    """A function of the number of the failed attempt, from 1."""

    __slots__ = ("call",)

    call: Callable[[int], Duration]

    def __init__(self, call: Callable[[int], Duration]) -> None:
        self._set(call=call)

    def delay(self, attempt: int, chance: Chance, previous: float | None = None) -> float:
        """Seconds to pause after ``attempt`` has failed."""
        return seconds(self.call(attempt), f"the result of the backoff for attempt {attempt}")


def fixed(pause: Duration, *, jitter: bool | float = False) -> Fixed:
    """``pause`` every time."""
    return Fixed(pause, jitter=jitter)


def linear(
    start: Duration,
    step: Duration | None = None,
    *,
    max: Duration = "10m",
    jitter: bool | float = False,
) -> Linear:
    """``start``, then ``step`` more each time (``start`` more by default), at most ``max``."""
    return Linear(start, step, max=max, jitter=jitter)


def exponential(
    start: Duration = "1s",
    *,
    factor: float = 2.0,
    max: Duration = "10m",
    jitter: bool | float = True,
) -> Exponential:
    """``start``, then ``factor`` times as much each time, at most ``max``."""
    return Exponential(start, factor=factor, max=max, jitter=jitter)


def fibonacci(
    start: Duration = "1s", *, max: Duration = "10m", jitter: bool | float = False
) -> Fibonacci:
    """1, 1, 2, 3, 5, 8 … times ``start``, at most ``max``."""
    return Fibonacci(start, max=max, jitter=jitter)


def decorrelated(
    start: Duration = "1s", *, max: Duration = "10m", factor: float = 3.0
) -> Decorrelated:
    """By chance between ``start`` and ``factor`` times the pause before, at most ``max``.

    Where the pause before is not known, as between the attempts of a job, the upper end is
    the largest that it could have led to.
    """
    return Decorrelated(start, max=max, factor=factor)


_CURVES = frozenset({"fixed", "linear", "exponential", "fibonacci", "decorrelated"})


def backoff(value: BackoffLike) -> Backoff:
    """A backoff from what an option holds."""
    if isinstance(value, type):
        refuse("backoff", value, "a backoff but a class; make one, such as exponential('1s')")
    if isinstance(value, Backoff):
        return value
    if callable(value):
        return Function(value)
    if isinstance(value, str) and value in _CURVES:
        refuse("backoff", value, f"a duration; the curve is made by backoff.{value}('1s')")
    return Fixed(seconds(value, "backoff"))


def grow(start: float, factor: float, times: int, most: float) -> float:
    """``start`` multiplied ``times - 1`` times, at most ``most``, without overflow."""
    try:
        return min(most, start * factor ** (times - 1))
    except OverflowError:
        return most if start else 0.0


def _share(value: Any) -> float:
    return float(value) if isinstance(value, bool) else number(value, "jitter", most=1.0)


def _jittered(delay: float, share: float, chance: Chance) -> float:
    return delay - share * delay * chance.random() if share else delay


DEFAULT_BACKOFF = Exponential()
"""Full jitter below 1 s, 2 s, 4 s … 10 min."""
