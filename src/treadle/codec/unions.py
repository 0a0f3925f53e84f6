"""Unions, and the placeholder for a type that refers to itself."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any

from treadle.codec.exts import Tagged, tagged
from treadle.codec.misfit import Misfit, Walk, described
from treadle.codec.node import Node

__all__ = ["Later", "Union"]

_NIL = frozenset({type(None)})
_NONE: frozenset[type] = frozenset()


class Union(Node):
    """One of several types.

    A member whose wire form describes itself goes as it is. The others carry their label,
    unless there is only one of them and ``None`` beside it.
    """

    def __init__(self, members: list[Node]) -> None:
        self._members = members
        self.label = " | ".join(member.label for member in members)
        others = [member for member in members if not member.plain]
        rest = [member for member in members if member.plain]
        self._tags = bool(others) and not (
            len(others) == 1 and all(member.classes == _NIL for member in rest)
        )
        # Without a label a value is most likely one of those that need none.
        self._untagged = rest + others
        self.plain = self._tags or not others
        self.sends = _NONE.union(*(member.sends for member in rest))
        self.takes = _NONE.union(*(member.takes for member in rest))
        self.classes = _NONE.union(*(member.classes for member in members))

    def lower(self, value: Any, walk: Walk) -> Any:
        exact = [m for m in self._members if type(value) in m.classes]
        member, wire = self._first(exact or self._members, "lower", value, walk)
        return tagged(member.label, wire) if self._tags and not member.plain else wire

    def lift(self, wire: Any, walk: Walk) -> Any:
        members = self._untagged
        if type(wire) is Tagged:
            members = [m for m in members if m.label == wire.label]
            if not members:
                raise Misfit(f"expected {self.label}, got {wire.label}")
            wire = wire.value
        else:
            members = [m for m in members if type(wire) in m.takes] or members
        return self._first(members, "lift", wire, walk)[1]

    def parse(self, raw: Any, walk: Walk) -> Any:
        as_it_is = [m for m in self._members if type(raw) in m.classes | m.takes]
        try:
            return self._first(as_it_is, "parse", raw, walk)[1]
        except Misfit:
            return self._first(self._members, "parse", raw, walk)[1]

    def _first(self, members: list[Node], verb: str, value: Any, walk: Walk) -> tuple[Node, Any]:
        depth, items = walk.depth, walk.items
        problems: list[Misfit] = []
        foreign = False
        for member in members:
            walk.depth, walk.items = depth, items
            try:
                return member, getattr(member, verb)(value, walk)
            except Misfit as misfit:
                foreign = foreign or misfit.foreign
                # That it is not this member says nothing; what is wrong inside of it does.
                if len(members) == 1 or misfit.path or misfit.reason != member.misfit(value).reason:
                    problems.append(misfit)
        if problems:
            raise max(problems, key=lambda problem: len(problem.path))
        raise Misfit(f"expected {self.label}, got {described(value)}", foreign=foreign)


class Later(Node):
    """A type that is compiled when the first value comes, because it may contain itself."""

    def __init__(self, label: str, make: Callable[[], Node]) -> None:
        self.label = label
        self._make = make

    @cached_property
    def _node(self) -> Node:
        return self._make()

    def lower(self, value: Any, walk: Walk) -> Any:
        return self._node.lower(value, walk)

    def lift(self, wire: Any, walk: Walk) -> Any:
        return self._node.lift(wire, walk)

    def parse(self, raw: Any, walk: Walk) -> Any:
        return self._node.parse(raw, walk)
