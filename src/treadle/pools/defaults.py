"""Options that nobody has given, as they are configured."""

from __future__ import annotations

from typing import Any

import msgspec

from treadle.config import load
from treadle.pools.options import PoolOptions, read_pool_options

__all__ = ["with_defaults"]


def with_defaults(options: PoolOptions) -> PoolOptions:
    """The options of a pool that is made now; later changes of the configuration do not reach it.

    What is configured for its mode counts more than what is for all.
    """
    settings = load().workers
    if settings.mode is not None and "mode" not in options.given:
        options = read_pool_options({"mode": settings.mode}, options)
    of_mode = getattr(settings, options.mode, None)
    configured = _values(settings) | ({} if of_mode is None else _values(of_mode))
    if options.on_demand:
        configured.pop("max_queued_tasks", None)
    missing = {name: value for name, value in configured.items() if name not in options.given}
    return read_pool_options(missing, options) if missing else options


def _values(settings: msgspec.Struct) -> dict[str, Any]:
    given = {name: getattr(settings, name) for name in settings.__struct_fields__}
    return {
        name: value
        for name, value in given.items()
        if value is not None and name != "mode" and not isinstance(value, msgspec.Struct)
    }
