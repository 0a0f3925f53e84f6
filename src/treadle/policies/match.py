"""Which errors and results a policy is about: types, predicates and validators."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

import msgspec

from treadle.policies.definition import refuse

__all__ = [
    "AttemptInfo",
    "Condition",
    "Conditions",
    "Given",
    "Matcher",
    "Validator",
    "Validators",
    "conditions",
    "leaf",
    "no_arguments",
    "validators",
]


_ANY = 1000  # positional arguments that a function with *args takes


Given: TypeAlias = tuple[tuple[Any, ...], Mapping[str, Any]]
"""The arguments of a call: by position and by name."""


def no_arguments() -> Given:
    """Those of a call that is not known."""
    return (), {}


class AttemptInfo(msgspec.Struct, frozen=True, kw_only=True):
    """What a predicate or a validator may want to know of the attempt that ended."""

    # From 1.
    attempt: int = 1
    # Seconds since the call or the job was made.
    elapsed: float = 0.0
    # Name of the task or of the worker's method.
    task: str = ""
    # Reads the arguments of the call, which most do not ask for.
    given: Callable[[], Given] = no_arguments

    @property
    def args(self) -> tuple[Any, ...]:
        """The arguments of the call that it has by position.

        Those of a job are stored by name, but for parameters that have none.
        """
        return self.given()[0]

    @property
    def kwargs(self) -> Mapping[str, Any]:
        """The arguments of the call that it has by name."""
        return self.given()[1]


Condition: TypeAlias = (
    type[BaseException]
    | Callable[[BaseException], object]
    | Callable[[BaseException, AttemptInfo], object]
)
"""A type of errors, or a predicate of an error and, where it wants it, of the attempt."""

Conditions: TypeAlias = Condition | Iterable[Condition]

Validator: TypeAlias = Callable[[Any], object] | Callable[[Any, AttemptInfo], object]
"""Tells of a result, and of the attempt where it wants it, whether it will do."""

Validators: TypeAlias = Validator | Iterable[Validator]


class Matcher:
    """Types and predicates, ready to be asked."""

    __slots__ = ("_predicates", "_types")

    def __init__(self, wanted: tuple[Any, ...]) -> None:
        self._types = tuple(item for item in wanted if isinstance(item, type))
        self._predicates = callables(item for item in wanted if not isinstance(item, type))

    def matches(self, error: BaseException, info: AttemptInfo) -> bool:
        """Whether the error is of one of the types, or a predicate says yes."""
        return isinstance(error, self._types) or any(ask(error, info) for ask in self._predicates)


def conditions(value: Conditions, option: str) -> tuple[Condition, ...]:
    """The types and predicates that an option holds, checked."""
    if isinstance(value, str):
        refuse(option, value, f"an exception type but text; write {option}={value:.100}")
    items = _items(value, option)
    for item in items:
        if isinstance(item, type) and not issubclass(item, BaseException):
            refuse(option, item, "a type of exceptions")
        _check_callable(item, option, "an exception type or a predicate such as lambda error: …")
    return items


def validators(value: Validators, option: str) -> tuple[Validator, ...]:
    """The validators that an option holds, checked."""
    items = _items(value, option)
    for item in items:
        _check_callable(item, option, "a function that tells whether a result will do")
    return items


def callables(
    functions: Iterable[Callable[..., object]],
) -> tuple[Callable[[Any, AttemptInfo], object], ...]:
    """The same functions, each of them to be called with a value and an :class:`AttemptInfo`."""
    return tuple(item if _takes_two(item) else _Narrow(item) for item in functions)


def leaf(error: BaseException) -> BaseException:
    """The error that a group of one is about, however deep; any other error itself.

    A task group raises a group also when a single one of its tasks has failed.
    """
    while len(members := _members(error)) == 1:
        error = members[0]
    return error


def _members(error: Any) -> tuple[BaseException, ...]:
    grouped = issubclass(type(error), BaseExceptionGroup)
    members: tuple[BaseException, ...] = error.exceptions if grouped else ()
    return members


class _Narrow:
    """A function of one argument, called with two."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., object]) -> None:
        self._function = function

    def __call__(self, value: Any, info: AttemptInfo) -> object:
        return self._function(value)


def _items(value: Any, option: str) -> tuple[Any, ...]:
    if callable(value):
        return (value,)
    if isinstance(value, str) or not hasattr(value, "__iter__"):
        refuse(option, value, "callable, nor a list of such")
    return tuple(value)


def _check_callable(item: Any, option: str, wanted: str) -> None:
    if not callable(item):
        refuse(option, item, wanted)
    if inspect.iscoroutinefunction(item):
        refuse(option, item, "plain: an async function cannot be asked here; use def")
    least, most = (1, 1) if isinstance(item, type) else _arguments(item)
    if least > 2 or most < 1:
        refuse(option, item, "callable with a value, or with a value and an AttemptInfo")


def _takes_two(function: Callable[..., object]) -> bool:
    """Whether a second argument is wanted: it is required, or whatever comes is taken."""
    least, most = _arguments(function)
    return least == 2 or (least == 0 and most == _ANY)


def _arguments(function: Callable[..., object]) -> tuple[int, int]:
    """The least and the most positional arguments that a call takes."""
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except ValueError:  # some builtins do not tell
        return 1, 1
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    variadic = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    least = sum(p.default is p.empty for p in positional)
    return least, _ANY if variadic else len(positional)
