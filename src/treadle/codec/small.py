"""What goes beside the payload in the record of a job, and is therefore small."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from treadle.errors import NotEncodable
from treadle.guards import is_mapping

__all__ = ["MAX_META", "MAX_REMARK", "encoded_meta", "remark"]

MAX_META = 16 << 10
"""Bytes of the metadata of a job as JSON."""
_DEEPEST = 100
_NO_JSON = (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError)
MAX_REMARK = 1000
"""Characters of a remark: the message of a progress, the reason of a release."""


def encoded_meta(meta: Mapping[str, Any]) -> bytes:
    """Metadata as JSON.

    Raises:
        NotEncodable: it is no JSON, nested too deep, or too much.
    """
    for name, value in meta.items():
        if _is_deeper(value, _DEEPEST):
            raise NotEncodable(
                f"metadata {name!r:.100} is not JSON that can be read everywhere: it is nested "
                f"more than {_DEEPEST} deep",
                path=f"{name!s:.100}",
            )
        try:
            said = msgspec.json.decode(msgspec.json.encode({name: value}))
            msgspec.msgpack.encode(said)  # in which whole numbers have 64 bits
        except _NO_JSON as error:
            raise NotEncodable(
                f"metadata {name!r:.100} is not JSON: {error!s:.200}", path=f"{name!s:.100}"
            ) from error
    encoded = msgspec.json.encode(meta)
    if len(encoded) > MAX_META:
        raise NotEncodable(
            f"the metadata have {len(encoded):,} bytes, {MAX_META:,} are allowed; "
            "they are for people to read: pass data as an argument, or keep it elsewhere",
            path="meta",
        )
    return encoded


def _is_deeper(value: Any, most: int) -> bool:
    """Whether maps and lists are nested deeper; how deep a parser goes differs."""
    inside: list[Any]
    if is_mapping(value):
        inside = list(value.values())
    elif isinstance(value, list | tuple):
        inside = list(cast("list[Any]", value))
    else:
        return False
    return most == 0 or any(_is_deeper(one, most - 1) for one in inside)


def remark(text: object) -> str:
    """A short text, as every store can hold it."""
    said = str(text)[: MAX_REMARK + 1]
    if len(said) > MAX_REMARK:
        said = said[: MAX_REMARK - 1] + "…"
    return said.encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
