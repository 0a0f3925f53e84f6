"""One writer at a time, in order of arrival, across the processes of a machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Protocol

from treadle.backends.sqlite.flock import FileGate
from treadle.clock import Clock
from treadle.errors import BackendStalled

__all__ = ["Gate", "NoGate", "gate_of", "stalled"]


class Gate(Protocol):
    """Mutual exclusion between processes."""

    def enter(self) -> float:
        """Wait for the turn; the seconds that it took."""
        ...

    def enter_at_once(self) -> bool:
        """Have the turn if nobody has it; whether that is so."""
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


class NoGate:
    """Where there is no ``flock``: the writer takes SQLite's lock with its own busy timeout."""

    def enter(self) -> float:
        """Nothing to wait for."""
        return 0.0

    def enter_at_once(self) -> bool:
        """Nobody knows, so it is left to who can wait."""
        return False

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
    try:
        return FileGate(path, clock, waiting)
    except ImportError:
        return NoGate()


def stalled(path: str, pid: int, patience: float) -> BackendStalled:
    """The error of who has waited for too long.

    Args:
        path: of the database.
        pid: of who is inside.
        patience: seconds.
    """
    if pid == os.getpid():
        text = (
            f"a transaction on {path!r} in this process has been open for {patience:g} s. Inside "
            "of one, enqueue with task.options(within=connection), and wait for nothing else that "
            "writes to the same file."
        )
    else:
        text = (
            f"process {pid} has held {path!r} for {patience:g} s and does not go on. It may be "
            "stopped or hang: continue or end it."
        )
    return BackendStalled(text, backend=path, pid=pid)
