"""Why a value cannot travel, and where it sits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = [
    "MAX_DEPTH",
    "MAX_INT_BITS",
    "MAX_ITEMS",
    "Misfit",
    "Walk",
    "class_of",
    "described",
    "named",
]

MAX_DEPTH = 64
"""Containers inside one another."""
MAX_ITEMS = 100_000
"""Members of all containers of one payload together."""
MAX_INT_BITS = 14_280
"""About 4,300 decimal digits, above which Python itself refuses to print a number."""

class_of: Callable[[Any], type[Any]] = type
"""``type``, with a result that checkers know without narrowing the value."""

_SHOWN = 60
_PRINTED = (str, int, float, bool, bytes, type(None))


class Misfit(Exception):
    """A value that does not fit, on its way up to whoever knows the name of the task.

    Each level that it passes puts its own step in front of ``path``.
    """

    def __init__(self, reason: str, *, foreign: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        # No encoding exists, as opposed to a value that is wrong for its annotation.
        self.foreign = foreign
        self.path = ""

    def under(self, step: str) -> Misfit:
        """Itself, seen from one level further out; a step is ``.name`` or ``[3]``."""
        self.path = step + self.path
        return self

    @property
    def where(self) -> str:
        """The path as it is shown."""
        path = self.path.removeprefix(".")
        return path if len(path) <= 2 * _SHOWN else f"{path[: 2 * _SHOWN]}…"


class Walk:
    """The bounds of one pass over a value: how deep it is, how many items it had."""

    __slots__ = ("careful", "depth", "items")

    def __init__(self, *, careful: bool = False) -> None:
        self.depth = 0
        self.items = 0
        # Look at every number and text, because the encoder refused one of them.
        self.careful = careful

    def enter(self, size: int) -> None:
        """Go into a container of ``size`` members."""
        self.items += size
        if self.items > MAX_ITEMS:
            raise Misfit(
                f"more than {MAX_ITEMS:,} items in one payload; "
                "store the data elsewhere and pass a path or an id"
            )
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise Misfit(f"nested more than {MAX_DEPTH} levels deep, or it contains itself")

    def leave(self) -> None:
        """Come out of it."""
        self.depth -= 1


def described(value: Any) -> str:
    """The class of a value, and the value itself where it is short and prints safely."""
    kind = class_of(value)
    if kind is type(None):
        return "None"
    if kind is int and value.bit_length() > MAX_INT_BITS:
        return f"int of {value.bit_length():,} bits"
    if kind in (str, bytes) and len(value) > _SHOWN:
        return f"{kind.__name__} {value[:_SHOWN]!r}… of length {len(value):,}"
    if kind in _PRINTED:
        text = repr(value)
        return f"{kind.__name__} {text if len(text) <= 2 * _SHOWN else text[:_SHOWN] + '…'}"
    return named(kind)


def named(kind: type) -> str:
    """The name of a class as its user would write it, with the module unless built in."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
