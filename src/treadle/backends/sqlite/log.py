"""How far the write-ahead log is filled, and bringing it to the disk."""

from __future__ import annotations

import os
import struct

__all__ = ["Log"]

_HEADER = 32
_FRAME_HEADER = 24
_SALTS = 8
_SALTS_OF_FRAME = 8
_SALTS_OF_LOG = 16
_PAGE_SIZE = struct.Struct(">8xI")


class Log:
    """The write-ahead log of a database that is open.

    It is never cut off: overwriting blocks that the file has already is brought to the disk in
    half the time that appending takes. So its size says nothing of how far it is filled, but its
    frames do: each carries two numbers, the salts, which are drawn anew whenever the log begins
    from the start again (https://sqlite.org/fileformat2.html#the_write_ahead_log).
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._file = -1

    def reaches(self, size: int) -> bool:
        """Whether what is in use of the log is at least so many bytes."""
        file = self._opened()
        if file < 0:
            return False
        header = os.pread(file, _HEADER, 0)
        if len(header) < _HEADER:
            return False
        (page,) = _PAGE_SIZE.unpack_from(header)
        frame = max(0, (size - _HEADER) // (_FRAME_HEADER + page) - 1)
        at = _HEADER + frame * (_FRAME_HEADER + page) + _SALTS_OF_FRAME
        return os.pread(file, _SALTS, at) == header[_SALTS_OF_LOG : _SALTS_OF_LOG + _SALTS]

    def sync(self) -> None:
        """Bring it to the disk."""
        os.fsync(self._opened())

    def close(self) -> None:
        """Give up the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _opened(self) -> int:
        if self._file < 0:
            try:
                self._file = os.open(self._path, os.O_RDWR | getattr(os, "O_CLOEXEC", 0))
            except FileNotFoundError:
                return -1
        return self._file
