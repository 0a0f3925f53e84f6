"""What a task asks for by a default: ``db: DB = Depends(get_db)``.

A dependency is a function: plain, asynchronous, a generator or an asynchronous generator, whose
part after the ``yield`` runs when the scope ends. It may ask for others in the same way. The
value is made once per scope and closed in reverse order.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from enum import IntEnum
from functools import lru_cache
from inspect import (
    Parameter,
    isasyncgenfunction,
    isgeneratorfunction,
    signature,
)
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from treadle.errors import InvalidOption, UsageError
from treadle.guards import is_awaited, refuse_unknown

__all__ = ["Dependency", "Depends", "Injected", "Scope", "injected_of", "plain_name"]

T = TypeVar("T")
ScopeName = Literal["job", "foreman", "app"]


class Scope(IntEnum):
    """How long the value of a dependency lives; larger is longer."""

    JOB = 0  # one attempt
    FOREMAN = 1  # one foreman, which is one per process place
    APP = 2  # the app, per event loop


class Injected:
    """Base of the defaults that stand for a value the foreman gives.

    Whatever is done with one itself says that it is no such value: a plain call of a task gives
    none.
    """

    __slots__ = ()

    if not TYPE_CHECKING:  # for a type checker every name would exist

        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)  # asked for by what copies and inspects
            raise AttributeError(_unfilled(self, f".{name}"))

        def __getitem__(self, key: object) -> Any:
            raise UsageError(_unfilled(self, f"[{key!r}]"))

        def __setitem__(self, key: object, value: object) -> None:
            raise UsageError(_unfilled(self, f"[{key!r}]"))

        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            raise UsageError(_unfilled(self, "(…)"))

        def __iter__(self) -> Any:
            raise UsageError(_unfilled(self, " in a loop"))


def _unfilled(mark: Injected, use: str) -> str:
    return (
        f"{mark!r}{use} was used, but {mark!r} only stands for a value that a job is given: a "
        "plain call of a task has to be given that value by hand (ctx=…, db=…), or enqueue the task"
    )


class Dependency(Injected):
    """A function whose value is given to a parameter."""

    __slots__ = ("cache", "fn", "scope")

    def __init__(self, fn: Callable[..., Any], scope: Scope, *, cache: bool) -> None:
        self.fn = fn
        self.scope = scope
        self.cache = cache

    def __repr__(self) -> str:
        return f"Depends({plain_name(self.fn)})"


@overload
def Depends(
    fn: Callable[..., AsyncIterator[T]], /, *, scope: ScopeName = "job", cache: bool = True
) -> T: ...
@overload
def Depends(
    fn: Callable[..., Iterator[T]], /, *, scope: ScopeName = "job", cache: bool = True
) -> T: ...
@overload
def Depends(
    fn: Callable[..., Awaitable[T]], /, *, scope: ScopeName = "job", cache: bool = True
) -> T: ...
@overload
def Depends(fn: Callable[..., T], /, *, scope: ScopeName = "job", cache: bool = True) -> T: ...
def Depends(  # noqa: N802
    fn: Callable[..., Any], /, *, scope: ScopeName = "job", cache: bool = True, **unknown: Any
) -> Any:
    """A default that is replaced by the value of ``fn`` when the task runs.

    Args:
        fn: gives the value, or yields it once and cleans up after.
        scope: ``"job"`` makes it per attempt, ``"foreman"`` once per foreman, ``"app"`` once
            per app and event loop.
        cache: False makes a value of its own for each place that asks (job scope only).

    Raises:
        InvalidOption: not a function, no such scope, or parameters that nothing fills.
        UnknownOption: another option.
    """
    refuse_unknown("Depends", unknown, ("scope", "cache"), {"use_cache": "cache"})
    if isinstance(fn, Injected) or not callable(fn):  # type: ignore[redundant-expr]
        raise InvalidOption(
            f"Depends takes a function, not {fn!r}; write Depends(get_db), without a call",
            option="fn",
            value=fn,
        )
    try:
        level = Scope[scope.upper()]
    except (KeyError, AttributeError):
        raise InvalidOption(
            f"scope of Depends({plain_name(fn)}) is {scope!r}; it is 'job', 'foreman' or 'app'",
            option="scope",
            value=scope,
        ) from None
    if level is not Scope.JOB and not cache:
        raise InvalidOption(
            f"Depends({plain_name(fn)}, scope={scope!r}) is one value by definition; "
            "cache=False fits the scope 'job' only",
            option="cache",
            value=cache,
        )
    check_parameters(fn, level)
    return Dependency(fn, level, cache=cache)


@lru_cache(maxsize=1024)
def check_parameters(fn: Callable[..., Any], scope: Scope) -> tuple[tuple[str, Injected], ...]:
    """The injected parameters of a dependency.

    Raises:
        InvalidOption: a parameter that nothing fills, or something that lives shorter.
    """
    for parameter in _parameters(fn):
        filled = parameter.default is not Parameter.empty or parameter.kind in {
            Parameter.VAR_POSITIONAL,
            Parameter.VAR_KEYWORD,
        }
        if not filled:
            raise InvalidOption(
                f"nothing fills parameter {parameter.name!r} of dependency {plain_name(fn)}; "
                "give it a default: CONTEXT, Depends(…) or a value",
                option=parameter.name,
                value=fn,
            )
    injected = injected_of(fn)
    for name, mark in injected:
        lives = mark.scope if isinstance(mark, Dependency) else Scope.JOB
        if lives < scope:
            raise InvalidOption(
                f"dependency {plain_name(fn)} lives as long as the {scope.name.lower()}, but "
                f"parameter {name!r} ({mark!r}) only as long as the {lives.name.lower()}; "
                "widen the scope of the one or narrow that of the other",
                option=name,
                value=fn,
            )
    return injected


def injected_of(fn: Callable[..., Any]) -> tuple[tuple[str, Injected], ...]:
    """The parameters of a function whose default stands for an injected value.

    Raises:
        InvalidOption: a marker of another framework, or one that is not a default.
    """
    found: list[tuple[str, Injected]] = []
    for parameter in _parameters(fn):
        default = parameter.default
        if isinstance(default, Injected):
            _check_kind(fn, parameter)
            found.append((parameter.name, default))
        elif _is_foreign(default):
            raise InvalidOption(
                f"parameter {parameter.name!r} of {plain_name(fn)} uses FastAPI's Depends, which "
                "needs a web request; write 'from treadle import Depends'",
                option=parameter.name,
                value=default,
            )
        elif default is Depends:
            raise InvalidOption(
                f"parameter {parameter.name!r} of {plain_name(fn)} has Depends itself as its "
                f"default; say of what: '{parameter.name}: … = Depends(get_{parameter.name})'",
                option=parameter.name,
                value=default,
            )
        elif default is Parameter.empty or default is None:
            _check_annotation(fn, parameter)
    return tuple(found)


def _parameters(fn: Callable[..., Any]) -> tuple[Parameter, ...]:
    try:
        return tuple(signature(fn).parameters.values())
    except (TypeError, ValueError):
        return ()  # a builtin says nothing of itself


def _check_kind(fn: Callable[..., Any], parameter: Parameter) -> None:
    if parameter.kind is Parameter.POSITIONAL_ONLY:
        raise InvalidOption(
            f"parameter {parameter.name!r} of {plain_name(fn)} is positional-only and cannot be "
            "injected; move it behind the '/'",
            option=parameter.name,
            value=fn,
        )


def _check_annotation(fn: Callable[..., Any], parameter: Parameter) -> None:
    """Refuse what looks injected but has no default for it: every job would miss a value."""
    annotation = parameter.annotation
    if isinstance(annotation, str):
        known: Mapping[str, Any] = getattr(fn, "__globals__", {})
        text = annotation
        annotation = known.get(text)
        if "Depends(" in text:
            annotation = Dependency
    way = None
    if isinstance(annotation, type) and annotation.__module__ == "treadle.context":
        way = f"{parameter.name}: Context = CONTEXT"
    elif annotation is Dependency or any(
        isinstance(one, Injected) or _is_foreign(one)
        for one in getattr(annotation, "__metadata__", ())
    ):
        way = f"{parameter.name}: … = Depends(…)"
    if way is not None:
        raise InvalidOption(
            f"parameter {parameter.name!r} of {plain_name(fn)} needs a default to be injected; "
            f"write '{way}'",
            option=parameter.name,
            value=fn,
        )


def _is_foreign(default: object) -> bool:
    kind = type(default)
    return kind.__name__ == "Depends" and kind.__module__.partition(".")[0] == "fastapi"


def plain_name(fn: object) -> str:
    """How a function is called in a message."""
    return getattr(fn, "__qualname__", None) or repr(fn)


def is_plain(fn: Callable[..., Any]) -> bool:
    """Whether calling the function runs its code here and now, and not in an event loop."""
    return not is_awaited(fn) and not isasyncgenfunction(fn)


def is_generator(fn: Callable[..., Any]) -> bool:
    """Whether the function yields its value once and cleans up after."""
    return isgeneratorfunction(fn) or isasyncgenfunction(fn)
