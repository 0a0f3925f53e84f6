"""Identifiers and chance, injected. Nothing else in the library makes random numbers.

Job ids are UUIDs of version 7 (RFC 9562): 48 bits of milliseconds, a 12-bit counter that
keeps the ids of one process in order within a millisecond, 62 random bits. They sort by the
time they were made, which keeps the index of a store compact, and cannot be guessed.
"""

from __future__ import annotations

import os
import random
import re
import threading
import weakref
from hashlib import sha256
from typing import Protocol

from treadle.clock import Clock, SystemClock

__all__ = ["Chance", "Ids", "SystemIds", "derived_id"]

_HEAD = re.compile("[0-9a-f]{8}-[0-9a-f]{4}")
# Ids of one millisecond.
_COUNT_MAX = 1 << 12
# Ids whose random half is made at once, because a call for random bits costs more than its bits.
_TAILS = 64
_BITS = 64
# Of the first digit of each random half two bits say which kind of UUID it is, two are random.
_TAKEN = int("c000000000000000" * _TAILS, 16)
_VARIANT = int("8000000000000000" * _TAILS, 16)


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
        self._millisecond = -1
        # Of the last id in its millisecond.
        self._count = 0
        # The text of the millisecond, which many ids have in common.
        self._head = ""
        self._tails: list[str] = []
        _forgetful.add(self)

    def new(self) -> str:
        """A new id; larger than all before it in this process."""
        now = int(self._clock.now() * 1000)
        with self._lock:
            count = self._count + 1
            # A clock that stands still or goes back only makes the counter run on.
            if now > self._millisecond or count == _COUNT_MAX:
                count = 0
                self._millisecond = max(now, self._millisecond + 1)
                text = f"{self._millisecond:012x}"
                self._head = f"{text[:8]}-{text[8:]}-7"
            self._count = count
            head = self._head
            if not self._tails:
                self._tails = self._random_tails()
            tail = self._tails.pop()
        return f"{head}{count:03x}-{tail[:4]}-{tail[4:]}"

    def _random_tails(self) -> list[str]:
        bits = self.chance.getrandbits(_TAILS * _BITS) & ~_TAKEN | _VARIANT
        return bits.to_bytes(_TAILS * _BITS // 8, "big").hex(",", _BITS // 8).split(",")

    def nonce(self) -> int:
        """64 random bits without the sign, so that every store has a column for them."""
        return self.chance.getrandbits(63)

    def forget(self) -> None:
        """In a forked child: the lock may have been held, and the parent has the same tails."""
        self._lock = threading.Lock()
        self._tails = []


def derived_id(parent: str, said: bytes) -> str:
    """An id that is the same whenever the same is said; of an age with that of its parent."""
    digits = sha256(said).hexdigest()
    head = parent[:13] if _HEAD.fullmatch(parent[:13]) else f"{digits[-12:-4]}-{digits[-4:]}"
    return f"{head}-8{digits[:3]}-a{digits[3:6]}-{digits[6:18]}"


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
