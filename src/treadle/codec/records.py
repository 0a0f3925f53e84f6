"""Classes with named fields: dataclass, NamedTuple, TypedDict, attrs, msgspec Struct."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, NamedTuple

from msgspec import UNSET

from treadle.codec.exts import Tagged
from treadle.codec.misfit import Misfit, Walk, class_of, described
from treadle.codec.node import Node

__all__ = ["Field", "Record", "TypedMap"]


class Field(NamedTuple):
    """One field of a record."""

    # As it is read, and on the wire.
    name: str
    # As the constructor calls it.
    argument: str
    annotation: Any
    required: bool


class _Plan(NamedTuple):
    name: str
    argument: str
    required: bool
    node: Node


class Record(Node):
    """A class whose constructor takes its fields by name.

    The fields are compiled at the first use, so that a class may contain itself.
    """

    def __init__(
        self,
        kind: type,
        label: str,
        fields: Callable[[], list[Field]],
        compiler: Callable[[Any], Node],
    ) -> None:
        self._kind = kind
        self.label = label
        self.classes = frozenset({kind})
        self._fields = fields
        self._compiler = compiler

    @cached_property
    def _plans(self) -> list[_Plan]:
        return [
            _Plan(field.name, field.argument, field.required, self._compiler(field.annotation))
            for field in self._fields()
        ]

    def misfit(self, value: Any) -> Misfit:
        if isinstance(value, self._kind):
            return Misfit(
                f"expected {self.label} itself, got its subclass {described(value)}; "
                "name the subclass in the annotation, which may be a union"
            )
        return super().misfit(value)

    def lower(self, value: Any, walk: Walk) -> Any:
        if type(value) is not self._kind:
            raise self.misfit(value)
        plans = self._plans
        walk.enter(len(plans))
        wire: dict[str, Any] = {}
        for name, _, _, node in plans:
            item = getattr(value, name, UNSET)
            if type(item) in node.sends and not walk.careful:
                wire[name] = item
            elif item is not UNSET:
                try:
                    wire[name] = node.lower(item, walk)
                except Misfit as misfit:
                    raise misfit.under(f".{name}") from None
        walk.leave()
        return wire

    def lift(self, wire: Any, walk: Walk) -> Any:
        if type(wire) is Tagged and wire.label == self.label:
            wire = wire.value
        return self._made(wire, walk, "lift")

    def parse(self, raw: Any, walk: Walk) -> Any:
        kind = class_of(raw)
        if kind is dict:
            known = {plan.name for plan in self._plans}
            unknown = next((key for key in raw if key not in known), None)
            if unknown is not None:
                raise Misfit(f"{self.label} has no field {described(unknown)}")
        return self._made(raw, walk, "parse")

    def _made(self, wire: Any, walk: Walk, verb: str) -> Any:
        fields = self._unpacked(wire, walk, verb)
        try:
            return self._kind(**fields)
        except Exception as error:
            raise Misfit(f"{self.label} refused its fields: {error!r:.200}") from error

    def _unpacked(self, wire: Any, walk: Walk, verb: str) -> dict[str, Any]:
        if class_of(wire) is not dict:
            raise self.misfit(wire)
        walk.enter(len(wire))
        found = self._found(wire, walk, verb)
        walk.leave()
        return found

    def _found(self, wire: Mapping[str, Any], walk: Walk, verb: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, argument, required, node in self._plans:
            item = wire.get(name, UNSET)
            if item is UNSET:
                if required:
                    raise Misfit(f"{self.label} lacks its field {name!r}")
                continue
            try:
                found[argument] = getattr(node, verb)(item, walk)
            except Misfit as misfit:
                raise misfit.under(f".{name}") from None
        return found


class TypedMap(Record):
    """A TypedDict: a dict with known keys."""

    def misfit(self, value: Any) -> Misfit:
        return Misfit(f"expected a dict ({self.label}), got {described(value)}")

    def lower(self, value: Any, walk: Walk) -> Any:
        if not issubclass(type(value), dict):
            raise self.misfit(value)
        self._only_known(value)
        walk.enter(len(value))
        wire = self._found(value, walk, "lower")
        walk.leave()
        return wire

    def _only_known(self, value: Mapping[Any, Any]) -> None:
        known = [plan.name for plan in self._plans]
        for key in value:
            if key not in known:
                raise Misfit(f"{self.label} has no key {described(key)}; it has {', '.join(known)}")

    def _made(self, wire: Any, walk: Walk, verb: str) -> Any:
        return self._unpacked(wire, walk, verb)
