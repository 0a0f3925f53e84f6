"""Errors as data: what is known of an exception, without its class."""

from __future__ import annotations

import ast
import linecache
from collections.abc import Collection
from types import FrameType, TracebackType
from typing import Any

import msgspec

from treadle.errors import JobFailed

__all__ = ["Fault", "capture", "rebuild", "type_name"]

_MESSAGE = 8 << 10
_TRACEBACK = 16 << 10
_WHOLE = 60 << 10  # with the framing of the fields it stays under 64 KiB
_NAME = 300
_OVERHEAD = 32
_MEMBERS = 16
_NOTES = 16
_DEPTH = 16
_FIRST_FRAMES, _LAST_FRAMES = 8, 32
_MARK = "\n… cut …\n"
# What calls a task: our own modules, and those of the standard library between them.
_PLUMBING = frozenset({"treadle", "asyncio", "concurrent", "contextlib", "threading"})
_NOT_PLUMBING = "treadle.demo"


class Fault(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """An error as it is stored and shown."""

    # Qualified name of the class, "package.module.Name"; without the module for a builtin one.
    type: str
    # What str() of the error gave.
    message: str = ""
    # The formatted traceback, bounded.
    traceback: str = ""
    # What led to it (__cause__, else __context__), then the members of a group; each has its own.
    causes: tuple[Fault, ...] = ()
    # __notes__ of the error (PEP 678).
    notes: tuple[str, ...] = ()


def capture(error: BaseException) -> Fault:
    """What is known of an error, in 64 KiB at most.

    Never raises, whatever the error does when it is looked at. Local variables are not kept.
    The traceback starts at the first frame that is the user's.
    """
    try:
        return _Capture().of(error, 0)
    except Exception as problem:  # noqa: BLE001  no memory, no stack: say at least so much
        return Fault(type=type(error).__name__, message=f"<not captured: {type(problem).__name__}>")


def rebuild(fault: Fault, allowed: Collection[type[BaseException]]) -> BaseException | None:
    """The error as it was raised, when its class is one of those allowed.

    Nothing is imported and no code of the class runs to make it: its message is its only
    argument, other attributes are missing. Its ``__cause__`` is a ``JobFailed`` with the fault.

    Returns:
        The error, or ``None`` when its class is not allowed or cannot be made this way.
    """
    for kind in allowed:
        if type_name(kind) == fault.type and not issubclass(kind, BaseExceptionGroup):
            return _made(kind, fault)
    return None


def _made(kind: type[BaseException], fault: Fault) -> BaseException | None:
    # The constructor of the builtin base, because that of the class may do anything.
    base: Any = next(base for base in kind.__mro__ if base.__module__ == "builtins")
    error: BaseException = base.__new__(kind)
    error.args = (_key(fault.message) if issubclass(kind, KeyError) else fault.message,)
    for note in fault.notes:
        BaseException.add_note(error, note)
    error.__cause__ = JobFailed(f"{fault.type}: {fault.message}", fault=fault)
    try:
        str(error)
    except Exception:  # noqa: BLE001  its text needs an attribute that only its constructor sets
        return None
    return error


def _key(message: str) -> Any:
    """The key of a KeyError, whose text is the key's repr."""
    if len(message) > _NAME:
        return message  # reading a long one as Python takes long
    try:
        return ast.literal_eval(message)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return message


class _Capture:
    """One walk through an error and what led to it, with a bound on the bytes."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._left = _WHOLE

    def of(self, error: BaseException, depth: int) -> Fault:
        self._seen.add(id(error))
        self._left -= _OVERHEAD
        kind = self._spend(type_name(type(error)), _NAME)
        said = _text(error)
        message = self._spend(said, _MESSAGE)
        ends = f"{kind}: {message}" if message else kind
        stack = _stack(error)
        shown = self._spend(f"{stack}{ends}\n", _TRACEBACK, keep_end=True)
        notes = tuple(self._spend(_text(note), _MESSAGE) for note in _notes(error))
        return Fault(
            type=kind,
            message=message,
            traceback=shown,
            notes=notes,
            causes=self._causes(error, depth + 1),
        )

    def _causes(self, error: BaseException, depth: int) -> tuple[Fault, ...]:
        found: list[Fault] = []
        for cause in _behind(error):
            if depth <= _DEPTH and self._left > _NAME and id(cause) not in self._seen:
                found.append(self.of(cause, depth))  # noqa: PERF401  each looks at what is left
        return tuple(found)

    def _spend(self, text: str, most: int, *, keep_end: bool = False) -> str:
        """The text, within both bounds, as something that every store can hold."""
        most = max(0, min(most, self._left))
        # No character takes less than a byte: what is longer need not be encoded whole.
        raw = _encoded(_cut(text, most, keep_end=keep_end))
        if len(raw) > most:
            raw = _cut_bytes(raw, most, keep_end=keep_end)
        self._left -= len(raw)
        return raw.decode(errors="ignore")


def _cut(text: str, most: int, *, keep_end: bool) -> str:
    if len(text) <= most:
        return text
    rest = max(0, most - len(_MARK.encode()))
    head = rest // 4 if keep_end else rest
    return f"{text[:head]}{_MARK}{text[len(text) - (rest - head) :]}"


def _cut_bytes(raw: bytes, most: int, *, keep_end: bool) -> bytes:
    mark = _MARK.encode()
    rest = max(0, most - len(mark))
    head = rest // 4 if keep_end else rest
    return (raw[:head] + mark + raw[len(raw) - (rest - head) :])[:most]


def _encoded(text: str) -> bytes:
    try:
        raw = text.encode()
    except UnicodeEncodeError:
        raw = text.encode(errors="backslashreplace")
    return raw.replace(b"\0", b"\\0")


def _behind(error: BaseException) -> list[BaseException]:
    cause = error.__cause__
    if cause is None and not error.__suppress_context__:
        cause = error.__context__
    found = [cause] if isinstance(cause, BaseException) else []
    if issubclass(type(error), BaseExceptionGroup):
        members: tuple[BaseException, ...] = getattr(error, "exceptions", ())
        found += members[:_MEMBERS]
    return found


def type_name(kind: type) -> str:
    """The qualified name of a class; without the module for a builtin one."""
    module = getattr(kind, "__module__", "builtins")
    return kind.__qualname__ if module == "builtins" else f"{module}.{kind.__qualname__}"


def _text(value: object) -> str:
    try:
        return str.__str__(str(value))
    except KeyboardInterrupt:
        raise
    except BaseException as broken:  # noqa: BLE001  the text of an error may raise anything
        return f"<str() of it raised {type(broken).__name__}>"


def _notes(error: BaseException) -> list[object]:
    notes: Any = error.__dict__.get("__notes__")
    return list(notes[:_NOTES]) if type(notes) in (list, tuple) else []


def _stack(error: BaseException) -> str:
    """The frames as Python prints them, without the marks under the lines, which cost most."""
    frames = _frames(error.__traceback__)
    if not frames:
        return ""
    lines = ["Traceback (most recent call last):\n"]
    skipped = len(frames) - _FIRST_FRAMES - _LAST_FRAMES
    if skipped > 0:
        lines += map(_line, frames[:_FIRST_FRAMES])
        lines.append(f"  … {skipped:,} more frames …\n")
        frames = frames[-_LAST_FRAMES:]
    lines += map(_line, frames)
    return "".join(lines)


def _frames(start: TracebackType | None) -> list[tuple[FrameType, int]]:
    frames: list[tuple[FrameType, int]] = []
    while start is not None:
        frames.append((start.tb_frame, start.tb_lineno))
        start = start.tb_next
    first = 0
    while first < len(frames) and _is_plumbing(frames[first][0]):
        first += 1
    return frames[first:] or frames


def _is_plumbing(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__")
    return (
        isinstance(module, str)
        and module.partition(".")[0] in _PLUMBING
        and not module.startswith(_NOT_PLUMBING)
    )


def _line(at: tuple[FrameType, int]) -> str:
    frame, number = at
    code = frame.f_code
    head = f'  File "{code.co_filename}", line {number}, in {code.co_name}\n'
    try:
        source = linecache.getline(code.co_filename, number or 0, frame.f_globals).strip()
    except Exception:  # noqa: BLE001  a loader may fail in any way
        source = ""
    return f"{head}    {source}\n" if source else head
