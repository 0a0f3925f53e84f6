"""The drivers of policies: asynchronous and synchronous for calls, and one for the queue.

``run_async`` and ``run_sync`` carry out the steps of a :func:`~treadle.policies.guard.guard`
on a host. For a job the store enforces the limits and the foreman holds the gate of the
breaker; what is left is what follows from the end of an attempt, and there a pause becomes the
verdict ``Again`` instead of a wait: :func:`verdict`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from treadle.codec.small import remark
from treadle.errors import AttemptTimeout, Control, JobCancelled, LeaseLost
from treadle.faults import Fault, capture
from treadle.ids import Chance
from treadle.policies.breaker import Outcome
from treadle.policies.decision import Decision, End, Failure, decide
from treadle.policies.effects import Effect, Host, Invoke, Look, Moment, Raised
from treadle.policies.guard import Steps
from treadle.policies.match import AttemptInfo, Given, leaf, no_arguments
from treadle.policies.retry import Retry, RetryState
from treadle.policies.stored import restored
from treadle.records import Cause, Lease
from treadle.verdicts import Again, Cancelled, Done, Failed, Released, Verdict

__all__ = ["AttemptEnd", "Step", "run_async", "run_sync", "verdict"]


async def run_async(steps: Steps, host: Host) -> Any:
    """The value of a call, whose host gives awaitables; raises what the call ends with."""
    watch = _Watch(host)
    effect = watch.start(steps)
    while effect is not None:
        try:
            answer = watch.look() if isinstance(effect, Look) else await effect.on(host)
        except BaseException as error:  # noqa: BLE001 - the guard decides
            effect = watch.failed(steps, effect, error)
        else:
            effect = watch.answered(steps, answer)
    return watch.outcome()


def run_sync(steps: Steps, host: Host) -> Any:
    """The value of a call, whose host answers directly; raises what the call ends with."""
    watch = _Watch(host)
    effect = watch.start(steps)
    while effect is not None:
        try:
            answer = watch.look() if isinstance(effect, Look) else effect.on(host)
        except BaseException as error:  # noqa: BLE001 - the guard decides
            effect = watch.failed(steps, effect, error)
        else:
            effect = watch.answered(steps, answer)
    return watch.outcome()


class _Watch:
    """What both drivers do between the effects."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._started = host.clock.monotonic()
        self._ended: Any = None

    def start(self, steps: Steps) -> Effect | None:
        return self.answered(steps, None)

    def look(self) -> Moment:
        clock = self._host.clock
        return Moment(elapsed=clock.monotonic() - self._started, now=clock.now())

    def answered(self, steps: Steps, answer: Any) -> Effect | None:
        """The next effect; ``None`` at the end."""
        try:
            return steps.send(answer)
        except StopIteration as stop:
            self._ended = stop.value
            return None

    def failed(self, steps: Steps, effect: Effect, error: BaseException) -> Effect | None:
        """The next effect after one that raised."""
        if isinstance(effect, Invoke) and not self._host.interrupted(error):
            return self.answered(steps, Raised(error))
        return steps.throw(error)

    def outcome(self) -> Any:
        if isinstance(self._ended, Raised):
            raise self._ended.error
        return self._ended


class AttemptEnd(msgspec.Struct, frozen=True, kw_only=True):
    """The end of an attempt of a job."""

    lease: Lease
    # Seconds since the Unix epoch.
    now: float
    # Reads the arguments of the job.
    given: Callable[[], Given] = no_arguments
    # What the task raised.
    error: BaseException | None = None
    # What it returned, for ``until``.
    value: Any = None
    # The same, sealed, for the verdict.
    result: bytes | None = None
    # What the attempt was told to end with: JobCancelled, AttemptTimeout or LeaseLost.
    ending: BaseException | None = None
    # A cause that no further attempt can help, such as a result that cannot be encoded.
    cause: Cause | None = None
    # The error as data, where it comes from another process; else it is captured here.
    fault: Fault | None = None


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A verdict, and what the foreman has to do besides settling it."""

    verdict: Verdict
    # To report to the breaker.
    outcome: Outcome = Outcome.SUCCESS
    # Seconds that the service asked for, to go with the report.
    retry_after: float | None = None
    # Restart the stateful worker before its next call.
    restart_worker: bool = False
    # Stop in good order, for this reason.
    quit: BaseException | None = None

    @property
    def tripped(self) -> bool:
        """Whether the breaker opens now."""
        return self.outcome is Outcome.TRIP

    @property
    def counts_for_breaker(self) -> bool:
        """Whether the job has failed for good in a way that the breaker counts."""
        return self.outcome is Outcome.FAILURE


def verdict(retry: Retry, ended: AttemptEnd, chance: Chance) -> Step:
    """What follows from the end of an attempt.

    An attempt that returned, under a retry without ``until``, is ``Done``; callers with many
    of these need not ask.
    """
    lease, error = ended.lease, ended.error
    if error is None:
        if not retry.until:
            return Step(verdict=Done(result=ended.result))
        error = retry.rejects(ended.value, _info(ended))
        if error is None:
            return Step(verdict=Done(result=ended.result))
    elif ended.cause is not None:
        failed = Failed(cause=ended.cause, fault=_fault(ended, error))
        return Step(verdict=failed, outcome=Outcome.NEUTRAL)
    elif ended.ending is not None and not isinstance(leaf(error), Control):
        stopped = _stopped(ended, error)
        if stopped is not None:
            return stopped
        error = _timed_out(ended.ending, error)
    failure = Failure(
        error=error,
        info=_info(ended),
        state=RetryState(tries=lease.tries),
        releases=lease.releases,
        now=ended.now,
    )
    return _step(ended, decide(_of_this_job(retry, lease), failure, chance))


def _info(ended: AttemptEnd) -> AttemptInfo:
    lease = ended.lease
    return AttemptInfo(
        attempt=lease.attempt,
        elapsed=max(0.0, ended.now - lease.created),
        task=lease.spec.task,
        given=ended.given,
    )


def _of_this_job(retry: Retry, lease: Lease) -> Retry:
    """The retry of the task, with what the call of this job has said instead."""
    spec = lease.spec
    if spec.retry is not None:
        retry = restored(spec.retry, retry)
    if spec.at_most_once:
        return retry.replace(max=0)
    if spec.retries is None:
        return retry
    return retry.replace(max=None if spec.retries < 0 else spec.retries)


def _stopped(ended: AttemptEnd, error: BaseException) -> Step | None:
    """The step of an attempt that was told to stop; ``None`` for one that ran out of time."""
    if isinstance(ended.ending, LeaseLost):
        return Step(verdict=Released(), outcome=Outcome.NEUTRAL)
    if not isinstance(ended.ending, JobCancelled):
        return None
    # What is no ``Exception`` here is the cancellation itself.
    told = error is ended.ending or isinstance(error, JobCancelled)
    fault = None if told or not isinstance(error, Exception) else _fault(ended, error)
    return Step(verdict=Cancelled(fault=fault), outcome=Outcome.NEUTRAL)


def _timed_out(ending: BaseException, error: BaseException) -> BaseException:
    """The timeout as the error, with what it made the code raise as its cause."""
    if ending is not error and ending.__cause__ is None:
        ending.__cause__ = error
    return ending


def _step(ended: AttemptEnd, decision: Decision) -> Step:
    return Step(
        verdict=_verdict(ended, decision),
        outcome=decision.outcome,
        retry_after=decision.retry_after,
        restart_worker=decision.restart_worker,
        quit=leaf(decision.error) if decision.quit else None,
    )


def _verdict(ended: AttemptEnd, decision: Decision) -> Verdict:
    error = decision.error
    reason = remark(getattr(leaf(error), "reason", "")) or type(leaf(error)).__name__
    cause = Cause.TIMEOUT if isinstance(leaf(error), AttemptTimeout) else Cause.ERROR
    match decision.end:
        case End.SKIPPED:
            return Done(skipped=reason)
        case End.RELEASED if not ended.lease.spec.at_most_once:
            return Released(delay=decision.delay, reason=reason)
        case End.AGAIN:
            return Again(delay=decision.delay, cause=cause, fault=_fault(ended, error))
        case _:
            return Failed(cause=cause, fault=_fault(ended, error))


def _fault(ended: AttemptEnd, error: BaseException) -> Fault:
    return ended.fault or capture(error)
