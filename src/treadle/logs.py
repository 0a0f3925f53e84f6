"""Structured logging on the standard ``logging`` module.

One event name per fact, everything else as key and value. A library must not decide how an
application logs, so events go to the standard logger ``treadle`` as ``event key=value …`` and
carry their fields in ``record.__dict__`` for formatters that can use them. ``treadle run``
configures handlers; a program that embeds a foreman keeps its own.
"""

from __future__ import annotations

import logging
from collections.abc import MutableMapping
from typing import Any

import structlog

__all__ = ["Logger", "get_logger"]

Logger = structlog.stdlib.BoundLogger

_plain = structlog.processors.KeyValueRenderer(key_order=["event"], drop_missing=True)


def _render(
    logger: Any, method: str, event: MutableMapping[str, Any]
) -> tuple[tuple[str], dict[str, Any]]:
    """The arguments of the standard logger: a readable line, and the fields as they are."""
    exc_info = event.pop("exc_info", None)
    name = event.pop("event")
    line = f"{name} {_plain(logger, method, dict(event))}" if event else str(name)
    options: dict[str, Any] = {"extra": {"treadle": {"event": name, **event}}}
    if exc_info:
        options["exc_info"] = exc_info
    # A percent sign in a field must not be taken for a format.
    return (line.replace("%", "%%"),), options


def get_logger(name: str = "treadle", **bound: Any) -> Logger:
    """A logger whose methods take an event name and fields.

    Args:
        name: of the standard logger, below ``treadle``.
        bound: fields that every event of it carries.
    """
    logger: Logger = structlog.wrap_logger(
        logging.getLogger(name),
        processors=[structlog.stdlib.filter_by_level, _render],
        wrapper_class=structlog.stdlib.BoundLogger,
        context_class=dict,
        **bound,
    )
    return logger
