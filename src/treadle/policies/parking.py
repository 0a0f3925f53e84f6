"""A breaker that a fleet shares: it parks the queue, and the store lets its probe through.

What the breaker remembers is a cell; what it does is the rule of the queue, which the store follows
for every foreman. An open breaker pauses the queue and lets one of its jobs run at a time from then
on. When the pause is over, that one is the probe: its place is held by its lease, so it comes back
from a foreman that dies.
"""

from __future__ import annotations

import msgspec

from treadle.policies.breaker import (
    Breaker,
    BreakerChange,
    BreakerPhase,
    BreakerState,
    Outcome,
    Pass,
)
from treadle.ports import QueueRule

__all__ = ["BREAKER", "BREAKER_CELL", "AttemptReport", "Parked", "is_probe", "judge"]

BREAKER_CELL = "breaker:"
"""Prefix of the cells that hold a :class:`Parked`; the name of a queue follows."""
BREAKER = "breaker"
"""By whom a queue is paused whose breaker is open."""
_PARKED = (BreakerPhase.OPEN, BreakerPhase.STOPPED)


class Parked(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """What a fleet remembers of the breaker of a queue."""

    state: BreakerState = BreakerState()
    # ``max_running`` of the queue before it opened.
    max_running: int | None = None
    # What started before was under way when it opened. Seconds since the epoch, in the middle of
    # the pause, so that the clocks of machines may differ by half of it.
    turned: float = 0.0


class AttemptReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a breaker is told of an attempt."""

    outcome: Outcome
    # When it started, in seconds since the epoch.
    began: float
    # Seconds that the service asked for.
    retry_after: float | None = None


def is_probe(parked: Parked, rule: QueueRule, began: float) -> bool:
    """Whether an attempt that began then finds out whether the breaker may close.

    What was under way when it opened does not. Where it was resumed by hand, whatever runs does.
    """
    return parked.state.phase in _PARKED and (began >= parked.turned or not rule.paused)


def judge(
    breaker: Breaker, parked: Parked, rule: QueueRule, report: AttemptReport, now: float
) -> tuple[BreakerChange | None, Parked, QueueRule]:
    """What the end of an attempt changes: what happened, the cell, and the rule of the queue.

    Args:
        breaker: of the task.
        parked: what is remembered.
        rule: of the queue.
        report: how the attempt ended.
        now: seconds since the epoch.
    """
    state = parked.state
    was_parked = state.phase in _PARKED
    if was_parked:
        if not is_probe(parked, rule, report.began):
            return None, parked, rule
        state = msgspec.structs.replace(
            state, phase=BreakerPhase.HALF_OPEN, probing=True, period=state.period + 1
        )
    leave = Pass(period=state.period, probe=was_parked)
    change, after = breaker.report(state, now, leave, report.outcome, report.retry_after)
    if change is None:
        return None, parked if was_parked else msgspec.structs.replace(parked, state=after), rule
    if change is BreakerChange.CLOSED:
        return change, Parked(state=after), _lifted(parked, rule)
    pause = after.until - now if change is BreakerChange.OPENED else 0.0
    opened = Parked(
        state=after,
        max_running=parked.max_running if was_parked else rule.max_running,
        turned=now + pause / 2,
    )
    return change, opened, _paused(rule, change, after, now)


def _paused(rule: QueueRule, change: BreakerChange, state: BreakerState, now: float) -> QueueRule:
    """The rule of a queue whose breaker has opened; a pause by hand that is longer stays."""
    until = state.until if change is BreakerChange.OPENED else None
    if rule.paused and rule.by != BREAKER and _lasts(rule, until):
        return msgspec.structs.replace(rule, max_running=1)
    times = "once" if state.trips == 1 else f"{state.trips} times without a success between"
    reason = f"its breaker has opened {times}"
    if change is BreakerChange.STOPPED:
        reason += ", as often as it may; resume the queue when the cause is mended"
    return msgspec.structs.replace(
        rule, paused=True, reason=reason, by=BREAKER, since=now, until=until, max_running=1
    )


def _lasts(rule: QueueRule, until: float | None) -> bool:
    return rule.until is None or (until is not None and rule.until >= until)


def _lifted(parked: Parked, rule: QueueRule) -> QueueRule:
    """The rule of a queue whose breaker has closed. What was set by hand meanwhile stays."""
    if rule.max_running == 1:
        rule = msgspec.structs.replace(rule, max_running=parked.max_running)
    if rule.by != BREAKER:
        return rule
    return msgspec.structs.replace(rule, paused=False, reason="", by="", since=None, until=None)
