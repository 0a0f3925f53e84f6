"""All policies of one call as one generator of effects, without I/O.

The order is: leave of the breaker, limits, the attempt, limits back, report to the breaker,
and a pause before it all begins anew. What it holds it gives back however it ends. The drivers
of :mod:`treadle.policies.drive` run it.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping
from typing import Any, TypeAlias

import msgspec

from treadle.errors import BreakerOpen
from treadle.ids import Chance
from treadle.policies.breaker import Outcome, Pass
from treadle.policies.decision import Decision, End, Failure, decide
from treadle.policies.effects import (
    Admit,
    Await,
    Effect,
    Invoke,
    Look,
    Moment,
    Pause,
    Raised,
    Release,
    Report,
    Restart,
    Stop,
)
from treadle.policies.match import AttemptInfo, Given
from treadle.policies.retry import Retry, RetryState
from treadle.policies.taking import taking
from treadle.policies.timeout import Timeout
from treadle.ports import Permit
from treadle.records import Ask

__all__ = ["Policies", "Steps", "guard"]

Steps: TypeAlias = Generator[Effect, Any, Any]
"""A guard under way. It returns the value of the call, or :class:`Raised`."""


class Policies(msgspec.Struct, frozen=True, kw_only=True):
    """What surrounds one call."""

    # Name of the task or method, for predicates and messages.
    task: str = ""
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] = {}
    retry: Retry = Retry(0)
    timeout: Timeout = Timeout()
    asks: tuple[Ask, ...] = ()
    # Whether there is a breaker to ask.
    breaker: bool = False


def guard(policies: Policies, chance: Chance) -> Steps:
    """The steps of one call. Yields effects, is sent their answers, returns the outcome.

    An effect that fails is thrown in; the guard gives back what it holds and lets the error
    through. Errors of the call itself come as :class:`Raised`, so that none of them can be
    mistaken for one of the machinery.
    """
    return _Call(policies, chance).steps()


class _Call:
    """Where one call is, and what it holds."""

    def __init__(self, policies: Policies, chance: Chance) -> None:
        self.policies = policies
        self.timeout = policies.timeout
        self.chance = chance
        self.attempt = 1
        self.releases = 0
        self.state = RetryState()
        self.leave: Pass | None = None
        self.permit: Permit | None = None
        self.invoked = False
        self.outcome = Outcome.NEUTRAL
        self.retry_after: float | None = None

    def steps(self) -> Steps:
        while True:
            try:
                yield from self._enter()
                left = yield from self._time_left()
                self.invoked = True
                ended = yield Invoke(self.attempt, left)
                decision = yield from self._judge(ended)
            finally:
                yield from self._give_back()
            if decision is None:
                return ended
            if decision.restart_worker:
                yield Restart()
            if decision.quit:
                yield Stop(decision.error)
            if decision.end is End.SKIPPED:
                return None
            if decision.end is End.FAILED:
                return Raised(self._told(decision.error))
            yield Pause(decision.delay)
            self.state = decision.state
            self.attempt += 1
            self.releases += decision.end is End.RELEASED

    def _enter(self) -> Generator[Effect, Any, None]:
        """Leave of the breaker, then the limits, then the breaker again if they took time."""
        policies = self.policies
        self.invoked, self.outcome, self.retry_after = False, Outcome.NEUTRAL, None
        while True:
            if policies.breaker:
                yield from self._admitted()
            waited = policies.asks and (yield from self._granted())
            if not waited or self.leave is None or self.leave.probe:
                return
            answer = yield Admit()
            if isinstance(answer, Pass):
                self.leave = answer
                return
            yield from self._give_back()

    def _admitted(self) -> Generator[Effect, Any, None]:
        while True:
            answer: Pass | float | None = yield Admit()
            if isinstance(answer, Pass):
                self.leave = answer
                return
            wait = math.inf if answer is None else answer
            refused = BreakerOpen(
                f"{self.policies.task or 'the call'} is held back by its breaker after too many "
                f"failures; {'it has stopped' if answer is None else f'ask again in {wait:g} s'}",
                retry_after=wait,
            )
            if answer is None:
                raise refused
            yield Await((yield from self._bounded(wait, refused)))

    def _granted(self) -> Generator[Effect, Any, bool]:
        """Take the limits; whether that took time."""
        policies = self.policies
        name = policies.task or "the call"
        self.permit, waited = yield from taking(name, policies.asks, self.timeout.total)
        return waited

    def _bounded(self, wait: float, late: Exception) -> Generator[Effect, Any, float]:
        """A wait that stays within the total time, or the error when there is none left."""
        if self.timeout.total is None:
            return wait
        moment: Moment = yield Look()
        left = self.timeout.total - moment.elapsed
        if left <= 0:
            raise late
        return min(wait, left)

    def _time_left(self) -> Generator[Effect, Any, float | None]:
        """Seconds that the next attempt may take."""
        if self.timeout.total is None:
            return self.timeout.attempt
        moment: Moment = yield Look()
        return self.timeout.next(moment.elapsed)

    def _judge(self, ended: Any) -> Generator[Effect, Any, Decision | None]:
        """What to do about an attempt that raised, or whose result will not do; else nothing."""
        retry = self.policies.retry
        if not isinstance(ended, Raised) and not retry.until:
            self.outcome = Outcome.SUCCESS
            return None
        moment: Moment = yield Look()
        info = AttemptInfo(
            attempt=self.attempt,
            elapsed=moment.elapsed,
            task=self.policies.task,
            given=self._given,
        )
        error = ended.error if isinstance(ended, Raised) else retry.rejects(ended, info)
        if error is None:
            self.outcome = Outcome.SUCCESS
            return None
        decision = decide(
            retry,
            Failure(
                error=error,
                info=info,
                state=self.state,
                releases=self.releases,
                now=moment.now,
            ),
            self.chance,
        )
        again = decision.end in (End.AGAIN, End.RELEASED)
        if again and (decision.quit or not self.timeout.allows(moment.elapsed + decision.delay)):
            outcome = Outcome.FAILURE if decision.end is End.AGAIN else decision.outcome
            decision = msgspec.structs.replace(decision, end=End.FAILED, outcome=outcome)
        self.outcome, self.retry_after = decision.outcome, decision.retry_after
        return decision

    def _given(self) -> Given:
        return self.policies.args, self.policies.kwargs

    def _give_back(self) -> Generator[Effect, Any, None]:
        """Everything that is held, also when giving back one of them fails."""
        leave, self.leave = self.leave, None
        permit, self.permit = self.permit, None
        try:
            if permit is not None:
                yield Release(permit, not self.invoked)
        finally:
            if leave is not None:
                yield Report(leave, self.outcome, self.retry_after)

    def _told(self, error: BaseException) -> BaseException:
        if self.attempt > 1:
            error.add_note(f"treadle: gave up after {self.attempt} attempts")
        return error
