"""The gate of machines that have ``flock``.

SQLite's own lock is taken by whoever polls at the right moment: with eight processes one of them
did 12,000 jobs while another did one. ``flock`` queues the waiters, so each has its turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from treadle.clock import Clock

__all__ = ["FileGate"]


class FileGate:
    """``flock`` on a file beside the database.

    Args:
        path: the lock file, made when it is missing.
        clock: measures the waiting; the machine's, because it is about other processes.
        waiting: called whenever :meth:`enter` has to wait, for who watches over it.

    Raises:
        ImportError: this system has no such locks.
    """

    def __init__(self, path: str, clock: Clock, waiting: Callable[[], object]) -> None:
        from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock

        flags = os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(path, flags, 0o600)
        self._flock = partial(flock, self._file)
        self._take, self._try, self._free = LOCK_EX, LOCK_EX | LOCK_NB, LOCK_UN
        self._clock = clock
        self._waiting = waiting
        self._since: float | None = None
        self._name = b"%-12d\n" % os.getpid()

    def enter(self) -> float:
        """Wait for the turn, for as long as it takes; the seconds that it took."""
        took = 0.0
        try:
            self._flock(self._try)
        except BlockingIOError:
            self._since = self._clock.monotonic()
            self._waiting()
            try:
                self._flock(self._take)
                took = self.waited()
            finally:
                self._since = None
        os.pwrite(self._file, self._name, 0)
        return took

    def enter_at_once(self) -> bool:
        """Have the turn if nobody has it; whether that is so."""
        try:
            self._flock(self._try)
        except BlockingIOError:
            return False
        os.pwrite(self._file, self._name, 0)
        return True

    def leave(self) -> None:
        """Let the next one in."""
        self._flock(self._free)

    def waited(self) -> float:
        """Seconds that :meth:`enter` has been waiting; 0 when it is not."""
        since = self._since
        return 0.0 if since is None else self._clock.monotonic() - since

    def holder(self) -> int:
        """Process id of who is inside."""
        text = os.pread(self._file, 12, 0).strip()
        return int(text) if text.isdigit() else 0

    def close(self) -> None:
        """Give up the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
