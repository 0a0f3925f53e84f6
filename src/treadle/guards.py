"""Checks of values from callers, in a form that type checkers understand."""

from __future__ import annotations

from collections.abc import Awaitable, Iterable, Mapping
from contextlib import suppress
from decimal import Decimal
from inspect import Parameter, Signature, isawaitable, iscoroutinefunction, signature
from math import isfinite
from numbers import Integral, Real
from types import CoroutineType
from typing import TYPE_CHECKING, Any, TypeGuard

import msgspec

from treadle.errors import InvalidOption, UnknownOption
from treadle.hints import did_you_mean, shown

__all__ = [
    "LONGEST_NAME",
    "Explained",
    "ExplainedStruct",
    "finite",
    "is_awaitable",
    "is_awaited",
    "is_error_class",
    "is_iterable",
    "is_mapping",
    "is_name",
    "is_text",
    "is_tuple",
    "refuse_unknown",
    "unknown_option",
]

# Whole numbers above it do not fit everywhere.
_EXACT = 1 << 53
LONGEST_NAME = 128
"""Characters of an id or a tag."""
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


def is_name(value: object) -> TypeGuard[str]:
    """Whether it can be an id or a tag."""
    return is_text(value, LONGEST_NAME)


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


class _Explaining(type):
    """Calls that explain what they cannot take. One that fits costs nothing."""

    if not TYPE_CHECKING:  # a type checker reads the parameters of the class itself

        def __call__(cls, *args: Any, **options: Any) -> Any:
            try:
                return super().__call__(*args, **options)
            except TypeError:
                _refuse_call(cls, args, options)
                raise


class Explained(_Explaining):
    """A class whose call explains what it cannot take, before any of its code runs.

    ``synonyms`` of the class, if it has some, are words for the same in other libraries, and the
    options that they are here.
    """

    if not TYPE_CHECKING:

        @property
        def __signature__(cls) -> Signature:
            made = cls.__new__ if cls.__init__ is object.__init__ else cls.__init__
            known = signature(made)
            return known.replace(parameters=tuple(known.parameters.values())[1:])


class ExplainedStruct(_Explaining, msgspec.StructMeta):
    """The same for records. What is read from a store does not come this way."""


def _refuse_call(cls: type[Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> None:
    """Return when it is not the call that is wrong.

    Raises:
        UnknownOption: an option that does not exist, with the nearest that does.
        InvalidOption: more by position than there is, an option twice, or one too few.
    """
    parameters = signature(cls).parameters
    several = any(one.kind is Parameter.VAR_POSITIONAL for one in parameters.values())
    by_name = [one.name for one in parameters.values() if one.kind in _NAMED]
    refuse_unknown(cls.__name__, options, by_name, getattr(cls, "synonyms", None))
    placed = [one.name for one in parameters.values() if one.kind in _PLACED]
    kind = cls.__name__
    if len(args) > len(placed) and not several:
        free = [name for name in by_name if name not in {*placed, *options}] or by_name
        extra, known = shown(args[len(placed)]), ", ".join(by_name)
        raise InvalidOption(
            f"{kind} takes {' and '.join(placed) or 'nothing'} by position, and {extra} is one "
            f"more; name it, such as {kind}({free[0]}={extra}). Known options: {known}",
            option=free[0],
            value=args[len(placed)],
        )
    for name, value in zip(placed, args, strict=False):
        if name in options:
            raise InvalidOption(
                f"{kind} has {name} twice: {shown(value)} by position and "
                f"{shown(options[name])} by name; leave one of them out",
                option=name,
                value=options[name],
            )
    given = {*placed[: len(args)], *options}
    for name in by_name:
        if name not in given and parameters[name].default is Parameter.empty:
            raise InvalidOption(f"{kind} needs {name}: {kind}({name}=…)", option=name, value=None)


_NAMED = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
_PLACED = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
