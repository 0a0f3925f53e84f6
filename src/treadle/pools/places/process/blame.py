"""Which part of a value is to blame when it cannot travel, in words for the one who gave it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from inspect import getclosurevars
from types import FunctionType, MethodType
from typing import Any

from treadle.pools.resident import Plan

__all__ = ["culprit"]

_OWN_WAYS = ("__reduce__", "__reduce_ex__", "__getstate__")


def culprit(value: Any, path: str, fails: Callable[[Any], bool], depth: int = 6) -> tuple[str, Any]:
    """The smallest part of a value that fails, and where it is.

    Args:
        value: it fails as a whole.
        path: what it is.
        fails: whether a part does.
        depth: of parts within parts that are looked at.
    """
    for where, part in _parts(value, path) if depth else ():
        if fails(part):
            return culprit(part, where, fails, depth - 1)
    return path, value


def _parts(value: Any, path: str) -> Iterable[tuple[str, Any]]:
    kind = _kind(value)
    if kind in (tuple, list):
        return ((f"{path}[{number}]", part) for number, part in enumerate(value))
    if kind is dict:
        return ((f"{path}[{key!r}]", part) for key, part in value.items())
    if kind is Plan:
        return _of_plan(value)
    if kind is FunctionType:
        return _of_function(value, path)
    if kind is MethodType:
        return ((f"the object of {path}", value.__self__),)
    if issubclass(kind, type):
        return _of_class(value, path)
    if kind is partial:
        return ((f"what {path} was given", [value.func, *value.args, value.keywords]),)
    return _attributes(value, path)


def _of_class(cls: Any, path: str) -> Iterator[tuple[str, Any]]:
    for name, part in cls.__dict__.items():
        yield f"{name!r} of {path}", part


def _of_plan(plan: Plan) -> Iterator[tuple[str, Any]]:
    """What the constructor of a worker is given, then its class, or the worker that there is."""
    for number, argument in enumerate(plan.args, 1):
        yield f"argument {number} of {plan.name}", argument
    for name, argument in plan.kwargs.items():
        yield f"{name}= of {plan.name}", argument
    yield f"the class {plan.name}", plan.cls
    yield f"the worker {plan.name}", plan.ready_made
    yield f"what {plan.name} is given", plan.attributes


def _of_function(function: Any, path: str) -> Iterator[tuple[str, Any]]:
    used = getclosurevars(function)
    for names in (used.nonlocals, used.globals):
        for name, part in names.items():
            # It may name itself.
            if part is not function:
                yield f"{name!r}, which {path} uses,", part


def _attributes(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind = _kind(value)
    # Who sees to it themselves have said why, and the insides of others say nothing to a user.
    if any(getattr(kind, name) is not getattr(object, name, None) for name in _OWN_WAYS):
        return
    if kind.__module__.partition(".")[0] in sys.stdlib_module_names - {"__main__"}:
        return
    for name, part in dict(getattr(value, "__dict__", {})).items():
        yield f"{name!r} of {path}", part


def _kind(value: object) -> type[object]:
    return type(value)
