"""Lists, tuples, sets and mappings."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from typing import Any

from treadle.codec.exts import NATIVE
from treadle.codec.misfit import Misfit, Walk, class_of
from treadle.codec.natural import key_step
from treadle.codec.node import Node
from treadle.codec.outline import apart

__all__ = ["Items", "Mapped", "Row"]

_AS_ARRAY = (list, tuple, set, frozenset)  # msgspec writes these as an array itself
_UNORDERED = (set, frozenset)

Step = Callable[[Any, Walk], Any]


def _each(step: Step, values: Iterable[Any], walk: Walk, *, unordered: bool = False) -> list[Any]:
    done: list[Any] = []
    for index, value in enumerate(values):
        try:
            done.append(step(value, walk))
        except Misfit as misfit:
            raise misfit.under(key_step(value) if unordered else f"[{index}]") from None
    return done


def _check_hashes(keys: Collection[Any]) -> None:
    if not NATIVE.issuperset(map(type, keys)):
        apart(keys)


class Items(Node):
    """A container of any number of values of one type."""

    def __init__(self, kind: type, item: Node) -> None:
        self._kind = kind
        self._item = item
        self.label = kind.__name__
        self.classes = frozenset({kind})
        self.plain = kind is list
        self._unordered = kind in _UNORDERED

    def lower(self, value: Any, walk: Walk) -> Any:
        if not isinstance(value, self._kind):
            raise self.misfit(value)
        members: Any = value
        walk.enter(len(members))
        wire = members
        if (
            walk.careful
            or type(value) not in _AS_ARRAY
            or not self._item.sends.issuperset(map(type, members))
        ):
            if self._unordered:
                _check_hashes(members)
            wire = _each(self._item.lower, members, walk, unordered=self._unordered)
        walk.leave()
        return wire

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) is not list and type(wire) is not self._kind:
            raise self.misfit(wire)
        return self._made(wire, walk, self._item.lift, self._item.takes)

    def parse(self, raw: Any, walk: Walk) -> Any:
        if type(raw) is not list:
            raise self.misfit(raw)
        return self._made(raw, walk, self._item.parse, frozenset())

    def _made(self, wire: Any, walk: Walk, step: Step, takes: frozenset[type]) -> Any:
        walk.enter(len(wire))
        items = wire if takes.issuperset(map(type, wire)) else _each(step, wire, walk)
        walk.leave()
        if type(items) is self._kind:
            return items
        try:
            if self._unordered:
                _check_hashes(items)
            return self._kind(items)
        except TypeError:
            raise Misfit(f"a member of this {self.label} cannot be hashed") from None


class Row(Node):
    """A tuple with a type for each place."""

    label = "tuple"
    classes = frozenset({tuple})

    def __init__(self, places: tuple[Node, ...]) -> None:
        self._places = places

    def _walked(self, values: Any, walk: Walk, verb: str) -> tuple[Any, ...]:
        if len(values) != len(self._places):
            raise Misfit(f"expected a tuple of {len(self._places)}, got one of {len(values)}")
        walk.enter(len(values))
        done: list[Any] = []
        for place, value in zip(self._places, values, strict=True):
            try:
                done.append(getattr(place, verb)(value, walk))
            except Misfit as misfit:
                raise misfit.under(f"[{len(done)}]") from None
        walk.leave()
        return tuple(done)

    def lower(self, value: Any, walk: Walk) -> Any:
        if not isinstance(value, tuple):
            raise self.misfit(value)
        return self._walked(value, walk, "lower")

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) is not list and type(wire) is not tuple:
            raise self.misfit(wire)
        return self._walked(wire, walk, "lift")

    def parse(self, raw: Any, walk: Walk) -> Any:
        if type(raw) is not list:
            raise self.misfit(raw)
        return self._walked(raw, walk, "parse")


def _pairs_of(wire: Any) -> list[tuple[Any, Any]] | None:
    """The members of a mapping, however it was written."""
    kind = class_of(wire)
    if kind is dict:
        return list(wire.items())
    if kind is list and all(type(pair) in (list, tuple) and len(pair) == 2 for pair in wire):
        pairs: list[tuple[Any, Any]] = wire
        return pairs
    return None


class Mapped(Node):
    """A mapping. Keys that msgpack cannot have make it an array of pairs on the wire."""

    def __init__(self, kind: type, key: Node, item: Node) -> None:
        self._kind = kind
        self._key = key
        self._item = item
        self.label = kind.__name__
        self.classes = frozenset({kind})
        self.plain = kind is dict and bool(key.sends)

    def lower(self, value: Any, walk: Walk) -> Any:
        if not isinstance(value, self._kind):
            raise self.misfit(value)
        members: Any = value
        walk.enter(len(members))
        if (
            not walk.careful
            and type(value) is dict
            and self._key.sends.issuperset(map(type, members))
            and self._item.sends.issuperset(map(type, members.values()))
        ):
            walk.leave()
            return members
        _check_hashes(members)
        pairs = self._pairs(members.items(), walk, self._key.lower, self._item.lower)
        walk.leave()
        return dict(pairs) if NATIVE.issuperset(class_of(key) for key, _ in pairs) else pairs

    def lift(self, wire: Any, walk: Walk) -> Any:
        pairs = _pairs_of(wire)
        if pairs is None:
            raise self.misfit(wire)
        walk.enter(len(pairs))
        if not self._key.takes.issuperset(class_of(key) for key, _ in pairs) or not (
            self._item.takes.issuperset(class_of(item) for _, item in pairs)
        ):
            pairs = self._pairs(pairs, walk, self._key.lift, self._item.lift)
        walk.leave()
        try:
            _check_hashes([key for key, _ in pairs])
            return self._kind(dict(pairs))
        except TypeError:
            raise Misfit(f"a key of this {self.label} cannot be hashed") from None

    def parse(self, raw: Any, walk: Walk) -> Any:
        kind = class_of(raw)
        if kind is not dict:
            raise self.misfit(raw)
        walk.enter(len(raw))
        pairs = self._pairs(raw.items(), walk, self._key.parse, self._item.parse)
        walk.leave()
        return self._kind(dict(pairs))

    def _pairs(
        self, items: Iterable[tuple[Any, Any]], walk: Walk, on_key: Step, on_item: Step
    ) -> list[tuple[Any, Any]]:
        done: list[tuple[Any, Any]] = []
        for key, item in items:
            try:
                done.append((on_key(key, walk), on_item(item, walk)))
            except Misfit as misfit:
                raise misfit.under(key_step(key)) from None
        return done
