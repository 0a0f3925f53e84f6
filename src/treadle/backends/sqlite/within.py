"""What a caller writes through in a transaction of the store: one connection, one user at a time.

SQLite lets threads share a connection, but a thread that ends the transaction of another in the
middle of a statement could meet Python's own code in between. So each use of the connection takes
its lock, and looks whether the transaction is still there.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NoReturn, Self, TypeVar

from treadle.backends.sqlite.database import BUSY_MS, settle_in
from treadle.errors import UsageError

__all__ = ["Connection", "Cursor", "open_connection"]

T = TypeVar("T")


class Cursor(sqlite3.Cursor):
    """Statements and their rows."""

    def _use(self, step: Callable[..., T], *args: Any) -> T:
        with self._ours.used():
            return step(*args)

    @property
    def _ours(self) -> Connection:
        connection = self.connection
        assert isinstance(connection, Connection), "a connection makes its cursors"
        return connection

    def execute(self, *args: Any) -> Self:
        """Carry out a statement."""
        return self._use(super().execute, *args)

    def executemany(self, *args: Any) -> Self:
        """Carry out a statement for many rows."""
        return self._use(super().executemany, *args)

    def executescript(self, *args: Any) -> NoReturn:
        """Refused: it would commit first."""
        self._ours.refuse("executescript()")

    def fetchone(self) -> Any:
        """The next row."""
        return self._use(super().fetchone)

    def fetchmany(self, size: int | None = None) -> list[Any]:
        """The next rows."""
        return self._use(super().fetchmany, self.arraysize if size is None else size)

    def fetchall(self) -> list[Any]:
        """All rows that are left."""
        return self._use(super().fetchall)

    def __next__(self) -> Any:
        return self._use(super().__next__)


class Connection(sqlite3.Connection):
    """A connection whose block commits; everything else is as in :mod:`sqlite3`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lock = threading.RLock()
        # Whose transaction it is; the store fills it in.
        self.unit: Any = None
        # Raises when the transaction is over.
        self.check: Callable[[], None] = _fine
        # The store itself begins, commits and rolls back.
        self.free = False
        self.set_authorizer(self._allow)

    def cursor(self, factory: Any = Cursor) -> Any:
        """A cursor that looks whether the transaction is still there."""
        return super().cursor(factory)

    # By way of the cursor, which sqlite3 leaves out.

    def execute(self, *args: Any) -> Any:
        """Carry out a statement."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:
        """Carry out a statement for many rows."""
        return self.cursor().executemany(*args)

    @contextmanager
    def used(self) -> Iterator[None]:
        """A block in which nobody else uses it."""
        with self.lock:
            self.check()
            yield

    @contextmanager
    def ours(self) -> Iterator[None]:
        """A block in which the store uses it, whatever the caller has set."""
        with self.lock:
            before = self.row_factory, self.text_factory
            self.row_factory, self.text_factory = None, str
            self.check, check = _fine, self.check
            self.free = True
            try:
                yield
            finally:
                self.free = False
                self.check = check
                self.row_factory, self.text_factory = before

    def _allow(self, action: int, *_: Any) -> int:
        if action == sqlite3.SQLITE_TRANSACTION and not self.free:
            return sqlite3.SQLITE_DENY
        return sqlite3.SQLITE_OK

    # ------------------------------------------------------------- what the block does

    def refuse(self, what: str) -> NoReturn:
        """Say who ends the transaction."""
        raise UsageError(
            f"{what} would end a transaction that is not ended here: leave the block that gave the "
            "connection to commit, or raise in it to roll back; savepoints are free to use"
        )

    def commit(self) -> NoReturn:
        """Refused: the block commits."""
        self.refuse("commit()")

    def rollback(self) -> NoReturn:
        """Refused: the block rolls back when it raises."""
        self.refuse("rollback()")

    def close(self) -> NoReturn:
        """Refused: the block closes it."""
        self.refuse("close()")

    def executescript(self, *args: Any) -> NoReturn:
        """Refused: it would commit first."""
        self.refuse("executescript()")

    def __enter__(self) -> NoReturn:
        self.refuse("'with connection:'")

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> NoReturn:
        self.refuse("'with connection:'")

    def shut(self) -> None:
        """Close it, by the store."""
        with self.lock:
            super().close()


def _fine() -> None:
    """Nothing is wrong."""


def open_connection(path: str, *, durable: bool) -> Connection:
    """A connection for the rows of a caller. Constraints on foreign keys are checked."""
    connection = sqlite3.connect(
        path,
        timeout=BUSY_MS / 1000,
        isolation_level=None,
        check_same_thread=False,
        # Each text is prepared anew, so that each is looked at: see ``_allow``.
        cached_statements=0,
        factory=Connection,
    )
    try:
        with connection.ours():
            settle_in(connection)
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            connection.execute("PRAGMA foreign_keys = ON")
    except BaseException:
        connection.shut()
        raise
    return connection
