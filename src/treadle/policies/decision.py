"""What an attempt that raised leads to. The guard and the queue act on the same decision."""

from __future__ import annotations

from enum import StrEnum

import msgspec

from treadle.errors import Control, Fail, Quit, Skip, Trip
from treadle.ids import Chance
from treadle.policies.breaker import Outcome
from treadle.policies.match import AttemptInfo, leaf
from treadle.policies.retry import Retry, RetryState
from treadle.policies.retry_after import retry_after

__all__ = ["MAX_TRIPS", "Decision", "End", "Failure", "decide"]

MAX_TRIPS = 3
"""How often a call that trips the breaker is given back uncounted."""


class End(StrEnum):
    """What becomes of the call."""

    AGAIN = "again"  # another attempt, counted
    RELEASED = "released"  # another attempt, not counted
    SKIPPED = "skipped"
    FAILED = "failed"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that raised."""

    error: BaseException
    info: AttemptInfo
    # Of the retry, before this attempt.
    state: RetryState = RetryState()
    # How often the call has been given back by ``Trip``.
    releases: int = 0
    # Seconds since the Unix epoch.
    now: float


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do about it."""

    end: End
    # For the breaker.
    outcome: Outcome
    # What the call ends with: what was raised, or what a predicate or a backoff raised.
    error: BaseException
    # Seconds until the next attempt.
    delay: float = 0.0
    # Of the retry, after this attempt.
    state: RetryState = RetryState()
    # Seconds that the error asked for; sets the pause of the breaker.
    retry_after: float | None = None
    restart_worker: bool = False
    quit: bool = False


def decide(retry: Retry, failure: Failure, chance: Chance) -> Decision:
    """What follows from an error.

    An error of the policy's own code, a predicate that raises or a backoff that gives nonsense,
    fails the call with that error, in whose context the first one stands: trying again would
    ask the same broken code again.
    """
    try:
        return _decided(retry, failure, chance)
    except Exception as broken:  # noqa: BLE001 - becomes the error of the call
        broken.__context__ = failure.error
        return Decision(end=End.FAILED, outcome=Outcome.FAILURE, error=broken)


def _decided(retry: Retry, failure: Failure, chance: Chance) -> Decision:
    error = leaf(failure.error)
    restart = isinstance(error, Control) and bool(getattr(error, "restart_worker", False))
    match error:
        case Skip():
            end, outcome, delay = End.SKIPPED, Outcome.NEUTRAL, 0.0
        case Fail():
            end, outcome, delay = End.FAILED, Outcome.FAILURE, 0.0
        case Trip():
            end, outcome, delay = _tripped(retry, failure, chance)
        case _:
            return _retried(retry, failure, chance, restart)
    return Decision(
        end=end,
        outcome=outcome,
        error=failure.error,
        delay=delay,
        state=failure.state,
        retry_after=retry_after(error, failure.now, retry.max_retry_after),
        restart_worker=restart,
    )


def _tripped(retry: Retry, failure: Failure, chance: Chance) -> tuple[End, Outcome, float]:
    """Back, uncounted, after what the error or the backoff says; failed after the third time."""
    if failure.releases >= MAX_TRIPS:
        return End.FAILED, Outcome.TRIP, 0.0
    delay = retry_after(leaf(failure.error), failure.now, retry.max_retry_after)
    if delay is None:
        delay = retry.backoff.delay(failure.releases + 1, chance)
    return End.RELEASED, Outcome.TRIP, delay


def _retried(retry: Retry, failure: Failure, chance: Chance, restart: bool) -> Decision:
    error = leaf(failure.error)
    delay, state = retry.after(failure.state, failure.now, failure.error, failure.info, chance)
    return Decision(
        end=End.FAILED if delay is None else End.AGAIN,
        outcome=Outcome.FAILURE if delay is None else Outcome.ERROR,
        error=failure.error,
        delay=delay or 0.0,
        state=state,
        retry_after=retry_after(error, failure.now, retry.max_retry_after),
        restart_worker=restart,
        quit=isinstance(error, Quit),
    )
