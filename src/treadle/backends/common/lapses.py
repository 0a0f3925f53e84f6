"""What becomes of a job whose attempt ended or whose lease lapsed."""

from __future__ import annotations

from enum import Enum

import msgspec

from treadle.records import Attempt, Cause

__all__ = ["ATTEMPTS_KEPT", "COUNTED", "Lapse", "Lost", "lapse", "remember"]

ATTEMPTS_KEPT = 20
"""Attempts that a record remembers."""

COUNTED = frozenset({Cause.ERROR, Cause.TIMEOUT, Cause.RESULT})
"""Causes of ``Failed`` that make ``tries`` go up."""


class Lapse(Enum):
    """Where a job goes whose lease was lost."""

    CANCELLED = "cancelled"
    FAILED = "failed"  # cause ``crashed``
    SUSPECT = "suspect"  # queued, to run alone
    QUEUED = "queued"  # as if it had not been claimed


class Lost(msgspec.Struct, frozen=True, kw_only=True):
    """A lost lease, as far as it decides."""

    at_most_once: bool
    cancel_asked: bool
    # An attempt was reported started, or a suspect was granted.
    started: bool
    # Before this loss.
    crashes: int
    max_crashes: int
    # Its session was closed in good order.
    closed: bool = False


def lapse(lost: Lost) -> Lapse:
    """Where the job goes. ``crashes`` goes up, and an attempt is recorded, if it had started."""
    if lost.at_most_once:
        return Lapse.FAILED
    if lost.cancel_asked:
        return Lapse.CANCELLED
    if lost.started:
        return Lapse.FAILED if lost.crashes + 1 >= lost.max_crashes else Lapse.SUSPECT
    return Lapse.QUEUED if lost.closed else Lapse.SUSPECT


def remember(attempts: tuple[Attempt, ...], attempt: Attempt) -> tuple[Attempt, ...]:
    """The attempts with one more, the oldest forgotten."""
    return (*attempts[1 - ATTEMPTS_KEPT :], attempt)
