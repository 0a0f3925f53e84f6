"""The connection that writes: transactions, checkpoints, and what to do when the disk is full."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

from treadle.backends.common.settings import Settings
from treadle.backends.sqlite.address import Address
from treadle.backends.sqlite.database import connect, install, meaning
from treadle.backends.sqlite.disk import Ballast, Identity, prepare
from treadle.backends.sqlite.log import Log
from treadle.backends.sqlite.statements import Statements
from treadle.backends.sqlite.tx import Memo, Tx
from treadle.errors import BackendReadOnly, BackendUnavailable, NotOpen, SchemaMismatch

__all__ = ["CHECKPOINT_BYTES", "Journal"]

CHECKPOINT_BYTES = 16 << 20
"""Use of the write-ahead log above which it is written back into the database."""
_CHECKPOINT_BUSY_MS = 100
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Journal:
    """What the writer's thread needs of the database; used inside the gate only."""

    def __init__(
        self, address: Address, namespace: str, sql: Statements, settings: Settings
    ) -> None:
        self.path = address.path
        self.full = False
        self._log = Log(address.path + "-wal")
        self._address = address
        self._namespace = namespace
        self._sql = sql
        self.settings = settings
        self._memo = Memo()
        self._connection: sqlite3.Connection | None = None
        self._identity: Identity | None = None
        self._ballast = Ballast(address.path)
        self._durable: bool | None = None
        self._seen = -1
        self._next_checkpoint = CHECKPOINT_BYTES

    @property
    def opened(self) -> bool:
        """Whether the database was opened."""
        return self._connection is not None

    @property
    def ready(self) -> bool:
        """Whether it is open and there is space, so that nothing but the operation takes time."""
        return self._connection is not None and not self.full

    @property
    def connection(self) -> sqlite3.Connection:
        """The open connection; kept alive by force after a fork."""
        if self._connection is None:
            raise NotOpen(f"{self.path!r} is not open")
        return self._connection

    # ------------------------------------------------------------- opening and closing

    def prepare(self) -> None:
        """Check the place, and make an empty file there when there is none.

        Raises:
            SchemaMismatch: there is none, and the URL says that nothing is to be made.
        """
        if not (self._address.install or Path(self.path).exists()):
            raise SchemaMismatch(
                f"there is no file {self.path!r}, and the url says install=never; run 'treadle db "
                "install'",
                backend=self.path,
            )
        prepare(self.path)

    def place(self) -> None:
        """Check the place for somebody else who will write there."""
        if self._identity is None:
            self.prepare()
        else:
            self._identity.check()

    def furnish(self) -> None:
        """Make the tables for somebody else who is inside the gate."""
        if self._connection is None:
            install(self._address, self._namespace)

    def drop_grants(self, job_ids: Iterable[str]) -> None:
        """Somebody else has ended these leases. From any thread."""
        self._memo.grants.drop(job_ids)

    def open(self) -> None:
        """Make what is missing and connect, or see that the file is still the same."""
        if self._identity is not None:
            self._identity.check()
            return
        install(self._address, self._namespace)
        self._connection = connect(self.path)
        self._identity = Identity(self.path)
        self.full = not self._ballast.lay()

    def close(self) -> None:
        """Write the log back and disconnect."""
        if self._connection is None:
            return
        with contextlib.suppress(sqlite3.Error):
            self._checkpoint()
        self._log.close()
        self._connection.close()
        self._connection = None

    def meaning(self, error: BaseException) -> BaseException:
        """The error as the library says it."""
        if isinstance(error, sqlite3.Error):
            return meaning(error, self.path)
        if isinstance(error, OSError) and error.errno in _REFUSED:
            return BackendReadOnly(f"{self.path!r} cannot be written: {error}", backend=self.path)
        if isinstance(error, OSError):
            return BackendUnavailable(f"{self.path!r}: {error}", backend=self.path)
        return error

    # ------------------------------------------------------------- transactions

    def begin(self, *, durable: bool) -> Tx:
        """Begin to write. A commit that is not durable outlives this process, not a power loss."""
        connection = self.connection
        durable = durable and self._address.durability == "full"
        if durable != self._durable:
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        connection.execute("BEGIN IMMEDIATE")
        seen = connection.execute("PRAGMA data_version").fetchone()[0]
        if seen != self._seen:
            self._seen = seen
            self._memo.forget()
        return Tx(connection, self._sql, self.settings, self._memo)

    def commit(self, tx: Tx) -> None:
        """Make it last."""
        tx.finish()
        self.connection.execute("COMMIT")
        if tx.must_sync and not self._durable and self._address.durability == "full":
            self._log.sync()

    @property
    def must_tidy(self) -> bool:
        """Whether the log is long enough to be written back."""
        return self._log.reaches(self._next_checkpoint)

    def tidy(self) -> None:
        """Write a long log back into the database."""
        if self.must_tidy:
            self._checkpoint()

    def roll_back(self) -> None:
        """Undo what was begun."""
        self._memo.forget()
        if self._connection is not None and self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def spare(self, now: float, stalled: float) -> None:
        """Give leases that lapsed while nobody could write as much time again.

        Those who hold them could not renew them. Whoever comes first would else take all of
        them for lost, a moment before their heartbeats arrive.
        """
        try:
            tx = self.begin(durable=False)
            for name in ("spare_leases", "spare_permits"):
                tx.run(name, now + stalled, now - stalled, now)
            self.commit(tx)
        except sqlite3.Error:  # no space: they lapse
            self.roll_back()

    # ------------------------------------------------------------- checkpoints

    def _checkpoint(self) -> None:
        connection = self.connection
        # The space of the log counts only where there is none left.
        mode = "TRUNCATE" if self.full else "RESTART"
        # Under the gate only a reader can be in the way, and not for long.
        connection.execute(f"PRAGMA busy_timeout = {_CHECKPOINT_BUSY_MS}")
        try:
            found = connection.execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
        finally:
            connection.execute("PRAGMA busy_timeout = 30000")
        if found[0]:
            # Not all could be written back: let the log grow a quarter before the next attempt.
            self._next_checkpoint += CHECKPOINT_BYTES // 4
        else:
            self._next_checkpoint = CHECKPOINT_BYTES

    # ------------------------------------------------------------- full disks

    def give_space(self, error: sqlite3.Error) -> bool:
        """Give up the ballast when an error was for want of space; whether to try again."""
        if self.full or getattr(error, "sqlite_errorcode", 0) & 0xFF != sqlite3.SQLITE_FULL:
            return False
        self._ballast.drop()
        self.full = True
        return True

    def regain_space(self) -> None:
        """See whether there is space for the ballast again."""
        if self.full and _free(self.path) >= 2 * Ballast.SIZE and self._ballast.lay():
            self.full = False


def _free(path: str) -> int:
    if not hasattr(os, "statvfs"):
        return 1 << 62
    found = os.statvfs(Path(path).parent)
    return found.f_bavail * found.f_frsize
