"""Memory that a place and its child share, for what must be known without a message.

A child that is killed tells nothing any more, and one that is busy hears nothing: what it has
begun, and what it is asked to, stands here.
"""

from __future__ import annotations

import mmap
import os
import pickle
from typing import Any, Final

from treadle.pools.places.process.parcel import nameless

__all__ = ["RING", "WINDOW", "Board"]

WINDOW: Final = 512
"""Calls that a child may have been sent and not reported."""

_SIZE = mmap.PAGESIZE
# Words of eight bytes.
_BEGUN, _AWAITING, _RESIDENT, _ASKED, _ENDING, _STOPPING, _REASON = range(7)
# A byte for each call: more than may be sent, because urgent ones come on top.
RING: Final = 2 * WINDOW
_SKIPS = 64
_TEXT = _SKIPS + RING


class Board:
    """A page of memory. One side writes each field.

    Args:
        descriptor: of memory that exists already, or none.
    """

    def __init__(self, descriptor: int | None = None) -> None:
        fresh = nameless("treadle-board") if descriptor is None else descriptor
        if descriptor is None:
            os.ftruncate(fresh, _SIZE)
        self._descriptor: int | None = fresh
        self._map = mmap.mmap(fresh, _SIZE)
        self._bytes = memoryview(self._map)
        self._words = self._bytes[:_SKIPS].cast("Q")

    @property
    def descriptor(self) -> int:
        """For the one who shares it."""
        assert self._descriptor is not None
        return self._descriptor

    def close_descriptor(self) -> None:
        """It is shared; the memory stays."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def close(self) -> None:
        """Let go of the memory."""
        self.close_descriptor()
        self._words.release()
        self._bytes.release()
        self._map.close()

    # ------------------------------------------------------------- the child writes

    def begin(self, number: int) -> bool:
        """Say that a call begins; False when it is to be passed over."""
        self._words[_BEGUN] = number
        return self._bytes[_SKIPS + number % RING] == 0

    def become_coroutine(self, number: int) -> None:
        """Say that a call is a coroutine, which can be cancelled; 0 when it is none any more."""
        self._words[_AWAITING] = number

    def tell_resident(self, size: int) -> None:
        """Say how much memory the child uses."""
        self._words[_RESIDENT] = size

    @property
    def asked(self) -> int:
        """The number of the call that is to end, or 0."""
        return self._words[_ASKED]

    @property
    def ending(self) -> int:
        """The number of the call that has to end now, or 0."""
        return self._words[_ENDING]

    @property
    def reason(self) -> BaseException | None:
        """Why it is to end, where that could be told."""
        length = self._words[_REASON]
        if not length:
            return None
        found: Any = pickle.loads(self._bytes[_TEXT : _TEXT + length])
        return found if isinstance(found, BaseException) else None

    @property
    def stopping(self) -> bool:
        """Whether long work should find a good place to end."""
        return bool(self._words[_STOPPING])

    # ------------------------------------------------------------- the place writes

    @property
    def begun(self) -> int:
        """The number of the last call that has begun."""
        return self._words[_BEGUN]

    @property
    def awaiting(self) -> int:
        """The number of the call that is a coroutine, or 0."""
        return self._words[_AWAITING]

    @property
    def resident(self) -> int:
        """Bytes that the child uses, as far as it told."""
        return self._words[_RESIDENT]

    def skip(self, number: int) -> bool:
        """Have a call passed over; False when it has begun."""
        self._bytes[_SKIPS + number % RING] = 1
        return self._words[_BEGUN] < number

    def unskip(self, number: int) -> None:
        """Its turn has passed; the next call with its field is another one."""
        self._bytes[_SKIPS + number % RING] = 0

    def ask(self, number: int, reason: BaseException) -> None:
        """Ask a call to end."""
        try:
            text = pickle.dumps(reason)
        except Exception:  # noqa: BLE001 - a reason that cannot travel is none
            text = b""
        if len(text) <= _SIZE - _TEXT:
            self._bytes[_TEXT : _TEXT + len(text)] = text
            self._words[_REASON] = len(text)
        self._words[_ASKED] = number

    def end(self, number: int) -> None:
        """Have a call end, whatever it does."""
        self._words[_ENDING] = number

    def stop(self) -> None:
        """Say that long work should find a good place to end."""
        self._words[_STOPPING] = 1
