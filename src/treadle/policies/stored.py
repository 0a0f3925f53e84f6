"""A retry as data, for one call: what a job can carry, and the retry it stands for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from treadle.errors import InvalidOption, UnknownOption
from treadle.faults import type_name
from treadle.policies.backoff import (
    Backoff,
    Decorrelated,
    Exponential,
    Fibonacci,
    Fixed,
    Linear,
)
from treadle.policies.definition import Definition
from treadle.policies.match import AttemptInfo, Condition
from treadle.policies.retry import Retry
from treadle.records import StoredRetry

__all__ = ["restored", "stored"]

_BACKOFFS: Mapping[str, Callable[..., Backoff]] = {
    "fixed": Fixed,
    "linear": Linear,
    "exponential": Exponential,
    "fibonacci": Fibonacci,
    "decorrelated": Decorrelated,
}
_WORDS: Mapping[object, str] = {kind: word for word, kind in _BACKOFFS.items()}
_OF_THE_TASK = "declare it with the task, whose retry holds when the call gives a number"


def stored(retry: Retry) -> StoredRetry:
    """The retry without the number of attempts, as a job carries it.

    Raises:
        InvalidOption: a part of it is code, or a class that has another name where the job runs.
    """
    if retry.until:
        raise _code("until", retry.until, "validators are functions")
    # Exactly these: a subclass may pause in a way of its own.
    word = _WORDS.get(type(retry.backoff))
    if word is None or not isinstance(retry.backoff, Definition):
        raise _code("backoff", retry.backoff, "it is a function or a class of your own")
    return StoredRetry(
        on=_names(retry.on, "on"),
        give_up_on=_names(retry.give_up_on, "give_up_on"),
        backoff=word,
        pauses=retry.backoff.options(),
        max_retry_after=retry.max_retry_after,
    )


def restored(call: StoredRetry, task: Retry) -> Retry:
    """The retry of a job whose call had its own; ``until`` and the number are the task's."""
    return task.replace(
        on=_Named(call.on) if call.on else (),
        give_up_on=_Named(call.give_up_on) if call.give_up_on else (),
        backoff=_backoff(call) or task.backoff,
        max_retry_after=call.max_retry_after,
    )


class _Named:
    """Asks whether an error is of a class with one of the names, or of a subclass."""

    __slots__ = ("_names",)

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def __call__(self, error: BaseException, info: AttemptInfo) -> bool:
        return any(type_name(kind) in self._names for kind in type(error).__mro__)


def _backoff(call: StoredRetry) -> Backoff | None:
    """``None`` for one of a later version: the job must end in one way or another here too."""
    kind = _BACKOFFS.get(call.backoff)
    try:
        return None if kind is None else kind(**call.pauses)
    except (InvalidOption, UnknownOption):
        return None


def _names(conditions: tuple[Condition, ...], option: str) -> tuple[str, ...]:
    return tuple(_name(condition, option) for condition in conditions)


def _name(condition: object, option: str) -> str:
    if not isinstance(condition, type):
        raise _code(option, condition, "a predicate is a function")
    if condition.__module__ == "__main__":
        raise InvalidOption(
            f"retry for one call: {option}={condition.__qualname__} is in __main__, which has "
            "another name in every foreman; put the class in a module of its own",
            option="retry",
            value=condition,
        )
    return type_name(condition)


def _code(option: str, value: object, why: str) -> InvalidOption:
    return InvalidOption(
        f"retry for one call: {option}={value!r} cannot be stored in a job: {why}; {_OF_THE_TASK}",
        option="retry",
        value=value,
    )
