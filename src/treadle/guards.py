"""Checks of values from callers, in a form that type checkers understand."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from inspect import isawaitable, iscoroutinefunction
from math import isfinite
from numbers import Integral, Real
from types import CoroutineType
from typing import Any, TypeGuard

from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import did_you_mean

__all__ = [
    "finite",
    "is_awaitable",
    "is_awaited",
    "is_error_class",
    "is_iterable",
    "is_mapping",
    "is_text",
    "is_tuple",
    "refuse_unknown",
    "unknown_option",
]

# Whole numbers above it do not fit everywhere.
_EXACT = 1 << 53
_NEVER_AWAITED = frozenset({type(None), bool, int, float, str, bytes, list, tuple, dict, set})


def is_awaitable(value: object) -> TypeGuard[Awaitable[Any]]:
    """Whether it can be awaited; for most results with one question instead of four."""
    kind = type(value)
    return kind is CoroutineType or (kind not in _NEVER_AWAITED and isawaitable(value))


def is_awaited(fn: object) -> bool:
    """Whether what a call of it gives has to be awaited: ``async def``, or an object with one."""
    call = getattr(type(fn), "__call__", None)  # noqa: B004 - whether it is async is asked
    return iscoroutinefunction(fn) or iscoroutinefunction(call)


def is_mapping(value: object) -> TypeGuard[Mapping[Any, Any]]:
    """Whether it is a dict or the like."""
    return isinstance(value, Mapping)


def is_tuple(value: object) -> TypeGuard[tuple[Any, ...]]:
    """Whether it is a tuple."""
    return isinstance(value, tuple)


def is_iterable(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it has items, and is not a text."""
    return isinstance(value, Iterable) and not isinstance(value, str | bytes)


def is_error_class(value: object) -> TypeGuard[type[BaseException]]:
    """Whether it can be raised."""
    return isinstance(value, type) and issubclass(value, BaseException)


def is_text(value: object, most: int) -> TypeGuard[str]:
    """Whether it is text of 1 to so many characters, all of which can be seen.

    Line ends, control characters, marks that turn the direction of writing and halves of
    characters are not: they would break lines of logs, and some stores cannot hold them.
    """
    return isinstance(value, str) and 0 < len(value) <= most and value.isprintable()


def finite(value: object, name: str) -> float:
    """A number of a progress, of this or another library, as a plain one.

    Args:
        value: the number.
        name: of the parameter.

    Raises:
        InvalidOption: not a finite number.
    """
    # Decimal does not count itself among the real numbers.
    if isinstance(value, Real | Decimal):
        with suppress(OverflowError):
            number = float(value)
            if isfinite(number):
                whole = isinstance(value, Integral) and abs(number) < _EXACT
                return int(number) if whole else number
    raise InvalidOption(
        f"progress: {name}={value!r} is not a finite number", option=name, value=value
    )


def unknown_option(
    what: str,
    name: object,
    known: Iterable[str],
    synonyms: Mapping[str, str] | None = None,
    explained: Mapping[str, str] | None = None,
) -> UnknownOption:
    """The error for an option that does not exist.

    Args:
        what: has no such option.
        name: of the option.
        known: options that exist.
        synonyms: words that people bring from elsewhere, and what they are here.
        explained: such words for what is said otherwise here, and how.
    """
    names = tuple(known)
    how = (explained or {}).get(str(name))
    hint = did_you_mean(name, names, synonyms) if how is None else f": {how}"
    return UnknownOption(
        f"{what} has no option {name!r}{hint}. Known options: {', '.join(names)}",
        option=name,
        known=names,
    )


def refuse_unknown(
    what: str,
    given: Iterable[object],
    known: Iterable[str],
    synonyms: Mapping[str, str] | None = None,
    explained: Mapping[str, str] | None = None,
) -> None:
    """Return when all options exist.

    Raises:
        UnknownOption: the first that does not, with the nearest that does.
    """
    names = tuple(known)
    for name in given:
        if name not in names:
            raise unknown_option(what, name, names, synonyms, explained)
