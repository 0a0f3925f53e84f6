"""A breaker in use: its definition, its state and a clock."""

from __future__ import annotations

from treadle.clock import Clock
from treadle.policies.breaker import (
    Breaker,
    BreakerChange,
    BreakerPhase,
    BreakerState,
    Outcome,
    Pass,
)

__all__ = ["Gate"]


class Gate:
    """What a pool or a foreman asks before each start and tells after each end.

    For one thread at a time, such as that of an event loop; others hold a lock around it.

    Args:
        breaker: the definition.
        clock: its monotonic reading measures the pauses.
    """

    def __init__(self, breaker: Breaker, clock: Clock) -> None:
        self.breaker = breaker
        self._clock = clock
        self._state = BreakerState()

    @property
    def phase(self) -> BreakerPhase:
        """Where the breaker is; an open one stays so until somebody asks to start."""
        return self._state.phase

    @property
    def trips(self) -> int:
        """Trips since it was last closed."""
        return self._state.trips

    def admit(self) -> Pass | float | None:
        """Leave to start; or seconds after which to ask again; or ``None``: never again.

        The seconds are infinite while a probe is running: ask again after its report.
        """
        now = self._clock.monotonic()
        answer, self._state = self.breaker.admit(self._state, now)
        return answer - now if isinstance(answer, float) else answer

    def report(
        self, leave: Pass, outcome: Outcome, retry_after: float | None = None
    ) -> BreakerChange | None:
        """Tell how an attempt ended, once for each leave; what changed by it."""
        now = self._clock.monotonic()
        change, self._state = self.breaker.report(self._state, now, leave, outcome, retry_after)
        return change
