"""A file in memory that processes of one machine share, changed under a lock and as a whole.

The lock is ``flock``: the kernel frees it when its holder dies. What a step writes is first laid
down in a journal, so that a process killed in the middle of it leaves either nothing or what the
next one completes.
"""

from __future__ import annotations

import mmap
import os
import stat
import struct
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from treadle.errors import InvalidOption, SchemaMismatch, Unsupported
from treadle.pools.limiting.processes import boot

__all__ = ["BODY", "Region"]

_MAGIC = b"treadle limits 1"
_BOOT = struct.Struct("36s")
_LENGTH = struct.Struct("<I")
_ENTRY = struct.Struct("<II")
_AT_BOOT = len(_MAGIC)
_AT_LENGTH = 60
_AT_JOURNAL = 64
_JOURNAL = 16 * 1024
BODY = _AT_JOURNAL + _JOURNAL
"""Where the records begin; everything before belongs to the region."""


class Region:
    """Bytes shared by processes. A step is ``with region:``; inside it, read and write.

    Args:
        path: the file; made when it is missing.
        size: bytes of the records.

    Raises:
        Unsupported: this system has no such locks.
        InvalidOption: the file is not ours.
        SchemaMismatch: it is something else, or of another version.
    """

    def __init__(self, path: Path, size: int) -> None:
        try:
            from fcntl import LOCK_EX, LOCK_UN, flock
        except ImportError:
            raise Unsupported(
                "limits cannot be shared by processes on this system", feature="flock"
            ) from None
        self._flock, self._take, self._free = flock, LOCK_EX, LOCK_UN
        self.path = path
        self._size = BODY + size
        self._thread = threading.Lock()
        self._writes: dict[int, bytes] = {}
        self._file = self._opened()
        try:
            self._flock(self._file, self._take)
            self._prepare()
            self._bytes = mmap.mmap(self._file, self._size)
            self._flock(self._file, self._free)
        except BaseException:
            os.close(self._file)
            raise

    def _opened(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            file = os.open(self.path, flags, 0o600)
        except OSError as error:
            raise InvalidOption(
                f"shared: {self.path} cannot be opened: {error.strerror}",
                option="shared",
                value=str(self.path),
            ) from error
        facts = os.fstat(file)
        if stat.S_ISREG(facts.st_mode) and facts.st_uid == os.geteuid():
            return file
        os.close(file)
        raise InvalidOption(
            f"shared: {self.path} is not a file of this user; choose another name",
            option="shared",
            value=str(self.path),
        )

    def _prepare(self) -> None:
        """Make it empty when it is new, or of a time before the machine was started."""
        boot_id = boot().encode()
        head = os.pread(self._file, _AT_JOURNAL, 0)
        if head.strip(b"\0") and not head.startswith(_MAGIC):
            raise SchemaMismatch(
                f"{self.path} holds no limits of this version; choose another name"
            )
        of_now = head[_AT_BOOT : _AT_BOOT + _BOOT.size] == _BOOT.pack(boot_id)
        if of_now and os.fstat(self._file).st_size == self._size:
            return
        os.ftruncate(self._file, 0)
        os.ftruncate(self._file, self._size)
        os.pwrite(self._file, _MAGIC + _BOOT.pack(boot_id), 0)

    def reopen(self) -> None:
        """In a forked child: a lock of its own, for the parent's would let both in."""
        os.close(self._file)
        self._file = self._opened()
        self._thread = threading.Lock()
        self._writes = {}

    def close(self) -> None:
        """Let go of the file."""
        self._bytes.close()
        os.close(self._file)

    # ------------------------------------------------------------- a step

    def __enter__(self) -> Self:
        self._thread.acquire()
        try:
            self._flock(self._file, self._take)
        except BaseException:
            self._thread.release()
            raise
        if self._bytes[_AT_LENGTH : _AT_LENGTH + 4] != b"\0\0\0\0":
            self._complete()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            writes = self._writes
            if writes:
                self._writes = {}
                if error is None:
                    self._commit(writes)
        finally:
            self._flock(self._file, self._free)
            self._thread.release()

    def read(self, at: int, size: int) -> bytes:
        """A record, as this step has left it."""
        return self._writes.get(at) or self._bytes[at : at + size]

    def write(self, at: int, record: bytes) -> None:
        """Change a record, always a whole one, once the step ends well."""
        self._writes[at] = record

    def peek(self, at: int) -> int:
        """One byte, as it is now; outside of a step, too."""
        return self._bytes[at]

    def _commit(self, writes: dict[int, bytes]) -> None:
        journal = b"".join([_ENTRY.pack(at, len(record)) + record for at, record in writes.items()])
        length, memory = len(journal), self._bytes
        if length > _JOURNAL:
            raise AssertionError(f"a step of {length} bytes")
        memory[_AT_JOURNAL : _AT_JOURNAL + length] = journal
        _LENGTH.pack_into(memory, _AT_LENGTH, length)
        for at, record in writes.items():
            memory[at : at + len(record)] = record
        _LENGTH.pack_into(memory, _AT_LENGTH, 0)

    def _complete(self) -> None:
        """Do again what somebody was killed at."""
        memory = self._bytes
        (length,) = _LENGTH.unpack_from(memory, _AT_LENGTH)
        at, end = _AT_JOURNAL, _AT_JOURNAL + length
        while at < end:
            where, size = _ENTRY.unpack_from(memory, at)
            at += _ENTRY.size
            memory[where : where + size] = memory[at : at + size]
            at += size
        _LENGTH.pack_into(memory, _AT_LENGTH, 0)
