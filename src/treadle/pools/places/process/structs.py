"""Classes made by msgspec that nobody can import, such as those of a script, on their way.

A class that travels whole is made again without its attributes, which are set once it is there, so
that its functions can refer to it. A struct reads its fields, their defaults and its options while
it is made, so it is given these before; the rest follows as with any other class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from inspect import get_annotations
from typing import Any, get_type_hints

import msgspec

__all__ = ["StructMaker", "is_struct", "made"]

_META: Any = type(msgspec.Struct)
_OPTIONS = (
    "frozen", "eq", "order", "array_like", "gc", "repr_omit_defaults", "omit_defaults",
    "forbid_unknown_fields", "weakref", "dict", "cache_hash", "tag", "tag_field",
)  # fmt: skip


class StructMaker:
    """Makes a struct where only its bases are known: what stands for its metaclass.

    Args:
        fields: its own, in order, each with what :func:`msgspec.field` is given.
        options: of the struct.
        ends: it has a ``__post_init__`` of its own.
    """

    def __init__(
        self, fields: Mapping[str, Mapping[str, Any]], options: Mapping[str, Any], *, ends: bool
    ) -> None:
        self._fields = fields
        self._options = options
        self._ends = ends

    def __call__(self, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> Any:
        """The class."""
        namespace["__annotations__"] = dict.fromkeys(self._fields, Any)
        for field, given in self._fields.items():
            if given:
                namespace[field] = msgspec.field(**given)
        if self._ends:
            namespace["__post_init__"] = _post_init
        return _META(name, bases, namespace, **self._options)


def _post_init(self: Any) -> None:
    # A struct keeps the function that it was made with. The real one is set afterwards.
    cls: Any = _kind(self)
    cls.__post_init__(self)


def is_struct(obj: object) -> bool:
    """Whether it is a class made by msgspec."""
    return isinstance(obj, _META)


def made(cls: Any, reduced: Sequence[Any]) -> tuple[Any, ...]:
    """How a struct is made elsewhere, from how any class would be: metaclass, name, bases, …"""
    make, (_, *others), (attributes, slots), *later = reduced
    names = dict(zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True))
    own = [name for name in get_annotations(cls) if name in names]
    defaults = _defaults(cls)
    options: dict[str, Any] = {name: getattr(cls.__struct_config__, name) for name in _OPTIONS}
    options["rename"] = {name: names[name] for name in own if names[name] != name}
    options["kw_only"] = not set(own) <= set(cls.__match_args__)
    fields = {name: defaults.get(name, {}) for name in own}
    maker = StructMaker(fields, options, ends="__post_init__" in cls.__dict__)
    if own:
        attributes["__annotations__"] = _annotations(cls)
    return (make, (maker, *others), (attributes, slots), *later)


def _annotations(cls: Any) -> dict[str, Any]:
    """What stands at the fields, without names that only the module of the class knows."""
    stated = get_annotations(cls)
    try:
        known = get_type_hints(cls, include_extras=True)
    # Names that are not known here either; who asks for the types is told.
    except Exception:  # noqa: BLE001
        return stated
    return {name: known.get(name, hint) for name, hint in stated.items()}


def _defaults(cls: Any) -> dict[str, dict[str, Any]]:
    """What each field of a struct is given that has a default."""
    values = cls.__struct_defaults__
    names = cls.__struct_fields__[len(cls.__struct_fields__) - len(values) :]
    found: dict[str, dict[str, Any]] = {}
    for name, value in zip(names, values, strict=True):
        if _kind(value) is _FACTORY:
            found[name] = {"default_factory": value.factory}
        elif value is not msgspec.NODEFAULT:
            found[name] = {"default": value}
    return found


def _kind(value: object) -> type[object]:
    return type(value)


class _Probe(msgspec.Struct):
    """Shows what msgspec keeps for a default that is made anew each time."""

    made: list[Any] = msgspec.field(default_factory=list)


_FACTORY = _kind(_Probe.__struct_defaults__[0])
