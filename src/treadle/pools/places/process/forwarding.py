"""Log records and warnings of a child, passed on to its parent with the name of its place."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import msgspec

from treadle.logs import fields_of

__all__ = ["forward", "replay"]


class _Record(msgspec.Struct, array_like=True):
    name: str
    level: int
    message: str
    created: float
    file: str
    line: int
    function: str
    thread: str
    pid: int
    # The formatted traceback.
    trouble: str | None
    # The fields of a structured event.
    fields: dict[str, Any]


_ENCODER = msgspec.msgpack.Encoder(enc_hook=repr)
_DECODER = msgspec.msgpack.Decoder(_Record)
_FORMATTER = logging.Formatter()


class _Forwarder(logging.Handler):
    def __init__(self, tell: Callable[[bytes], None]) -> None:
        super().__init__()
        self._tell = tell

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(_encoded(record))
        except Exception:  # noqa: BLE001 - what logging does with all handlers
            self.handleError(record)


def _encoded(record: logging.LogRecord) -> bytes:
    trouble = record.exc_text
    if trouble is None and record.exc_info:
        trouble = _FORMATTER.formatException(record.exc_info)
    return _ENCODER.encode(
        _Record(
            name=record.name,
            level=record.levelno,
            message=_sound(record.getMessage()),
            created=record.created,
            file=_sound(record.pathname),
            line=record.lineno,
            function=record.funcName or "",
            thread=record.threadName or "",
            pid=record.process or 0,
            trouble=None if trouble is None else _sound(trouble),
            fields={str(key): value for key, value in fields_of(record).items()},
        )
    )


def _sound(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def forward(level: int, tell: Callable[[bytes], None]) -> None:
    """Pass on what is logged in this process from a level on, and what it is warned of."""
    root = logging.getLogger()
    root.handlers[:] = [_Forwarder(tell)]
    root.setLevel(level)
    logging.captureWarnings(True)


def replay(body: bytes, place: str) -> None:
    """Log a record of a child here, as of a process named like its place."""
    told = _DECODER.decode(body)
    logger = logging.getLogger(told.name)
    if not logger.isEnabledFor(told.level):
        return
    record = logger.makeRecord(
        told.name, told.level, told.file, told.line, "%s", (told.message,), None, told.function,
        extra={"place": place, **({"treadle": told.fields} if told.fields else {})},
    )  # fmt: skip
    record.created = told.created
    record.threadName = told.thread
    record.process = told.pid
    record.processName = place
    record.exc_text = told.trouble
    logger.handle(record)
