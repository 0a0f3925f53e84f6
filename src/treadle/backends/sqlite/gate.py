"""One writer at a time, in order of arrival, across the processes of a machine."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from treadle.backends.sqlite.flock import FileGate
from treadle.clock import Clock

__all__ = ["Gate", "NoGate", "gate_of"]


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
    try:
        return FileGate(path, clock, waiting)
    except ImportError:
        return NoGate()
