"""The msgpack extensions: how values that msgpack does not know describe themselves.

The codes are part of the stored format: a code is never given a new meaning.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from decimal import Decimal
from functools import cache, lru_cache
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any
from uuid import UUID

from msgspec.msgpack import Decoder, Encoder, Ext

from treadle.codec.misfit import MAX_DEPTH, MAX_INT_BITS, Misfit, class_of
from treadle.codec.outline import LIGHT, apart, weigh

__all__ = [
    "NATIVE",
    "SCALARS",
    "TO_EXT",
    "Tagged",
    "big_int",
    "odd_text",
    "pack",
    "tagged",
    "unpack",
]

TUPLE, SET, FROZENSET = 1, 2, 3
DATETIME, DATE, TIME, TIMEDELTA = 4, 5, 6, 7
UUID_, DECIMAL, PATH = 8, 9, 10
BIG_INT, ODD_TEXT, TAGGED, DICT = 11, 12, 13, 14

NATIVE: frozenset[type] = frozenset({str, int, float, bool, type(None), bytes})
"""Classes that msgpack has itself."""

_SURROGATES = "surrogatepass"
_MICROSECOND = dt.timedelta(microseconds=1)


class Tagged:
    """A member of a union that only its label tells from the other members."""

    __slots__ = ("label", "value")

    def __init__(self, label: str, value: Any) -> None:
        self.label = label
        self.value = value


pack: Callable[[Any], bytes] = Encoder().encode


def tagged(label: str, value: Any) -> Ext:
    """A wire value with the label of a union member in front."""
    return Ext(TAGGED, pack([label, value]))


def big_int(value: int) -> Ext:
    """An integer of more than 64 bits."""
    bits = value.bit_length()
    if bits > MAX_INT_BITS:
        raise Misfit(f"an int of {bits:,} bits; at most {MAX_INT_BITS:,} can travel")
    return Ext(BIG_INT, value.to_bytes(bits // 8 + 1, "big", signed=True))


def odd_text(value: str) -> Ext:
    """A text with lone surrogates, such as file names that are no UTF-8."""
    return Ext(ODD_TEXT, value.encode("utf-8", _SURROGATES))


def _clock_text(value: dt.datetime | dt.time) -> bytes:
    """ISO 8601, with ``~`` in front of a second run of the hour and the zone behind (RFC 9557)."""
    text = value.isoformat()
    zone = getattr(value.tzinfo, "key", None)
    if isinstance(zone, str):
        text = f"{text}[{zone}]"
    elif value.tzinfo is not None and value.utcoffset() is None:
        raise Misfit("a time in a zone without an offset; pass a datetime or a naive time")
    return (f"~{text}" if value.fold else text).encode()


def _from_clock_text(kind: type[Any], data: bytes) -> Any:
    text = data.decode()
    fold = text.startswith("~")
    text, _, zone = text.removeprefix("~").partition("[")
    value = kind.fromisoformat(text)
    if zone:
        value = _in_zone(value, zone.removesuffix("]"))
    return value.replace(fold=1) if fold else value


_absent = 0
_SOUGHT = 200
_ZONE_NAME = re.compile(r"[\w+-]+(/[\w+-]+)*")


@lru_cache(maxsize=1024)
def _zone(key: str) -> dt.tzinfo | None:
    """A time zone, if this machine has it. Looking for one costs 60 µs, whether it is there or not.

    Names are remembered, and after many that were not there, only those on the list are sought:
    a payload can have thousands.
    """
    global _absent
    from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

    if not _ZONE_NAME.fullmatch(key):
        raise ValueError(f"{key!r} cannot be the name of a time zone")
    if _absent >= _SOUGHT and key not in _zones():
        return None
    try:
        return ZoneInfo(key)
    except ZoneInfoNotFoundError:
        _absent += 1
        return None


@cache
def _zones() -> frozenset[str]:
    from zoneinfo import available_timezones

    return frozenset(available_timezones())


def _in_zone(value: dt.datetime | dt.time, key: str) -> dt.datetime | dt.time:
    zone = _zone(key)
    if zone is None:  # this machine lacks it; the offset is in the text
        return value
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(zone)
    return value.replace(tzinfo=zone)


def _span(value: dt.timedelta) -> bytes:
    ticks = value // _MICROSECOND
    return ticks.to_bytes(ticks.bit_length() // 8 + 1, "big", signed=True)


_FLAVOURS: dict[str, type[PurePath]] = {"p": Path, "x": PurePosixPath, "w": PureWindowsPath}


def _path(value: PurePath) -> bytes:
    flavour = "w" if isinstance(value, PureWindowsPath) else "x"
    return (("p" if isinstance(value, Path) else flavour) + str(value)).encode("utf-8", _SURROGATES)


def _from_path(data: bytes) -> PurePath:
    text = data.decode("utf-8", _SURROGATES)
    return _FLAVOURS[text[0]](text[1:])


TO_EXT: dict[type, Callable[[Any], Ext]] = {
    dt.datetime: lambda value: Ext(DATETIME, _clock_text(value)),
    dt.date: lambda value: Ext(DATE, value.isoformat().encode()),
    dt.time: lambda value: Ext(TIME, _clock_text(value)),
    dt.timedelta: lambda value: Ext(TIMEDELTA, _span(value)),
    UUID: lambda value: Ext(UUID_, value.bytes),
    Decimal: lambda value: Ext(DECIMAL, str(value).encode()),
    **{
        kind: lambda value: Ext(PATH, _path(value))
        for kind in (type(Path()), PurePosixPath, PureWindowsPath)
    },
}
"""Classes other than containers that travel as an extension."""

SCALARS: frozenset[type] = NATIVE | TO_EXT.keys()
"""Classes of values that hold no others."""


def _from_big_int(data: bytes) -> int:
    if len(data) > MAX_INT_BITS // 8 + 1:
        raise Misfit(f"an int of {len(data):,} bytes")
    value = int.from_bytes(data, "big", signed=True)
    if value.bit_length() > MAX_INT_BITS:
        raise Misfit(f"an int of {value.bit_length():,} bits")
    return value


_FROM_EXT: dict[int, Callable[[bytes], Any]] = {
    DATETIME: lambda data: _from_clock_text(dt.datetime, data),
    DATE: lambda data: dt.date.fromisoformat(data.decode()),
    TIME: lambda data: _from_clock_text(dt.time, data),
    TIMEDELTA: lambda data: dt.timedelta(microseconds=_from_big_int(data)),
    UUID_: lambda data: UUID(bytes=data),
    DECIMAL: lambda data: Decimal(data.decode()),
    PATH: _from_path,
    BIG_INT: _from_big_int,
    ODD_TEXT: lambda data: data.decode("utf-8", _SURROGATES),
}


_FROM_ARRAY: dict[int, Callable[[Any], Any]] = {
    TUPLE: tuple,
    SET: set,
    FROZENSET: frozenset,
    DICT: dict,
}


_HASHED = frozenset({SET, FROZENSET, DICT})


def _from_array(code: int, items: Any) -> Any:
    kind = class_of(items)
    if kind is not list:
        raise Misfit(f"extension {code} holds no array")
    if code in _HASHED and not NATIVE.issuperset(map(type, items)):
        apart([key for key, _ in items] if code == DICT else items)
    if code == TAGGED:
        label, value = items
        if type(label) is not str:
            raise Misfit("a union member without a label")
        return Tagged(label, value)
    return _FROM_ARRAY[code](items)


def _decoder(level: int) -> Callable[[bytes | memoryview], Any]:
    """A decoder that knows how many extensions it is inside of."""

    def hook(code: int, data: memoryview) -> Any:
        scalar = _FROM_EXT.get(code)
        if scalar is not None:
            return scalar(bytes(data))
        if code not in _FROM_ARRAY and code != TAGGED:
            raise Misfit(f"extension {code} is not one of ours")
        if level == MAX_DEPTH:
            raise Misfit(f"nested more than {MAX_DEPTH} levels deep")
        return _from_array(code, _decoders[level + 1](data))

    return Decoder(ext_hook=hook).decode


_decoders = [_decoder(level) for level in range(MAX_DEPTH + 1)]
_decode = _decoders[0]


def unpack(body: bytes) -> Any:
    """The value of some bytes. Raises whatever msgspec or a class raises; see ``read``."""
    if len(body) > LIGHT:
        weigh(body)
    return _decode(body)
