"""A connection that only reads."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from treadle.backends.sqlite.database import BUSY_MS, connect, translate
from treadle.backends.sqlite.disk import moved
from treadle.backends.sqlite.statements import Statements
from treadle.backends.sqlite.tx import Reading
from treadle.clock import Clock

__all__ = ["Reader"]

T = TypeVar("T")


class Reader:
    """Looks at the database, for one thread at a time. Connects at the first look.

    Args:
        busy_ms: how long to wait for a lock. Readers of a write-ahead log meet one only while the
            log is rebuilt after a crash.
    """

    def __init__(self, path: str, sql: Statements, clock: Clock, *, busy_ms: int = BUSY_MS) -> None:
        self.connection: sqlite3.Connection | None = None
        self._path = path
        self._sql = sql
        self._clock = clock
        self._busy_ms = busy_ms
        self._lock = threading.Lock()

    def look(self, look: Callable[[Reading], T], *, single: bool = False) -> T:
        """What a look finds; all its statements see the same moment.

        Args:
            look: what to look at.
            single: it has but one statement, and needs nothing to hold several together.

        Raises:
            BackendStalled: there is a lock, for longer than it may be waited for.
        """
        with self._lock, translate(self._path):
            connection = self._connected()
            reading = Reading(connection, self._sql, self._clock.now())
            if single:
                return look(reading)
            connection.execute("BEGIN")
            try:
                return look(reading)
            finally:
                connection.execute("ROLLBACK")

    def open(self) -> None:
        """Connect now: with its last connection a database loses its log, which takes time."""
        with self._lock, translate(self._path):
            self._connected()

    def _connected(self) -> sqlite3.Connection:
        if self.connection is None:
            # Whoever reads makes no file: an empty one would stand where the jobs are put back.
            if not Path(self._path).exists():
                raise moved(self._path, "was removed")
            self.connection = connect(self._path, busy_ms=self._busy_ms, make=False)
            self.connection.execute("PRAGMA query_only = ON")
        return self.connection

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            if self.connection is not None:
                self.connection.close()
                self.connection = None
