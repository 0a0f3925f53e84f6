"""Checks of values from callers, in a form that type checkers understand."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from inspect import iscoroutinefunction
from typing import Any, TypeGuard

__all__ = ["is_awaited", "is_error_class", "is_iterable", "is_mapping", "is_tuple"]


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
