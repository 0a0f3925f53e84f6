"""Identifiers and chance, injected. Nothing else in the library makes random numbers.

Job ids are UUIDs of version 7 (RFC 9562): 48 bits of milliseconds, a 12-bit counter that
keeps the ids of one process in order within a millisecond, 62 random bits. They sort by the
time they were made, which keeps the index of a store compact, and cannot be guessed.
"""

from __future__ import annotations

import os
import random
import threading
import weakref
from typing import Protocol

from treadle.clock import Clock, SystemClock

__all__ = ["Chance", "Ids", "SystemIds"]

_COUNTER = 1 << 12
_VARIANT = 0x8000_0000_0000_0000
_RANDOM = (1 << 62) - 1


class Chance(Protocol):
    """The part of :class:`random.Random` that the library uses."""

    def random(self) -> float: ...
    def uniform(self, a: float, b: float, /) -> float: ...
    def getrandbits(self, k: int, /) -> int: ...


class Ids(Protocol):
    """Where ids, nonces and chance come from. Safe to use from any thread."""

    chance: Chance

    def new(self) -> str:
        """A new id in the 36 characters of a UUID; larger than all before it in this process."""
        ...

    def nonce(self) -> int:
        """64 random bits as a positive number below 2**63, to tell two sessions apart."""
        ...


class SystemIds:
    """Ids from the clock and a random source.

    Args:
        clock: gives the milliseconds.
        chance: the random source; by default the operating system's.
    """

    def __init__(self, clock: Clock | None = None, chance: Chance | None = None) -> None:
        self.chance: Chance = chance or _BufferedRandom()
        self._clock = clock or SystemClock()
        self._lock = threading.Lock()
        self._last = 0  # milliseconds << 12 | counter
        _forgetful.add(self)

    def new(self) -> str:
        """A new id; larger than all before it in this process."""
        ticks = int(self._clock.now() * 1000) * _COUNTER
        with self._lock:
            # A clock that stands still or goes back only makes the counter run on.
            if ticks <= self._last:
                ticks = self._last + 1
            self._last = ticks
        low = f"{_VARIANT | (self.chance.getrandbits(62) & _RANDOM):x}"
        high = f"{ticks:015x}"
        return f"{high[:8]}-{high[8:12]}-7{high[12:]}-{low[:4]}-{low[4:]}"

    def nonce(self) -> int:
        """64 random bits without the sign, so that every store has a column for them."""
        return self.chance.getrandbits(63)

    def forget(self) -> None:
        """In a forked child: another thread may have held the lock when we forked."""
        self._lock = threading.Lock()


class _BufferedRandom(random.Random):
    """The operating system's randomness, read a page at a time because a call costs 1 µs.

    A forked child must not give out what its parent has in the buffer.
    """

    def __init__(self) -> None:
        self._pages = b""
        self._at = 0
        self._lock = threading.Lock()
        super().__init__()
        _forgetful.add(self)

    def seed(self, *args: object, **kwargs: object) -> None:
        """Nothing to seed."""

    def random(self) -> float:
        return (self.getrandbits(56) >> 3) * 2.0**-53

    def getrandbits(self, k: int, /) -> int:
        size = (k + 7) // 8
        with self._lock:
            piece = self._pages[self._at : self._at + size]
            if len(piece) < size:
                self._pages, self._at = os.urandom(4096), 0
                piece = self._pages[:size]
            self._at += size
        return int.from_bytes(piece, "big") >> (size * 8 - k)

    def forget(self) -> None:
        self._lock = threading.Lock()  # another thread may have held it when we forked
        self._pages, self._at = b"", 0


_forgetful: weakref.WeakSet[SystemIds | _BufferedRandom] = weakref.WeakSet()


def _after_fork() -> None:
    for source in list(_forgetful):
        source.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
