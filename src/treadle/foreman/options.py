"""The options of a foreman: what is given, over what is configured."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

import msgspec

from treadle.config.settings import ForemanSettings
from treadle.config.values import FIELDS, read
from treadle.errors import UnknownOption

__all__ = ["foreman_settings"]

_KNOWN = ForemanSettings.__struct_fields__


def foreman_settings(base: ForemanSettings, options: dict[str, Any]) -> ForemanSettings:
    """``base`` with options over it.

    Args:
        base: the configured settings.
        options: by name; durations and sizes also as text.

    Raises:
        UnknownOption: an option that does not exist, with the nearest one that does.
        InvalidOption: a value that cannot work.
    """
    given: dict[str, Any] = {}
    for name, value in options.items():
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, 1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise UnknownOption(
                f"a foreman has no option {name!r}{hint}. Known options: {', '.join(_KNOWN)}",
                option=name,
                known=_KNOWN,
            )
        if isinstance(value, list):
            value = tuple(value)
        given[name] = read(FIELDS[f"foreman.{name}"], value, "foreman option")
    return msgspec.structs.replace(base, **given)
