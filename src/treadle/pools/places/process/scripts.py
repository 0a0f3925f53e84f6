"""What a script makes with the standard library and nobody can import, on its way.

A function with a cache, a property that is computed once and a function that goes by the type of
its argument are known to pickle by their names alone, or not at all. A class with slots is made
again without them elsewhere, and its objects cannot come back.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any

__all__ = ["remade", "slotted"]

# Metaclass, name, bases, first attributes, and two words of the pickler's own.
_GIVEN = 6


def remade(obj: Any) -> tuple[Any, ...] | None:
    """How such an object is made again; ``None`` where its kind needs no help."""
    make = _MAKERS.get(_kind(obj))
    return None if make is None else make(obj)


def slotted(cls: Any, reduced: Sequence[Any]) -> Sequence[Any]:
    """How a class is made elsewhere, with the slots that it has here.

    Args:
        cls: the class.
        reduced: how it would be made: its metaclass, name, bases and first attributes, …
    """
    slots = cls.__dict__.get("__slots__")
    given: Any = reduced[1]
    # Enums, for one, are made in another way.
    if not slots or len(given) != _GIVEN or not isinstance(given[3], dict):
        return reduced
    first: dict[str, Any] = {**given[3], "__slots__": slots}
    return (reduced[0], (*given[:3], first, *given[4:]), *reduced[2:])


def _of_cache(obj: Any) -> tuple[Any, ...] | None:
    if _is_named(obj):
        return None
    given = obj.cache_parameters()
    return _cached, (obj.__wrapped__, given["maxsize"], given["typed"])


def _cached(function: Callable[..., Any], size: int | None, typed: bool) -> Any:
    return functools.lru_cache(size, typed)(function)


def _of_property(obj: functools.cached_property[Any]) -> tuple[Any, ...]:
    return _computed_once, (obj.func, obj.attrname)


def _computed_once(function: Callable[[Any], Any], name: str | None) -> Any:
    made = functools.cached_property(function)
    if name is not None:
        made.__set_name__(object, name)
    return made


def _of_function(obj: Any) -> tuple[Any, ...] | None:
    if "registry" not in obj.__dict__ or "dispatch" not in obj.__dict__ or _is_named(obj):
        return None
    return _dispatching, (obj.registry[object], tuple(obj.registry.items()))


def _dispatching(function: Callable[..., Any], known: Sequence[tuple[Any, Any]]) -> Any:
    made = functools.singledispatch(function)
    for kind, one in known:
        made.register(kind, one)
    return made


def _of_method(obj: Any) -> tuple[Any, ...]:
    return _dispatching_method, (obj.func, obj.dispatcher)


def _dispatching_method(function: Callable[..., Any], dispatcher: Any) -> Any:
    made: Any = functools.singledispatchmethod(function)
    made.dispatcher = dispatcher
    return made


def _is_named(obj: Any) -> bool:
    """Whether it travels as its name, because others can import it."""
    module = sys.modules.get(obj.__module__)
    if obj.__module__ == "__main__" or getattr(module, "__spec__", None) is None:
        return False
    found: Any = module
    for name in obj.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is obj


def _kind(value: object) -> type[object]:
    return type(value)


_MAKERS: dict[type[object], Callable[[Any], tuple[Any, ...] | None]] = {
    type(functools.lru_cache(abs)): _of_cache,
    functools.cached_property: _of_property,
    functools.singledispatchmethod: _of_method,
    FunctionType: _of_function,
}
