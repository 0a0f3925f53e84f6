"""A page shared with the supervisor: what a foreman process was doing when it died.

A file mapped by both. The foreman writes without locks or system calls; the supervisor reads
after the death, when nobody writes any more. Whatever the moment of death, the page tells which
leases were held and which of their jobs had started, so that the blame falls on those alone and
their leases need not lapse first.

Layout: a header with the nonce of the session, then one slot per place: a flag, the fence, the
length of the job id, the id. The flag is written last when a slot is filled and first when it is
emptied, so that a slot is never read half-written.
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

from treadle.records import Token

__all__ = ["Page"]

_HEADER = struct.Struct("=Q")
_SLOT = struct.Struct("=xxxxxxxQH")
_ID_MAX = 238
_SIZE = 256
_FREE, _LEASED, _STARTED = 0, 1, 2


class Page:
    """The page of one foreman process.

    Args:
        path: of the file, made by :meth:`create`.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)
        self._slots = (len(self._map) - _SIZE) // _SIZE
        self._free = list(range(self._slots))
        self._used: dict[Token, int] = {}

    @classmethod
    def create(cls, path: Path, places: int) -> None:
        """Make an empty page for so many places."""
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.ftruncate(descriptor, _SIZE * (places + 1))
        finally:
            os.close(descriptor)

    def open(self, nonce: int) -> None:
        """A session begins."""
        _HEADER.pack_into(self._map, 0, nonce)

    def lease(self, token: Token) -> None:
        """A lease is held. Nothing is noted when all slots are taken or the id is too long."""
        name = token.job_id.encode()
        if not self._free or len(name) > _ID_MAX:
            return
        slot = self._free.pop()
        self._used[token] = slot
        at = (slot + 1) * _SIZE
        _SLOT.pack_into(self._map, at + 1, token.fence, len(name))
        start = at + 1 + _SLOT.size
        self._map[start : start + len(name)] = name
        self._map[at] = _LEASED

    def started(self, token: Token) -> None:
        """The code of the job is about to run."""
        slot = self._used.get(token)
        if slot is not None:
            self._map[(slot + 1) * _SIZE] = _STARTED

    def ended(self, token: Token) -> None:
        """The lease is settled."""
        slot = self._used.pop(token, None)
        if slot is not None:
            self._map[(slot + 1) * _SIZE] = _FREE
            self._free.append(slot)

    def read(self) -> tuple[int, list[tuple[Token, bool]]]:
        """The nonce of the last session, 0 for none, and its leases: had they started?"""
        (nonce,) = _HEADER.unpack_from(self._map, 0)
        leases: list[tuple[Token, bool]] = []
        for slot in range(self._slots):
            at = (slot + 1) * _SIZE
            if self._map[at] == _FREE:
                continue
            fence, length = _SLOT.unpack_from(self._map, at + 1)
            start = at + 1 + _SLOT.size
            name = self._map[start : start + length].decode(errors="replace")
            leases.append((Token(name, fence, nonce), self._map[at] == _STARTED))
        return nonce, leases

    @classmethod
    def take(cls, path: Path) -> tuple[int, list[tuple[Token, bool]]]:
        """What the page of a dead process says. The file is removed."""
        page = cls(path)
        said = page.read()
        page.close()
        path.unlink()
        return said

    def close(self) -> None:
        """Unmap."""
        self._map.close()
