"""One value of a setting: from what a person wrote to what the program uses."""

from __future__ import annotations

import re
from typing import Any, Literal, get_args, get_origin

import msgspec

from treadle.config.secrets import mask
from treadle.config.settings import Settings
from treadle.durations import seconds
from treadle.errors import InvalidOption
from treadle.guards import is_iterable, is_mapping
from treadle.queuenames import ALL, check_queue, weighted

__all__ = ["FIELDS", "OPEN", "Field", "field_of", "read"]


class Field(msgspec.Struct, frozen=True, kw_only=True):
    """One setting."""

    # Dotted: "foreman.concurrency".
    name: str
    type: Any
    default: Any
    # How to read it: "count", "size", "duration", "names", "choice", or "" for text.
    kind: str
    # What is expected, for messages.
    says: str
    optional: bool


_OPEN = ("backends", "routes")


def _fields(struct: type[msgspec.Struct], prefix: str = "") -> dict[str, Field]:
    found: dict[str, Field] = {}
    for one in msgspec.structs.fields(struct):
        name = prefix + one.name
        if isinstance(one.default, msgspec.Struct):
            found |= _fields(type(one.default), f"{name}.")
        elif one.name not in ("sources", *_OPEN):
            found[name] = _field(name, one.type, one.default)
    return found


def _field(name: str, annotation: Any, default: Any) -> Field:
    parts: tuple[Any, ...] = get_args(annotation)
    optional = type(None) in parts
    inner = parts[0] if optional else annotation
    kind, says = "", "text"
    if get_origin(inner) is Literal:
        kind, says = "choice", "one of " + ", ".join(repr(one) for one in get_args(inner))
    for meta in get_args(inner):
        if isinstance(meta, msgspec.Meta) and meta.extra:
            kind, says = str(meta.extra["kind"]), str(meta.extra["says"])
    if optional:
        says += ", or 'none'"
    return Field(
        name=name, type=annotation, default=default, kind=kind, says=says, optional=optional
    )


FIELDS = _fields(Settings)
"""Every setting by its dotted name."""

OPEN = {
    one.name: _field(one.name, get_args(one.type)[1], "")
    for one in msgspec.structs.fields(Settings)
    if one.name in _OPEN
}
"""Tables whose names a user chooses: what each of their settings is."""


def field_of(name: str) -> Field | None:
    """The setting of a dotted name; ``None`` when there is none."""
    table, _, rest = name.partition(".")
    if table in OPEN and rest:
        return msgspec.structs.replace(OPEN[table], name=name)
    return FIELDS.get(name)


def read(field: Field, value: Any, where: str) -> Any:
    """The value of a setting, checked.

    Args:
        field: the setting.
        value: as it was written.
        where: names the place in a message, such as ``environment variable TREADLE_URL``.

    Raises:
        InvalidOption: it cannot be understood; says where it stands and what is expected.
    """
    if field.optional and isinstance(value, str) and value.strip().lower() == "none":
        return None
    if field.kind in {"names", "queues"}:
        try:
            value = _names(value, weights=field.kind == "queues")
        except InvalidOption as error:
            raise InvalidOption(f"{where}: {error}", option=field.name, value=value) from None
    try:
        return msgspec.convert(_plain(field, value), field.type, strict=not isinstance(value, str))
    except (msgspec.ValidationError, InvalidOption, ValueError):
        shown = mask(value) if isinstance(value, str) else value
        raise InvalidOption(
            f"{where}: {field.name} is {shown!r}, but must be {field.says}",
            option=field.name,
            value=shown,
        ) from None


def _plain(field: Field, value: Any) -> Any:
    match field.kind:
        case "duration":
            return seconds(value, field.name)
        case "size" if isinstance(value, str):
            return _size(value)
        case "count" if isinstance(value, str):
            return value.strip().replace("_", "")
        case "choice" if isinstance(value, str):
            return value.strip().lower()
        case _:
            return value


def _names(value: Any, *, weights: bool) -> Any:
    """Names of queues, as a list; what is none is left for the type to refuse."""
    if isinstance(value, str):
        value = [name.strip() for name in value.split(",") if name.strip()]
    if is_iterable(value) and not is_mapping(value):  # whose values would be passed over
        value = list(value)
        for name in value:
            if not isinstance(name, str):
                continue
            if weights:
                weighted(name)
            elif name != ALL:
                check_queue(name, "exclude")
    return value


_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}


def _size(text: str) -> int:
    parts = re.fullmatch(r"(\d[\d_]*(?:\.\d+)?)\s*([kmg]i?)?b?", text.strip().lower())
    if parts is None:
        raise ValueError(text)
    return int(float(parts[1].replace("_", "")) * _UNITS[parts[2] or ""])
