"""Types that hold no others: those of msgpack, times, numbers, paths, enums, literals."""

from __future__ import annotations

import enum
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

import msgspec

from treadle.codec.exts import NATIVE, TO_EXT
from treadle.codec.misfit import Misfit, Walk, described
from treadle.codec.natural import native
from treadle.codec.node import Node

__all__ = ["Bytearray", "Choice", "Constrained", "Enumeration", "Extended", "Native"]


def _convert(node: Node, raw: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(raw, kind, strict=False)
    except (msgspec.ValidationError, ValueError, OverflowError):
        raise node.misfit(raw) from None


_ALSO: dict[type, frozenset[type]] = {float: frozenset({int}), int: frozenset({bool})}


class Native(Node):
    """A type that msgpack has itself. An ``int`` will do for a ``float``, as in Python."""

    plain = True

    def __init__(self, kind: type) -> None:
        self._kind = kind
        self.label = "None" if kind is type(None) else kind.__name__
        also = _ALSO.get(kind, frozenset[type]())
        self.classes = frozenset({kind})
        self.sends = self.takes = self.classes | also

    def lower(self, value: Any, walk: Walk) -> Any:
        if type(value) in self.sends:
            return native(value) if walk.careful else value
        if isinstance(value, self._kind):  # a subclass arrives as what the annotation says
            base: Callable[[Any], Any] = self._kind.__str__ if self._kind is str else self._kind
            return native(base(value)) if walk.careful else base(value)
        raise self.misfit(value)

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) in self.takes:
            return wire
        raise self.misfit(wire)

    def parse(self, raw: Any, walk: Walk) -> Any:
        return raw if type(raw) in self.takes else _convert(self, raw, self._kind)


class Extended(Node):
    """A type with a msgpack extension of its own: times, UUID, Decimal, paths."""

    plain = True

    def __init__(self, kind: type[Any]) -> None:
        self._kind: type[Any] = kind
        self.label = kind.__name__
        self.classes = frozenset(known for known in TO_EXT if issubclass(known, kind)) | {kind}
        self.takes = frozenset({kind})

    def lower(self, value: Any, walk: Walk) -> Any:
        if isinstance(value, self._kind):
            for base in type(value).__mro__:
                if base in TO_EXT:
                    return TO_EXT[base](value)
        raise self.misfit(value)

    def lift(self, wire: Any, walk: Walk) -> Any:
        if isinstance(wire, self._kind):
            return wire
        if isinstance(wire, PurePath) and issubclass(self._kind, PurePath):
            return self._kind(str(wire))
        raise self.misfit(wire)

    def parse(self, raw: Any, walk: Walk) -> Any:
        if issubclass(self._kind, PurePath):
            if type(raw) is str:
                return self._kind(raw)
            raise self.misfit(raw)
        return _convert(self, raw, self._kind)


class Bytearray(Node):
    """Bytes that can be changed."""

    label = "bytearray"
    classes = frozenset({bytearray})

    def lower(self, value: Any, walk: Walk) -> Any:
        if isinstance(value, bytearray):
            return bytes(value)
        raise self.misfit(value)

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) is bytes:
            return bytearray(wire)
        raise self.misfit(wire)

    def parse(self, raw: Any, walk: Walk) -> Any:
        return bytearray(_convert(self, raw, bytes))


class Enumeration(Node):
    """An enum: its value where all of them are text or all are numbers, else its name."""

    def __init__(self, kind: type[enum.Enum], label: str) -> None:
        self._kind = kind
        self.label = label
        self.classes = frozenset({kind})
        values: list[Any] = [member.value for member in kind]
        self._by_value = issubclass(kind, enum.Flag) or any(
            all(isinstance(value, base) for value in values) for base in (str, int)
        )

    def lower(self, value: Any, walk: Walk) -> Any:
        if not isinstance(value, self._kind):
            raise self.misfit(value)
        if not self._by_value:
            return value.name
        plain = str.__str__(value.value) if isinstance(value.value, str) else int(value.value)
        return native(plain)

    def lift(self, wire: Any, walk: Walk) -> Any:
        try:
            if self._by_value and type(wire) in (str, int):
                return self._kind(wire)
            if not self._by_value and type(wire) is str:
                return self._kind[wire]
        except (KeyError, ValueError):
            pass
        raise self._unknown(wire)

    def parse(self, raw: Any, walk: Walk) -> Any:
        try:
            return self.lift(raw, walk)
        except Misfit:
            if type(raw) is str and raw in self._kind.__members__:
                return self._kind[raw]
            raise

    def _unknown(self, wire: Any) -> Misfit:
        known = [repr(m.value) if self._by_value else repr(m.name) for m in self._kind]
        listed = ", ".join(known[:10]) + (", …" if len(known) > 10 else "")
        return Misfit(f"expected {self.label} ({listed}), got {described(wire)}")


class Choice(Node):
    """A ``Literal``. Members of enums travel by their name."""

    def __init__(self, values: tuple[Any, ...]) -> None:
        self._values: set[tuple[type[Any], Any]] = {(type(value), value) for value in values}
        self.label = f"Literal[{', '.join(map(repr, values))}]"
        self.classes = frozenset(map(type, values))
        self._enums = {
            f"{type(value).__name__}.{value.name}": value
            for value in values
            if isinstance(value, enum.Enum)
        }
        self.plain = not self._enums

    def _known(self, value: Any) -> bool:
        try:
            return (type(value), value) in self._values
        except TypeError:
            return False

    def lower(self, value: Any, walk: Walk) -> Any:
        if not self._known(value):
            raise self.misfit(value)
        if type(value) in NATIVE:
            return native(value)
        return f"{type(value).__name__}.{value.name}"

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) is str and wire in self._enums:
            return self._enums[wire]
        if self._known(wire):
            return wire
        raise self.misfit(wire)

    def parse(self, raw: Any, walk: Walk) -> Any:
        return self.lift(raw, walk)


class Constrained(Node):
    """``Annotated[…, msgspec.Meta(…)]``: the type, and what the constraints say."""

    def __init__(self, node: Node, annotation: Any) -> None:
        self._node = node
        self._annotation = annotation
        self.label = node.label
        self.classes = node.classes
        self.plain = node.plain

    def _checked(self, value: Any) -> Any:
        try:
            msgspec.convert(value, self._annotation)
        except msgspec.ValidationError as error:
            raise Misfit(str(error)[:1].lower() + str(error)[1:]) from None
        return value

    def lower(self, value: Any, walk: Walk) -> Any:
        wire = self._node.lower(value, walk)
        self._checked(value)
        return wire

    def lift(self, wire: Any, walk: Walk) -> Any:
        return self._checked(self._node.lift(wire, walk))

    def parse(self, raw: Any, walk: Walk) -> Any:
        return self._checked(self._node.parse(raw, walk))
