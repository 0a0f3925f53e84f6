"""How long an attempt, and a call with all its attempts, may take."""

from __future__ import annotations

from treadle.durations import Duration, seconds
from treadle.policies.definition import Definition, refuse

__all__ = ["Timeout"]


class Timeout(Definition):
    """Bounds on time; ``None`` leaves one away.

    Args:
        attempt: one attempt, from when it starts. It ends as :class:`~treadle.AttemptTimeout`,
            which follows the retry policy.
        total: the whole call, from when it is made: waiting for limits and for an open breaker,
            all attempts, and the pauses between them. No attempt and no pause goes beyond it.

    A job that has to *start* in time has ``expires`` for that, counted from the enqueue.
    """

    __slots__ = ("attempt", "total")

    attempt: float | None
    total: float | None

    def __init__(self, attempt: Duration | None = None, *, total: Duration | None = None) -> None:
        self._set(attempt=_positive(attempt, "attempt"), total=_positive(total, "total"))

    @classmethod
    def of(cls, value: Duration | Timeout | None) -> Timeout:
        """A timeout from what an option holds: a duration is that of an attempt."""
        return value if isinstance(value, Timeout) else cls(_positive(value, "timeout"))

    def next(self, elapsed: float) -> float | None:
        """Seconds that an attempt may take which starts ``elapsed`` seconds after the call."""
        if self.total is None:
            return self.attempt
        left = max(0.0, self.total - elapsed)
        return left if self.attempt is None else min(left, self.attempt)

    def allows(self, elapsed: float) -> bool:
        """Whether something may still start ``elapsed`` seconds after the call was made."""
        return self.total is None or elapsed < self.total


def _positive(value: Duration | None, option: str) -> float | None:
    if value is None:
        return None
    result = seconds(value, option)
    if result == 0:
        refuse(option, value, "above 0; None means without bound")
    return result
