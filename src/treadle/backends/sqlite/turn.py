"""The turn at the gate of somebody who waits for it no longer than he may."""

from __future__ import annotations

import threading

from treadle.backends.sqlite.gate import gate_of, stalled
from treadle.clock import SystemClock

__all__ = ["Turn"]


class Turn:
    """One passage through the gate of a database.

    ``flock`` cannot be given up once it waits. So a thread of its own does, where the gate is not
    open at once; when the patience is over, it goes back by itself as soon as it has come in.

    Args:
        path: of the database.
        patience: seconds that another process may stay inside.
    """

    def __init__(self, path: str, patience: float) -> None:
        self._path = path
        self._patience = patience
        self._gate = gate_of(path + "-lock", SystemClock(), lambda: None)
        self._lock = threading.Lock()
        self._inside = threading.Event()
        self._given_up = False

    def take_at_once(self) -> bool:
        """Come in if nobody is inside; whether that is so."""
        return self._gate.enter_at_once()

    def take(self) -> None:
        """Come in, in the order of arrival.

        Raises:
            BackendStalled: another process has been inside for longer than the patience.
        """
        threading.Thread(target=self._wait, name="treadle-sqlite-turn", daemon=True).start()
        if self._inside.wait(self._patience):
            return
        with self._lock:
            if self._inside.is_set():
                return
            self._given_up = True
            raise stalled(self._path, self._gate.holder(), self._patience)

    def _wait(self) -> None:
        self._gate.enter()
        with self._lock:
            if not self._given_up:
                self._inside.set()
                return
        self.end()

    def end(self) -> None:
        """Let the next one in."""
        self._gate.leave()
        self._gate.close()
