"""What an actor has begun and ended, in memory of its machine that outlives it.

A process that is killed takes with it what it knows. Its place has to know which call had begun,
because only that one may have had effects, and what had ended and was not told yet.
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, NamedTuple

__all__ = ["Findings", "Journal", "Report", "exhumed"]

# What became of a call: it returned, it raised, it was passed over, its future ended before it did.
VALUE: Final = 1
ERROR: Final = 2
SKIPPED: Final = 3
LEFT: Final = 4
# What is not an end, and not written down: a call tells of itself, something was logged.
SAID: Final = 5
LOG: Final = 6
_BEGUN: Final = 0

_HEAD = struct.Struct("<BQdI")
_PREFIX = "treadle-journal-"
_SLACK = 256 << 10
"""Bytes it may grow by before what may be forgotten is taken out of it."""
_LARGEST = 64 << 10
"""Bytes of a result from which it is not written down: it would cost more than it may save."""


class Report(NamedTuple):
    """What became of one call, or what it says meanwhile."""

    number: int
    tag: int
    # Seconds in which its code ran.
    took: float
    body: bytes = b""
    # Large parts of the value, which Ray carries without copying.
    buffers: tuple[Any, ...] = ()

    @property
    def is_end(self) -> bool:
        """Whether the call is over."""
        return self.tag <= LEFT


class Findings(NamedTuple):
    """What a journal says of its actor."""

    begun: frozenset[int]
    ended: dict[int, Report]


class Journal:
    """A file that is appended to, and made anew without what its reader is known to know.

    Whenever its process is killed, it says of every call that was not forgotten what became of it.
    Of those that were it may say so too. Safe from any thread.

    Args:
        slack: bytes it may grow by before it is made anew.
    """

    def __init__(self, slack: int = _SLACK) -> None:
        self._folder = _folder()
        _tidy(self._folder)
        self._descriptor, self.path = self._fresh()
        self._lock = threading.Lock()
        # The call that runs, or 0.
        self._current = 0
        # What has ended and was not forgotten.
        self._ended: dict[int, Report] = {}
        self._slack = slack
        self._size = 0
        self._limit = slack

    def _fresh(self) -> tuple[int, str]:
        return tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=self._folder)

    def begin(self, number: int) -> None:
        """A call begins."""
        with self._lock:
            self._current = number
            self._size += os.write(self._descriptor, _begun(number))

    def end(self, report: Report) -> None:
        """A call has ended."""
        with self._lock:
            self._current = 0
            self._ended[report.number] = report
            self._size += os.write(self._descriptor, _entry(report))

    def forget(self, numbers: Iterable[int]) -> None:
        """The reader has said that it knows what became of these calls."""
        with self._lock:
            for number in numbers:
                self._ended.pop(number, None)
            if self._size > self._limit:
                self._make_anew()

    def _make_anew(self) -> None:
        kept = [_entry(report) for report in self._ended.values()]
        if self._current:
            kept.append(_begun(self._current))
        data = b"".join(kept)
        # A file that is emptied and filled again says nothing in between, and that may be the end.
        descriptor, path = self._fresh()
        with open(descriptor, "wb", closefd=False) as file:
            file.write(data)
        Path(path).replace(self.path)
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._size = len(data)
        self._limit = 2 * self._size + self._slack

    def remove(self) -> None:
        """Nobody will ask for it."""
        with self._lock:
            self._limit = sys.maxsize
            Path(self.path).unlink(missing_ok=True)


def exhumed(path: str) -> Findings | None:
    """What a journal says, which is removed; ``None`` when it is not on this machine."""
    try:
        data = Path(path).read_bytes()
    except OSError:
        return None
    Path(path).unlink(missing_ok=True)
    begun: set[int] = set()
    ended: dict[int, Report] = {}
    at = 0
    while len(data) - at >= _HEAD.size:
        tag, number, took, length = _HEAD.unpack_from(data, at)
        following = at + _HEAD.size + length
        if following > len(data):  # killed while it wrote
            break
        begun.add(number)
        if tag != _BEGUN:
            ended[number] = Report(number, tag, took, data[at + _HEAD.size : following])
        at = following
    return Findings(frozenset(begun), ended)


def _begun(number: int) -> bytes:
    return _HEAD.pack(_BEGUN, number, 0.0, 0)


def _entry(report: Report) -> bytes:
    number, tag, took, body, buffers = report
    if buffers or len(body) > _LARGEST:
        return _begun(number)
    return _HEAD.pack(tag, number, took, len(body)) + body


def _folder() -> str:
    memory = "/dev/shm"
    return memory if os.access(memory, os.W_OK) else tempfile.gettempdir()


def _tidy(folder: str) -> None:
    """Remove what actors left whose place died with them."""
    for file in Path(folder).glob(f"{_PREFIX}*"):
        pid = file.name[len(_PREFIX) :].partition("-")[0]
        try:
            if pid.isdecimal() and file.stat().st_uid == os.getuid():
                os.kill(int(pid), 0)
        except ProcessLookupError:
            file.unlink(missing_ok=True)
        except OSError:  # it is another one's, or gone
            continue
