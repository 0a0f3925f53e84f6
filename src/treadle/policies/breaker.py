"""A breaker: after too many failures nothing runs for a while, then one call probes.

::

                 threshold failures, or Trip
      ┌────────┐ ──────────────────────────► ┌──────┐
      │ closed │                             │ open │ ◄─┐
      └────────┘ ◄──────┐                    └──────┘   │
                        │ the probe succeeds     │      │ the probe fails, or Trip:
                        │                        │      │ a longer pause
                        │     ┌───────────┐ ◄────┘      │
                        └──── │ half open │ the pause   │
                              └───────────┘ is over ────┘

What counts is a job or call that has failed for good, not each of its attempts; a success
between sets the count back. While the breaker is open, what had started before neither opens
it again nor closes it: one trip per open period.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import ClassVar

import msgspec

from treadle.durations import Duration, seconds
from treadle.policies.backoff import grow
from treadle.policies.definition import Definition, number, refuse, whole

__all__ = [
    "Breaker",
    "BreakerChange",
    "BreakerPhase",
    "BreakerState",
    "Outcome",
    "Pass",
]


class BreakerPhase(StrEnum):
    """Where a breaker is."""

    CLOSED = "closed"  # everything may run
    OPEN = "open"  # nothing starts before ``until``
    HALF_OPEN = "half_open"  # one probe may run
    STOPPED = "stopped"  # the last allowed trip has happened; nothing starts any more


class BreakerChange(StrEnum):
    """What a report led to."""

    OPENED = "opened"
    CLOSED = "closed"
    STOPPED = "stopped"  # the trips are used up: the foreman, or the pool, must stop


class Outcome(StrEnum):
    """How an attempt ended, as far as a breaker is concerned."""

    SUCCESS = "success"
    ERROR = "error"  # it failed, and another attempt follows; counts only for a probe
    FAILURE = "failure"  # it failed for good
    TRIP = "trip"  # it asked for the breaker to open
    NEUTRAL = "neutral"  # it says nothing: skipped, cancelled, given back


class BreakerState(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What a breaker remembers."""

    phase: BreakerPhase = BreakerPhase.CLOSED
    # Failures in a row.
    failures: int = 0
    # Trips since it was last closed.
    trips: int = 0
    # When the pause ends, for an open one.
    until: float = 0.0
    # A probe is running, for a half open one.
    probing: bool = False
    # Goes up with every change of the phase.
    period: int = 0


class Pass(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Leave to start; handed in with the report, so that late reports are known as such."""

    period: int
    # This is the one call that finds out whether the breaker may close.
    probe: bool = False


class Breaker(Definition):
    """Holds work back after failures in a row.

    Args:
        threshold: failures in a row that open it.
        pause: how long it stays open the first time.
        factor: how much longer each next time, as long as no probe succeeds.
        max_pause: the longest pause.
        trips: how many trips without a success between are allowed: with the last of them
            the foreman stops. ``None`` for no bound.
    """

    __slots__ = ("factor", "max_pause", "pause", "threshold", "trips")

    synonyms: ClassVar[Mapping[str, str]] = {
        "timeout": "pause", "reset_timeout": "pause", "recovery_timeout": "pause",
        "failures": "threshold", "max_failures": "threshold", "fail_max": "threshold",
        "failure_threshold": "threshold",
    }  # fmt: skip

    threshold: int
    pause: float
    factor: float
    max_pause: float
    trips: int | None

    def __init__(
        self,
        threshold: int = 5,
        *,
        pause: Duration = 10.0,
        factor: float = 2.0,
        max_pause: Duration = 600.0,
        trips: int | None = None,
    ) -> None:
        self._set(
            threshold=whole(threshold, "threshold", least=1),
            pause=seconds(pause, "pause"),
            factor=number(factor, "factor", least=1.0),
            max_pause=seconds(max_pause, "max_pause"),
            trips=None if trips is None else whole(trips, "trips", least=1),
        )
        if self.pause == 0:
            refuse("pause", pause, "above 0")
        if self.max_pause < self.pause:
            refuse("max_pause", max_pause, f"at least the first pause, {self.pause:g} s")

    def admit(self, state: BreakerState, now: float) -> tuple[Pass | float | None, BreakerState]:
        """Whether a call may start.

        Returns:
            A :class:`Pass`; or the instant at which to ask again, infinite while a probe is
            running, because only its report changes anything; or ``None`` when the breaker has
            stopped. And the state after it.
        """
        match state.phase:
            case BreakerPhase.CLOSED:
                return Pass(period=state.period), state
            case BreakerPhase.OPEN if now < state.until:
                return state.until, state
            case BreakerPhase.OPEN:
                half = _enter(state, BreakerPhase.HALF_OPEN, probing=True)
                return Pass(period=half.period, probe=True), half
            case BreakerPhase.HALF_OPEN if state.probing:
                return float("inf"), state
            case BreakerPhase.HALF_OPEN:
                probing = msgspec.structs.replace(state, probing=True)
                return Pass(period=state.period, probe=True), probing
            case _:
                return None, state

    def report(
        self,
        state: BreakerState,
        now: float,
        leave: Pass,
        outcome: Outcome,
        retry_after: float | None = None,
    ) -> tuple[BreakerChange | None, BreakerState]:
        """What the end of an attempt changes, and the state after it.

        Args:
            state: the present one.
            now: by the clock that ``admit`` was asked with.
            leave: what ``admit`` gave.
            outcome: how the attempt ended.
            retry_after: seconds that the service asked for; sets the pause.
        """
        if state.phase in (BreakerPhase.OPEN, BreakerPhase.STOPPED):
            return None, state
        if outcome is Outcome.TRIP:
            return self._trip(state, now, retry_after)
        if leave.period != state.period:
            return None, state
        if state.phase is BreakerPhase.HALF_OPEN:
            return self._probed(state, now, outcome, retry_after)
        if outcome is Outcome.SUCCESS:
            return None, msgspec.structs.replace(state, failures=0) if state.failures else state
        if outcome is not Outcome.FAILURE:
            return None, state
        if state.failures + 1 >= self.threshold:
            return self._trip(state, now, retry_after)
        return None, msgspec.structs.replace(state, failures=state.failures + 1)

    def _probed(
        self, state: BreakerState, now: float, outcome: Outcome, retry_after: float | None
    ) -> tuple[BreakerChange | None, BreakerState]:
        if outcome is Outcome.SUCCESS:
            return BreakerChange.CLOSED, _enter(state, BreakerPhase.CLOSED, trips=0)
        if outcome is Outcome.NEUTRAL:
            return None, msgspec.structs.replace(state, probing=False)
        return self._trip(state, now, retry_after)

    def _trip(
        self, state: BreakerState, now: float, retry_after: float | None
    ) -> tuple[BreakerChange, BreakerState]:
        trips = state.trips + 1
        if self.trips is not None and trips >= self.trips:
            return BreakerChange.STOPPED, _enter(state, BreakerPhase.STOPPED, trips=trips)
        pause = retry_after
        if pause is None:
            pause = grow(self.pause, self.factor, trips, self.max_pause)
        opened = _enter(state, BreakerPhase.OPEN, trips=trips, until=now + pause)
        return BreakerChange.OPENED, opened


def _enter(
    state: BreakerState,
    phase: BreakerPhase,
    *,
    trips: int | None = None,
    until: float = 0.0,
    probing: bool = False,
) -> BreakerState:
    return BreakerState(
        phase=phase,
        trips=state.trips if trips is None else trips,
        until=until,
        probing=probing,
        period=state.period + 1,
    )
