"""Values without an annotation: each travels as what it is, or is refused."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec.msgpack import Ext

from treadle.codec.exts import (
    DICT,
    FROZENSET,
    NATIVE,
    SCALARS,
    SET,
    TO_EXT,
    TUPLE,
    big_int,
    odd_text,
    pack,
    unpack,
)
from treadle.codec.misfit import Misfit, Walk, class_of, described, named
from treadle.codec.outline import apart
from treadle.errors import NotDecodable, NotEncodable

__all__ = [
    "check",
    "key_step",
    "lower",
    "native",
    "natural_decode",
    "natural_encode",
    "read",
    "unreadable",
    "write",
]

_ARRAYS: dict[type, int] = {tuple: TUPLE, set: SET, frozenset: FROZENSET}
_UNORDERED = frozenset({set, frozenset})
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1


def native(value: Any) -> Any:
    """A value of a ``NATIVE`` class as msgpack can really take it."""
    if type(value) is int and not _SMALLEST <= value <= _LARGEST:
        return big_int(value)
    if type(value) is str:
        try:
            value.encode()
        except UnicodeEncodeError:
            return odd_text(value)
    return value


def lower(value: Any, walk: Walk) -> Any:
    """The wire form of a value.

    Raises:
        Misfit: its class, or that of a member, is not one of the natural ones.
    """
    kind = class_of(value)
    if kind in NATIVE:
        return native(value) if walk.careful else value
    to_ext = TO_EXT.get(kind)
    if to_ext is not None:
        return to_ext(value)
    if kind is dict:
        return _lower_dict(value, walk)
    if kind is not list and kind not in _ARRAYS:
        raise Misfit(_refusal(kind), foreign=True)
    walk.enter(len(value))
    items: Any = value
    if walk.careful or not NATIVE.issuperset(map(type, value)):
        if kind in _UNORDERED:
            apart(value)
        items = _lower_items(value, walk)
    walk.leave()
    return items if kind is list else Ext(_ARRAYS[kind], pack(items))


def _lower_items(values: Iterable[Any], walk: Walk) -> list[Any]:
    items: list[Any] = []
    for index, item in enumerate(values):
        try:
            items.append(lower(item, walk))
        except Misfit as misfit:
            raise misfit.under(f"[{index}]") from None
    return items


def _lower_dict(value: dict[Any, Any], walk: Walk) -> Any:
    walk.enter(len(value))
    pairs: list[tuple[Any, Any]] | None = None
    if walk.careful or not (
        NATIVE.issuperset(map(type, value)) and NATIVE.issuperset(map(type, value.values()))
    ):
        apart(value)
        pairs = []
        for key, item in value.items():
            try:
                pairs.append((lower(key, walk), lower(item, walk)))
            except Misfit as misfit:
                raise misfit.under(key_step(key)) from None
    walk.leave()
    if pairs is None:
        return value
    if NATIVE.issuperset(class_of(key) for key, _ in pairs):
        return dict(pairs)
    return Ext(DICT, pack(pairs))


def key_step(key: Any) -> str:
    """The step of a path that goes to a key of a dict."""
    short = class_of(key) in NATIVE and (type(key) is not int or key.bit_length() <= 64)
    return f"[{key!r}]" if short and len(repr(key)) <= 60 else f"[{described(key)}]"


def _refusal(kind: type) -> str:
    return (
        f"no encoding for {named(kind)}; annotate it if it is a dataclass, an Enum or "
        "another class of data, else pass plain data such as a path or an id"
    )


def check(value: Any, walk: Walk) -> Any:
    """A decoded value, when it is within the bounds and of natural classes only."""
    kind = class_of(value)
    if kind in SCALARS:
        return value
    if kind is dict:
        walk.enter(len(value))
        for key, item in value.items():
            if type(key) not in NATIVE:
                check(key, walk)
            if type(item) not in NATIVE:
                check(item, walk)
        walk.leave()
        return value
    if kind is not list and kind not in _ARRAYS:
        raise Misfit("a member of a union, where no union is annotated")
    walk.enter(len(value))
    if not NATIVE.issuperset(map(type, value)):
        for item in value:
            check(item, walk)
    walk.leave()
    return value


def write(wire: Any) -> bytes:
    """Bytes of a wire form, or the ``Misfit`` that the encoder found in it."""
    try:
        return pack(wire)
    except RecursionError:
        raise Misfit("nested too deep, or it contains itself") from None


def read(body: bytes) -> Any:
    """The wire form in some bytes. Any bytes give a value or ``NotDecodable``."""
    try:
        return unpack(body)
    except Exception as error:  # noqa: BLE001  any bytes may be there
        raise unreadable(error) from _reason(error)


def unreadable(error: Exception) -> NotDecodable:
    """What an error of ``unpack`` means."""
    why = error.reason if isinstance(error, Misfit) else f"{error!s:.200}"
    return NotDecodable(f"these bytes cannot be read: {why}")


def _reason(error: Exception) -> Exception | None:
    return None if isinstance(error, Misfit) else error


def natural_encode(value: Any) -> bytes:
    """Bytes of a value of JSON and the other natural types, such as metadata and checkpoints.

    Raises:
        NotEncodable: for any other class; ``path`` says where.
    """
    try:
        try:
            return write(lower(value, Walk()))
        except (OverflowError, UnicodeEncodeError):
            return write(lower(value, Walk(careful=True)))
    except Misfit as misfit:
        where = f"{misfit.where}: " if misfit.path else ""
        raise NotEncodable(f"{where}{misfit.reason}", path=misfit.where) from None


def natural_decode(body: bytes) -> Any:
    """What ``natural_encode`` was given.

    Raises:
        NotDecodable: the bytes are something else.
    """
    value = read(body)
    try:
        return check(value, Walk())
    except Misfit as misfit:
        raise NotDecodable(f"these bytes cannot be read: {misfit.reason}") from None
