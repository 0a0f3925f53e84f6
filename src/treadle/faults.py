"""Errors as data: what is known of an exception, without its class."""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType

import msgspec

__all__ = ["Fault", "capture", "rebuild"]

_MESSAGE = 4 << 10
_TRACEBACK = 16 << 10
_WHOLE = 64 << 10
_CAUSES = 8
_FRAMES = 40
_OURS = str(Path(__file__).parent)


class Fault(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An error as it is stored and shown."""

    # Qualified name of the class, "package.module.Name"; without the module for a builtin one.
    type: str
    # What str() of the error gave.
    message: str = ""
    # The formatted traceback, bounded.
    traceback: str = ""
    # The chain of __cause__ and __context__ and the members of a group, nearest first.
    causes: tuple[Fault, ...] = ()
    # __notes__ of the error (PEP 678).
    notes: tuple[str, ...] = ()


def capture(error: BaseException) -> Fault:
    """What is known of an error. Never raises, whatever the error does when it is looked at.

    Args:
        error: any exception. Its local variables are not kept.
    """
    return _Capture().of(error)


def rebuild(fault: Fault, allowed: Iterable[type[BaseException]]) -> BaseException | None:
    """The error as it was raised, when its class is one of those allowed.

    Nothing is imported and no constructor of a subclass runs: the error is made as pickle would
    make it, with the message as its only argument.

    Args:
        fault: the error as data.
        allowed: classes that may be rebuilt.

    Returns:
        The error, or ``None`` when its class is not allowed.
    """
    for kind in allowed:
        if issubclass(kind, BaseException) and _name(kind) == fault.type:
            error = kind.__new__(kind, fault.message)
            error.args = (fault.message,)
            for note in fault.notes:
                error.add_note(note)
            if fault.traceback:
                error.add_note(f"As it was raised:\n{fault.traceback.rstrip()}")
            return error
    return None


class _Capture:
    """One walk through an error and what led to it."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._left = _WHOLE

    def of(self, error: BaseException, depth: int = 0) -> Fault:
        self._seen.add(id(error))
        text = self._spend(_clean(_formatted(error)), _TRACEBACK, keep_end=True)
        return Fault(
            type=_name(type(error)),
            message=self._spend(_clean(_message(error)), _MESSAGE),
            traceback=text,
            causes=tuple(self._causes(error, depth)),
            notes=tuple(self._spend(_clean(note), _MESSAGE) for note in _notes(error)),
        )

    def _causes(self, error: BaseException, depth: int) -> Iterator[Fault]:
        if depth >= _CAUSES:
            return
        for cause in _behind(error)[:_CAUSES]:
            if id(cause) not in self._seen and self._left > 0:
                yield self.of(cause, depth + 1)

    def _spend(self, text: str, most: int, *, keep_end: bool = False) -> str:
        most = max(0, min(most, self._left))
        if len(text) > most:
            mark = "… cut …"
            rest = max(0, most - len(mark))
            text = mark + text[len(text) - rest :] if keep_end else text[:rest] + mark
        self._left -= len(text)
        return text


def _behind(error: BaseException) -> list[BaseException]:
    found: list[BaseException] = []
    if isinstance(error, BaseExceptionGroup):
        found += error.exceptions
    if error.__cause__ is not None:
        found.append(error.__cause__)
    elif error.__context__ is not None and not error.__suppress_context__:
        found.append(error.__context__)
    return found


def _name(kind: type) -> str:
    module, name = kind.__module__, kind.__qualname__
    return name if module == "builtins" else f"{module}.{name}"


def _message(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException as broken:  # noqa: BLE001 - the error's own text may raise anything
        return f"<str() of the error raised {type(broken).__name__}>"


def _notes(error: BaseException) -> list[str]:
    notes = getattr(error, "__notes__", None)
    return [note for note in notes if isinstance(note, str)] if isinstance(notes, list) else []


def _formatted(error: BaseException) -> str:
    """The traceback from the first frame that is not ours, without what led to the error."""
    try:
        frames = traceback.StackSummary.extract(
            traceback.walk_tb(_from_the_users(error.__traceback__)),
            limit=-_FRAMES,
            lookup_lines=True,
        )
        lines = ["Traceback (most recent call last):\n", *frames.format()] if frames else []
    except BaseException as broken:  # noqa: BLE001 - a source file that cannot be read, no memory
        lines = [f"<the traceback could not be formatted: {type(broken).__name__}>\n"]
    return "".join(lines) + f"{_name(type(error))}: {_message(error)}\n"


def _from_the_users(frames: TracebackType | None) -> TracebackType | None:
    first = frames
    while first is not None and first.tb_frame.f_code.co_filename.startswith(_OURS):
        first = first.tb_next
    return first or frames


def _clean(text: str) -> str:
    """Text that every store can hold: no lone surrogates, no NUL."""
    try:
        text.encode()
    except UnicodeEncodeError:
        text = text.encode(errors="backslashreplace").decode()
    return text.replace("\0", "\\0")
