"""When to try again: how often, after which errors and results, and how much later."""

# ruff: noqa: A002 - "max" is the word for it, and no function here needs the builtin

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import msgspec

from treadle.durations import Duration, seconds
from treadle.errors import Quit, ResultRejected, RetryLater
from treadle.hints import shown
from treadle.ids import Chance
from treadle.policies.backoff import DEFAULT_BACKOFF, Backoff, BackoffLike
from treadle.policies.backoff import backoff as make_backoff
from treadle.policies.definition import Definition, refuse, whole
from treadle.policies.match import (
    AttemptInfo,
    Condition,
    Conditions,
    Matcher,
    Validator,
    Validators,
    callables,
    conditions,
    leaf,
    validators,
)
from treadle.policies.retry_after import retry_after

__all__ = ["Retry", "RetryState"]


class RetryState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What a retry remembers between attempts."""

    # Attempts that have failed and count.
    tries: int = 0
    # Seconds of the last pause, where known.
    previous: float | None = None


class Retry(Definition):
    """Further attempts after one that failed.

    Args:
        max: how many further attempts; ``None`` for no bound.
        on: which errors are tried again: types or predicates, one or several. All by default.
        give_up_on: which are not, whatever ``on`` says.
        until: what a result must be: validators, one or several. A result that one of them
            finds false is tried again; when no attempts are left the call ends with
            :class:`~treadle.ResultRejected`.
        backoff: the pause before the next attempt: one of :func:`fixed`, :func:`linear`,
            :func:`exponential` (the default), :func:`fibonacci`, :func:`decorrelated`, a
            duration, or a function of the number of the failed attempt.
        max_retry_after: the longest pause that an error may ask for by ``Retry-After``.

    Predicates are called with the error, validators with the result, and where they have a
    second parameter, with an :class:`AttemptInfo`.
    """

    __slots__ = (
        "_checks",
        "_gives_up",
        "_on",
        "backoff",
        "give_up_on",
        "max",
        "max_retry_after",
        "on",
        "until",
    )
    synonyms: ClassVar[Mapping[str, str]] = {
        "attempts": "max", "max_attempts": "max", "max_retries": "max", "max_tries": "max",
        "times": "max", "retries": "max", "delay": "backoff", "wait": "backoff",
        "interval": "backoff", "countdown": "backoff", "exceptions": "on", "retry_for": "on",
        "autoretry_for": "on", "retry_on": "on", "throws": "give_up_on",
    }  # fmt: skip

    max: int | None
    on: tuple[Condition, ...]
    give_up_on: tuple[Condition, ...]
    until: tuple[Validator, ...]
    backoff: Backoff
    max_retry_after: float
    _on: Matcher
    _gives_up: Matcher
    _checks: tuple[Callable[[Any, AttemptInfo], object], ...]

    def __init__(
        self,
        max: int | None = 3,
        *,
        on: Conditions = (),
        give_up_on: Conditions = (),
        until: Validators = (),
        backoff: BackoffLike = DEFAULT_BACKOFF,
        max_retry_after: Duration = 3600.0,
    ) -> None:
        self._set(
            max=None if max is None else whole(max, "max"),
            on=conditions(on, "on"),
            give_up_on=conditions(give_up_on, "give_up_on"),
            until=validators(until, "until"),
            backoff=make_backoff(backoff),
            max_retry_after=seconds(max_retry_after, "max_retry_after"),
        )
        self._set(
            _on=Matcher(self.on or (BaseException,)),
            _gives_up=Matcher(self.give_up_on),
            _checks=callables(self.until),
        )

    @classmethod
    def of(cls, value: int | Retry | None) -> Retry:
        """A retry from what an option holds: a number of further attempts, or ``None`` for 0."""
        if isinstance(value, Retry):
            return value
        if isinstance(value, bool) or not isinstance(value, int | None):
            refuse("retry", value, "a number of further attempts, such as 3, nor a Retry(…)")
        return cls(whole(value or 0, "retry"))

    def rejects(self, result: Any, info: AttemptInfo) -> ResultRejected | None:
        """The error of a result that ``until`` does not accept; ``None`` for one that will do.

        A validator that raises does not accept; what it raised is the cause of the error.
        """
        for validator, check in zip(self.until, self._checks, strict=True):
            reason: Exception | None = None
            try:
                if check(result, info):
                    continue
            except Exception as error:  # noqa: BLE001 - the cause of the rejection
                reason = error
            name = getattr(validator, "__qualname__", repr(validator))
            told = f" ({reason!r})" if reason else ""
            rejected = ResultRejected(
                f"the result of attempt {info.attempt} was not accepted by {name}{told}",
                attempts=info.attempt,
                result=shown(result),
                validator=name,
            )
            rejected.__cause__ = reason
            return rejected
        return None

    def after(
        self,
        state: RetryState,
        now: float,
        error: BaseException,
        info: AttemptInfo,
        chance: Chance,
    ) -> tuple[float | None, RetryState]:
        """Seconds until the next attempt, or ``None`` to give up; and the state after it.

        ``RetryLater`` and ``Quit`` ask for another attempt themselves, as does a result that
        was rejected: only the number of attempts binds them. What a predicate or the backoff
        raises is raised.
        """
        failed = state.tries + 1
        last = self.max is not None and failed > self.max
        if last or not self._wants(error, info):
            return None, RetryState(tries=failed)
        delay = self._asked(error, now)
        if delay is None:
            delay = self.backoff.delay(failed, chance, state.previous)
        return delay, RetryState(tries=failed, previous=delay)

    def _wants(self, error: BaseException, info: AttemptInfo) -> bool:
        error = leaf(error)
        if isinstance(error, RetryLater | Quit) or (self.until and type(error) is ResultRejected):
            return True
        return self._on.matches(error, info) and not self._gives_up.matches(error, info)

    def _asked(self, error: BaseException, now: float) -> float | None:
        error = leaf(error)
        if isinstance(error, RetryLater):
            asked = getattr(error, "delay", None)  # a subclass may not call ours
            return None if asked is None else seconds(asked, f"delay of {type(error).__name__}")
        return retry_after(error, now, self.max_retry_after)
