"""Wake-ups where processes cannot send each other datagrams: the file is looked at."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Sequence

from treadle.backends.common.hub import Notice
from treadle.backends.sqlite.database import connect
from treadle.events import Event

__all__ = ["Poll"]

_SHORTEST = 0.05
_LONGEST = 0.2
_ANYTHING = Notice(changed=None, stirred=True)


class Poll:
    """Notices that another process committed, while somebody here waits.

    It takes the place of :class:`~treadle.backends.sqlite.peers.Peers`, without events.
    """

    def __init__(
        self, path: str, waited_for: Callable[[], bool], heard: Callable[[Notice], object]
    ):
        self._path = path
        self._waited_for = waited_for
        self._heard = heard
        self._wake = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._closed = False

    hears = False

    def tell(self, notice: Notice) -> None:
        """Others look by themselves."""

    def publish(self, events: Sequence[Event]) -> None:
        """Events stay in their process."""

    def listen(self, *, watch: bool = False, room: bool = False, events: bool = False) -> None:
        """Look from now on."""
        with self._wake:
            if self._closed:
                return
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._look, name="treadle-sqlite-wake", daemon=True
                )
                self._thread.start()
            self._wake.notify()

    def unwatch(self, *, room: bool = False) -> None:
        """The thread sees by itself that nobody waits."""

    def _look(self) -> None:
        connection = connect(self._path)
        try:
            self._loop(connection)
        finally:
            connection.close()

    def _loop(self, connection: sqlite3.Connection) -> None:
        pause = _SHORTEST
        seen = -1
        while True:
            with self._wake:
                while not self._waited_for() and not self._closed:
                    self._wake.wait()
                    pause, seen = _SHORTEST, -1
                if self._closed:
                    return
                # Nothing can wake it when another process commits: that is what it polls for.
                self._wake.wait(pause)
            now = connection.execute("PRAGMA data_version").fetchone()[0]
            if now == seen:
                pause = min(_LONGEST, pause * 1.5)
            else:
                seen, pause = now, _SHORTEST
                self._heard(_ANYTHING)

    def close(self) -> None:
        """Look no more."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
