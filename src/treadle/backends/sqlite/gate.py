"""One writer at a time, in order of arrival, across the processes of a machine.

SQLite's own lock is taken by whoever polls at the right moment: with eight processes one of them
did 12,000 jobs while another did one. ``flock`` queues the waiters, so each has its turn.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from treadle.clock import Clock

try:
    import fcntl
except ImportError:
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileGate", "Gate", "NoGate", "gate_of"]


class Gate(Protocol):
    """Mutual exclusion between processes."""

    def enter(self) -> None:
        """Wait for the turn."""
        ...

    def leave(self) -> None:
        """Let the next one in."""
        ...

    def waited(self) -> float:
        """Seconds that :meth:`enter` has been waiting; 0 when it is not."""
        ...

    def holder(self) -> int:
        """Process id of who is inside, 0 when unknown."""
        ...

    def close(self) -> None:
        """Give up the file."""
        ...


class FileGate:
    """``flock`` on a file beside the database.

    Args:
        path: the lock file, made when it is missing.
        clock: measures the waiting; the machine's, because it is about other processes.
        waiting: called whenever :meth:`enter` has to wait, for who watches over it.
    """

    def __init__(self, path: str, clock: Clock, waiting: Callable[[], object]) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_RDWR | getattr(os, "O_CLOEXEC", 0), 0o600)
        self._clock = clock
        self._waiting = waiting
        self._since: float | None = None
        self._name = b"%-12d\n" % os.getpid()

    def enter(self) -> None:
        """Wait for the turn, for as long as it takes."""
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._since = self._clock.monotonic()
            self._waiting()
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX)
            finally:
                self._since = None
        os.pwrite(self._file, self._name, 0)

    def leave(self) -> None:
        """Let the next one in."""
        fcntl.flock(self._file, fcntl.LOCK_UN)

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


class NoGate:
    """Where there is no ``flock``: the writer takes SQLite's lock with its own busy timeout."""

    def enter(self) -> None:
        """Nothing to wait for."""

    def leave(self) -> None:
        """Nobody to let in."""

    def waited(self) -> float:
        """Never."""
        return 0.0

    def holder(self) -> int:
        """Unknown."""
        return 0

    def close(self) -> None:
        """Nothing to give up."""


def gate_of(path: str, clock: Clock, waiting: Callable[[], object]) -> Gate:
    """The gate that this machine can have."""
    return NoGate() if fcntl is None else FileGate(path, clock, waiting)
