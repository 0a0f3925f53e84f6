"""Structured logging on the standard ``logging`` module.

One event name per fact, everything else as key and value. A library must not decide how an
application logs, so events go to the standard logger ``treadle`` as ``event key=value …`` and
carry their fields in ``record.__dict__`` for formatters that can use them. ``treadle run``
configures handlers; a program that embeds a foreman keeps its own.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from json import dumps
from typing import Any

import msgspec

__all__ = [
    "JobFilter",
    "Logger",
    "configure",
    "fields_of",
    "get_logger",
    "plain_json",
    "tell_where",
]

_where: Callable[[], Mapping[str, Any]] = dict


class Logger:
    """Writes events below one name, each with the fields that are bound to it."""

    __slots__ = ("_bound", "_logger")

    def __init__(self, name: str, bound: Mapping[str, Any]) -> None:
        self._logger = logging.getLogger(name)
        self._bound = bound

    def bind(self, **fields: Any) -> Logger:
        """A logger whose events carry these fields, too."""
        return Logger(self._logger.name, {**self._bound, **fields})

    def debug(self, event: str, **fields: Any) -> None:
        self._write(logging.DEBUG, event, fields)

    def info(self, event: str, **fields: Any) -> None:
        self._write(logging.INFO, event, fields)

    def warning(self, event: str, **fields: Any) -> None:
        self._write(logging.WARNING, event, fields)

    def error(self, event: str, **fields: Any) -> None:
        self._write(logging.ERROR, event, fields)

    @property
    def debugging(self) -> bool:
        """Whether it writes the lowest level."""
        return self._logger.isEnabledFor(logging.DEBUG)

    def exception(self, event: str, **fields: Any) -> None:
        """An error, with the traceback of the exception that is being handled."""
        self._write(logging.ERROR, event, {"exc_info": True, **fields})

    def critical(self, event: str, **fields: Any) -> None:
        self._write(logging.CRITICAL, event, fields)

    def _write(self, level: int, event: str, fields: dict[str, Any]) -> None:
        """Hand the standard logger a readable line, and the fields as they are."""
        if not self._logger.isEnabledFor(level):
            return
        told = {**self._bound, **fields}
        exc_info = told.pop("exc_info", None)
        shown = {name: value for name, value in told.items() if name != "stack"}
        line = f"{event} {_pairs(shown)}" if shown else event
        if stack := told.get("stack"):
            # With lines of its own, whoever writes the record.
            line = f"{line}\n  {_printable(stack.rstrip(), lines=True)}"
        extra = {"treadle": {**told, "event": event}}
        # The record names who wrote the event, not this class.
        try:
            self._logger.log(level, line, exc_info=exc_info, extra=extra, stacklevel=3)
        except Exception:  # noqa: BLE001 - of a handler: no job is to suffer for it
            if logging.raiseExceptions:
                traceback.print_exc()


def _pairs(fields: Mapping[str, Any]) -> str:
    """Fields as ``key=value``."""
    return " ".join(f"{name}={value!r}" for name, value in fields.items())


def get_logger(name: str = "treadle", **bound: Any) -> Logger:
    """A logger whose methods take an event name and fields.

    Args:
        name: of the standard logger, below ``treadle``.
        bound: fields that every event of it carries.
    """
    return Logger(name, bound)


def tell_where(where: Callable[[], Mapping[str, Any]]) -> None:
    """Set what says in which job code runs: its fields, or none."""
    global _where
    _where = where


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields of an event; of what others log, the job in which their code runs."""
    fields: Mapping[str, Any] | None = getattr(record, "treadle", None)
    return dict(_where() if fields is None else fields)


class JobFilter(logging.Filter):
    """Gives each record the attributes ``job``, ``task`` and ``attempt``; lets all of them pass.

    For handlers of your own: ``handler.addFilter(JobFilter())``, and ``%(job)s`` in the format.
    Outside of jobs, and where the code has set them itself, they are as they were, or ``"-"``.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        fields = fields_of(record)
        for name in ("job", "task", "attempt"):
            if not hasattr(record, name):
                setattr(record, name, fields.get(name, "-"))
        return True


def configure(*, level: str = "info", layout: str = "console") -> None:
    """Log to standard error, for programs whose purpose is a foreman.

    Args:
        level: the lowest level to show.
        layout: ``console``, a readable line, or ``json``, one object a line.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_Json() if layout == "json" else _Line())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


class _Line(logging.Formatter):
    """``12:03:10 warning job.failed job=… error=…``; control characters are escaped."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).astimezone()
        fields = fields_of(record)
        stack = fields.pop("stack", None)
        event = fields.pop("event", None)
        text = record.getMessage() if event is None else event
        if fields:
            text = f"{text} {_pairs(fields)}"
        line = f"{at:%H:%M:%S} {record.levelname.lower():8} {_printable(text)}"
        if stack is not None:
            line = f"{line}\n{_printable(stack.rstrip(), lines=True)}"
        if record.exc_info:
            line = f"{line}\n{_printable(self.formatException(record.exc_info), lines=True)}"
        return line


class _Json(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        try:
            return plain_json(msgspec.json.encode(fields, enc_hook=repr).decode())
        except (TypeError, ValueError):  # halves of characters, keys that are no text
            shown = {name: _printable(str(value), lines=True) for name, value in fields.items()}
            return msgspec.json.encode(shown).decode()


def plain_json(text: str) -> str:
    """JSON that says the same in characters that no terminal obeys."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else dumps(char)[1:-1] for char in text)


def _printable(text: str, *, lines: bool = False) -> str:
    """Text that no name of a job or message of an error can break in two, colour or turn around.

    Args:
        text: of anybody.
        lines: what has lines of its own, such as a traceback, keeps them. All but the first are
            set in, so that none looks like an event.
    """
    kept = "\n\t" if lines else ""
    shown = "".join(
        char if char.isprintable() or char in kept else repr(char)[1:-1] for char in text
    )
    return shown.replace("\n", "\n  ") if lines else shown
