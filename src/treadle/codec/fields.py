"""The fields of a class of data, whatever made it one."""

from __future__ import annotations

import dataclasses
import sys
import typing
from collections.abc import Mapping
from typing import Any

import msgspec

from treadle.codec.hints import hints_of_class
from treadle.codec.records import Field

__all__ = ["fields_of", "is_record"]


def is_record(kind: Any) -> bool:
    """Whether it is a class whose fields are known by name and type."""
    return (
        dataclasses.is_dataclass(kind)
        or typing.is_typeddict(kind)
        or issubclass(kind, msgspec.Struct)
        or _is_named_tuple(kind)
        or hasattr(kind, "__attrs_attrs__")
    )


def _is_named_tuple(kind: Any) -> bool:
    return hasattr(kind, "_fields") and issubclass(kind, tuple)


def fields_of(kind: Any, space: Mapping[str, Any]) -> list[Field]:
    """Its fields, in order. Those that its constructor does not take are left out."""
    hints = hints_of_class(kind, space)
    if typing.is_typeddict(kind):
        return _of_typed_dict(kind, hints)
    if issubclass(kind, msgspec.Struct):
        found = [(f.name, f.name, f.required) for f in msgspec.structs.fields(kind)]
    elif _is_named_tuple(kind):
        found = [(name, name, name not in kind._field_defaults) for name in kind._fields]
    elif hasattr(kind, "__attrs_attrs__"):
        found = _of_attrs(kind)
    else:
        found = [
            (
                field.name,
                field.name,
                field.default is dataclasses.MISSING
                and field.default_factory is dataclasses.MISSING,
            )
            for field in dataclasses.fields(kind)
            if field.init
        ]
    return [Field(name, given, hints.get(name, Any), needed) for name, given, needed in found]


def _of_attrs(kind: Any) -> list[tuple[str, str, bool]]:
    nothing = sys.modules["attr"].NOTHING  # whoever made the class has imported it
    return [
        (field.name, field.alias or field.name.lstrip("_"), field.default is nothing)
        for field in kind.__attrs_attrs__
        if field.init
    ]


def _of_typed_dict(kind: Any, hints: Mapping[str, Any]) -> list[Field]:
    found: list[Field] = []
    for name, hint in hints.items():
        required = name in kind.__required_keys__
        inner = hint
        # Under postponed annotations only the hints know about NotRequired.
        while (origin := typing.get_origin(inner)) is not None:
            if origin in (typing.Required, typing.NotRequired):
                required = origin is typing.Required
            elif getattr(origin, "_name", "") != "ReadOnly" and origin is not typing.Annotated:
                break
            inner = typing.get_args(inner)[0]
        found.append(Field(name, name, hint, required))
    return found
