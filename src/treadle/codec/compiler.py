"""From an annotation to the node that carries its values."""

from __future__ import annotations

import collections
import collections.abc as abc
import datetime as dt
import enum
import os
import types
import typing
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path, PurePath
from typing import Any, ForwardRef
from uuid import UUID

import msgspec

from treadle.codec.containers import Items, Mapped, Row
from treadle.codec.fields import fields_of, is_record
from treadle.codec.hints import Unresolved, substituted, type_arguments
from treadle.codec.misfit import named
from treadle.codec.node import ANYTHING, Node, Opaque
from treadle.codec.pydantic_types import Pydantic, is_pydantic
from treadle.codec.records import Record, TypedMap
from treadle.codec.scalars import (
    Bytearray,
    Choice,
    Constrained,
    Enumeration,
    Extended,
    Native,
)
from treadle.codec.unions import Later, Union

__all__ = ["Compiler"]

_NATURAL = {Any, object, typing.NoReturn, typing.Never, abc.Hashable}
_WRAPPERS = {typing.Final, typing.ClassVar, typing.Required, typing.NotRequired}
_EXTENDED = (dt.datetime, dt.date, dt.time, dt.timedelta, UUID, Decimal)
_ITEMS = (list, set, frozenset, collections.deque)
_MAPS = (dict, collections.OrderedDict)
_ABSTRACT: dict[Any, tuple[type, ...]] = {
    abc.Sequence: (list, tuple),
    abc.MutableSequence: (list,),
    abc.Collection: (list, tuple, set, frozenset),
    abc.Iterable: (list, tuple, set, frozenset),
    abc.Set: (set, frozenset),
    abc.MutableSet: (set,),
    abc.Mapping: (dict,),
    abc.MutableMapping: (dict,),
}
_OPAQUE = "no encoding for {}; use a dataclass or another class of data, or pass a path or an id"


class Compiler:
    """Makes nodes, one per type.

    Args:
        space: names that forward references are looked up in.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        self._space = space
        self._known: dict[Any, Node] = {}

    def node(self, annotation: Any, variables: Mapping[Any, Any] = {}) -> Node:
        """The node of an annotation; ``variables`` says what type variables stand for."""
        if isinstance(annotation, Unresolved):
            return Opaque(annotation.text, annotation.reason)
        if annotation is None or annotation is type(None):
            return Native(type(None))
        if isinstance(annotation, str | ForwardRef):
            return self._forward(annotation, variables)
        try:
            if annotation in _NATURAL:
                return ANYTHING
        except TypeError:  # a Literal or Annotated with something that cannot be hashed
            pass
        if annotation is typing.Self and annotation in variables:
            return self.node(variables[annotation])
        if isinstance(annotation, typing.TypeVar):
            return self._variable(annotation, variables)
        if isinstance(annotation, typing.NewType):
            return self.node(annotation.__supertype__, variables)
        if hasattr(annotation, "__value__"):  # type X = …
            return self._alias(annotation, variables)
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._special(annotation, origin, variables)
        return self._class(annotation, annotation, (), variables)

    def _forward(self, reference: str | ForwardRef, variables: Mapping[Any, Any]) -> Node:
        text = reference if isinstance(reference, str) else reference.__forward_arg__

        def make() -> Node:
            if text not in self._space:
                return Opaque(text, Unresolved(text, NameError(f"{text} is not defined")).reason)
            return self.node(self._space[text], variables)

        return self._once(("forward", text), lambda: Later(text, make))

    def _variable(self, variable: typing.TypeVar, variables: Mapping[Any, Any]) -> Node:
        if variable in variables:
            return self.node(variables[variable])
        if variable.__constraints__:
            return self._union(variable.__constraints__, variables)
        return ANYTHING if variable.__bound__ is None else self.node(variable.__bound__, variables)

    def _alias(self, alias: Any, variables: Mapping[Any, Any]) -> Node:
        base = typing.get_origin(alias) or alias
        given = dict(variables)
        for variable, value in zip(
            getattr(base, "__type_params__", ()), typing.get_args(alias), strict=False
        ):
            given[variable] = substituted(value, variables)
        return self._once(
            ("alias", alias), lambda: Later(base.__name__, lambda: self.node(base.__value__, given))
        )

    def _special(self, annotation: Any, origin: Any, variables: Mapping[Any, Any]) -> Node:
        arguments = typing.get_args(annotation)
        if origin is typing.Annotated:
            node = self.node(arguments[0], variables)
            bounded = any(isinstance(extra, msgspec.Meta) for extra in annotation.__metadata__)
            return Constrained(node, annotation) if bounded else node
        if origin is typing.Union or origin is types.UnionType:
            return self._union(arguments, variables)
        if origin is typing.Literal:
            return Choice(arguments)
        if origin in _WRAPPERS or getattr(origin, "_name", "") == "ReadOnly":
            return self.node(arguments[0], variables)
        return self._class(origin, annotation, arguments, variables)

    def _union(self, arguments: tuple[Any, ...], variables: Mapping[Any, Any]) -> Node:
        members = [self.node(argument, variables) for argument in arguments]
        if any(member is ANYTHING for member in members):
            return ANYTHING
        labels = collections.Counter(member.label for member in members)
        for member in members:
            if labels[member.label] > 1 and not member.plain and len(member.classes) == 1:
                member.label = named(next(iter(member.classes)))
        return members[0] if len(members) == 1 else Union(members)

    def _class(
        self, kind: Any, annotation: Any, arguments: tuple[Any, ...], variables: Mapping[Any, Any]
    ) -> Node:
        if kind is tuple:
            return self._tuple(annotation, arguments, variables)
        if kind in _ITEMS:
            return Items(kind, self._argument(arguments, 0, variables))
        if kind in _MAPS:
            key, item = (self._argument(arguments, place, variables) for place in (0, 1))
            return Mapped(kind, key, item)
        if kind is collections.Counter:
            return Mapped(kind, self._argument(arguments, 0, variables), Native(int))
        if kind in _ABSTRACT:
            return self._abstract(kind, arguments, variables)
        if kind is os.PathLike:
            return Extended(Path)
        if not isinstance(kind, type):
            return Opaque(str(annotation), _OPAQUE.format(annotation))
        return self._scalar(kind) or self._data(kind, annotation, arguments, variables)

    def _argument(
        self, arguments: tuple[Any, ...], place: int, variables: Mapping[Any, Any]
    ) -> Node:
        return self.node(arguments[place], variables) if len(arguments) > place else ANYTHING

    def _abstract(
        self, kind: Any, arguments: tuple[Any, ...], variables: Mapping[Any, Any]
    ) -> Node:
        nodes = [self._argument(arguments, place, variables) for place in (0, 1)]
        members: list[Node] = [
            Mapped(concrete, *nodes) if concrete is dict else Items(concrete, nodes[0])
            for concrete in _ABSTRACT[kind]
        ]
        return members[0] if len(members) == 1 else Union(members)

    def _tuple(
        self, annotation: Any, arguments: tuple[Any, ...], variables: Mapping[Any, Any]
    ) -> Node:
        if annotation is tuple or annotation is typing.Tuple:  # noqa: UP006
            return Items(tuple, ANYTHING)
        if len(arguments) == 2 and arguments[1] is Ellipsis:
            return Items(tuple, self.node(arguments[0], variables))
        if any(typing.get_origin(argument) is typing.Unpack for argument in arguments):
            return Items(tuple, ANYTHING)
        return Row(tuple(self.node(argument, variables) for argument in arguments))

    def _scalar(self, kind: type) -> Node | None:
        if kind in (str, int, float, bool, bytes):
            return Native(kind)
        if kind in _EXTENDED or issubclass(kind, PurePath):
            return Extended(kind)
        if kind is bytearray:
            return Bytearray()
        if issubclass(kind, enum.Enum):
            return Enumeration(kind, kind.__name__)
        return None

    def _data(
        self, kind: type, annotation: Any, arguments: tuple[Any, ...], variables: Mapping[Any, Any]
    ) -> Node:
        if is_pydantic(kind):
            return self._once(kind, lambda: Pydantic(kind, kind.__name__))
        if not is_record(kind):
            return Opaque(named(kind), _OPAQUE.format(named(kind)))
        given = {v: substituted(t, variables) for v, t in type_arguments(annotation).items()}
        given[typing.Self] = kind
        shape = TypedMap if typing.is_typeddict(kind) else Record
        key = (kind, tuple(sorted((str(v), repr(given[v])) for v in given)))
        return self._once(
            key,
            lambda: shape(
                kind,
                kind.__name__,
                lambda: fields_of(kind, self._space),
                lambda field: self.node(field, given),
            ),
        )

    def _once(self, key: Any, make: Callable[[], Node]) -> Node:
        node = self._known.get(key)
        if node is None:
            node = self._known[key] = make()
        return node
