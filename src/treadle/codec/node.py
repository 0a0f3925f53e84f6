"""What the codec knows of one annotation: how its values go to the wire and come back."""

from __future__ import annotations

from typing import Any

from treadle.codec.exts import NATIVE, SCALARS
from treadle.codec.misfit import Misfit, Walk, described
from treadle.codec.natural import check, lower

__all__ = ["ANYTHING", "Anything", "Node", "Opaque"]

_NONE: frozenset[type] = frozenset()


class Node:
    """One annotation.

    ``sends`` and ``takes`` are the fast way: a value whose exact class is in them needs no
    look at it by ``lower`` or ``lift``.
    """

    # What it is called in messages and as a member of a union.
    label: str = ""
    sends: frozenset[type] = _NONE
    takes: frozenset[type] = _NONE
    # Exact classes of the values it is for; decides the member of a union.
    classes: frozenset[type] = _NONE
    # The wire form alone tells it from the other types.
    plain: bool = False

    def lower(self, value: Any, walk: Walk) -> Any:
        """The wire form of a value, or ``Misfit``."""
        raise NotImplementedError

    def lift(self, wire: Any, walk: Walk) -> Any:
        """The value of a wire form, or ``Misfit``."""
        raise NotImplementedError

    def parse(self, raw: Any, walk: Walk) -> Any:
        """The value that a JSON value stands for, or ``Misfit``."""
        raise NotImplementedError

    def misfit(self, value: Any) -> Misfit:
        """The complaint about a value of another class."""
        return Misfit(f"expected {self.label}, got {described(value)}")


class Anything(Node):
    """No annotation, ``Any`` or ``object``: natural types."""

    label = "any"
    sends: frozenset[type] = NATIVE
    takes: frozenset[type] = SCALARS
    plain = True

    def lower(self, value: Any, walk: Walk) -> Any:
        return lower(value, walk)

    def lift(self, wire: Any, walk: Walk) -> Any:
        return check(wire, walk)

    def parse(self, raw: Any, walk: Walk) -> Any:
        return raw


class Opaque(Node):
    """An annotation that nothing can be encoded for."""

    def __init__(self, label: str, reason: str) -> None:
        self.label = label
        self._reason = reason

    def lower(self, value: Any, walk: Walk) -> Any:
        raise Misfit(self._reason, foreign=True)

    def lift(self, wire: Any, walk: Walk) -> Any:
        raise Misfit(self._reason)

    def parse(self, raw: Any, walk: Walk) -> Any:
        raise Misfit(self._reason)


ANYTHING = Anything()
