"""What holds for the children of one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

__all__ = ["Terms"]


class Terms(msgspec.Struct, frozen=True, kw_only=True):
    """How children live and when they have lived long enough."""

    # Calls that overlap in one child, those of coroutines.
    slots: int = 1
    # Seconds between the request to end and the end.
    patience: float = 5.0
    # Modules that children find loaded.
    preload: tuple[str, ...] = ()
    # Variables of their environment, besides those of this process.
    env: Mapping[str, str] = {}
    # A child is replaced after so many calls, seconds, or when it uses so many bytes.
    max_calls: int | None = None
    max_age: float | None = None
    max_rss: int | None = None
    # Each call runs in a fork of the child, which ends with it.
    fork: bool = False
    # Context managers that are entered around each call.
    around: tuple[Callable[[], Any], ...] = ()
