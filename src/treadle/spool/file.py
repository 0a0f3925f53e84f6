"""The file of a spool: one table of encoded jobs in the order of their enqueue."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

import msgspec

from treadle.backends.sqlite.database import connect, translate
from treadle.backends.sqlite.disk import Identity, prepare
from treadle.backends.sqlite.turn import Turn
from treadle.errors import BackendFull, SchemaMismatch
from treadle.records import NewJob
from treadle.spool.entry import Entry, Place

__all__ = ["SpoolFile"]

_APPLICATION_ID = 0x54726453  # "TrdS"
_VERSION = 1
_SCHEMA = """
CREATE TABLE IF NOT EXISTS spooled (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL,
    url TEXT NOT NULL,
    namespace TEXT NOT NULL,
    task TEXT NOT NULL,
    queue TEXT NOT NULL,
    at REAL NOT NULL,
    sent REAL,
    reason TEXT NOT NULL DEFAULT '',
    job BLOB NOT NULL,
    UNIQUE (url, namespace, id)
);
CREATE INDEX IF NOT EXISTS spooled_line ON spooled (url, namespace, number) WHERE reason = '';
"""
_INSTALL = f"""
BEGIN IMMEDIATE;
{_SCHEMA}
PRAGMA application_id = {_APPLICATION_ID};
PRAGMA user_version = {_VERSION};
COMMIT;
"""
_COLUMNS = "number, id, task, queue, url, namespace, at, sent, reason"
_OF = "url = ? AND namespace = ?"
_LINE = f"{_OF} AND reason = ''"
_BATCH, _BATCH_BYTES = 200, 1 << 20
_PATIENCE = 10.0


class SpoolFile:
    """Jobs that wait for their store. Safe to use from any thread and from several processes.

    What a method has changed is on the disk when it returns.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._identity: Identity | None = None

    def open(self) -> None:
        """Make the file where it is missing.

        Raises:
            BackendError: it cannot be used; says why.
        """
        with self._lock:
            if self._writer is not None:
                return
            prepare(self.path)
            with _turn(self.path), translate(self.path):
                writer = connect(self.path)
                try:
                    _install(writer, self.path)
                    self._reader = _reading(self.path)
                except BaseException:
                    writer.close()
                    raise
            self._identity = Identity(self.path)
            self._writer = writer

    def close(self) -> None:
        """Give up the file. It is opened again when it is needed."""
        with self._lock, self._reading:
            for connection in (self._writer, self._reader):
                if connection is not None:
                    connection.close()
            self._writer = self._reader = None

    def forget(self) -> None:
        """In a forked child: the connections are the parent's."""
        _of_parents.append((self._writer, self._reader))
        self._lock, self._reading = threading.Lock(), threading.Lock()
        self._writer = self._reader = None

    # ------------------------------------------------------------ a producer

    def add(
        self, place: Place, jobs: Sequence[NewJob], *, at: float, sent: float | None, most: int
    ) -> tuple[list[bool], bool]:
        """Put jobs at the end of the line, all or none.

        Returns:
            For each of them whether it is new, and whether nothing waited before.

        Raises:
            BackendFull: the file would hold more than ``most`` jobs.
        """
        with self._writing() as connection:
            first = not _waits(connection, place)
            # What was refused gives way to a new enqueue of its id.
            gone = f"DELETE FROM spooled WHERE {_OF} AND id = ? AND reason != ''"
            connection.executemany(gone, [(*_key(place), job.id) for job in jobs])
            new = [self._insert(connection, place, job, at, sent) for job in jobs]
            (held,) = connection.execute("SELECT count(*) FROM spooled").fetchone()
            if held > most:
                raise BackendFull(
                    f"the spool {self.path!r} holds {held - sum(new):,} jobs, its bound is "
                    f"{most:,} (spool_max=)",
                    backend=self.path,
                )
            return new, first

    @staticmethod
    def _insert(
        connection: sqlite3.Connection, place: Place, job: NewJob, at: float, sent: float | None
    ) -> bool:
        row = (job.id, *_key(place), job.task, job.queue, at, sent, msgspec.msgpack.encode(job))
        text = (
            "INSERT OR IGNORE INTO spooled (id, url, namespace, task, queue, at, sent, job) "
            "VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        )
        return connection.execute(text, row).rowcount == 1

    def waits(self, place: Place) -> bool:
        """Whether a job waits for this place. Never waits for a writer."""
        with self._read() as connection:
            return _waits(connection, place)

    # ------------------------------------------------------------ a forwarder

    def head(self, place: Place) -> list[tuple[Entry, NewJob | None]]:
        """The first jobs of the line, as many as go together; ``None`` for one that is damaged."""
        found: list[tuple[Entry, NewJob | None]] = []
        size = 0
        with self._read() as connection:
            text = f"SELECT {_COLUMNS}, job FROM spooled WHERE {_LINE} ORDER BY number LIMIT ?"
            with closing(connection.execute(text, (*_key(place), _BATCH))) as rows:
                for *columns, job in rows:
                    size += len(job)
                    if found and size > _BATCH_BYTES:
                        break
                    found.append((_entry(columns), _decoded(job)))
        return found

    def mark(self, numbers: Sequence[int], sent: float | None) -> None:
        """Keep in mind since when jobs may have been accepted; ``None`` for certainly not."""
        with self._writing() as connection:
            text = "UPDATE spooled SET sent = ? WHERE number = ?"
            connection.executemany(text, [(sent, number) for number in numbers])

    def forwarded(self, numbers: Sequence[int]) -> None:
        """Take jobs out that the store has accepted."""
        with self._writing() as connection:
            text = "DELETE FROM spooled WHERE number = ?"
            connection.executemany(text, [(number,) for number in numbers])

    def refuse(self, number: int, reason: str) -> None:
        """Set a job aside that the store will not have."""
        with self._writing() as connection:
            text = "UPDATE spooled SET reason = ? WHERE number = ?"
            connection.execute(text, (reason or "no reason was given", number))

    # ------------------------------------------------------------ people

    def find(self, place: Place, job_id: str) -> Entry | None:
        """The job of an id, if it is here. Never waits for a writer."""
        with self._read() as connection:
            text = f"SELECT {_COLUMNS} FROM spooled WHERE {_OF} AND id = ?"
            row = connection.execute(text, (*_key(place), job_id)).fetchone()
        return None if row is None else _entry(row)

    def entries(self, *, refused: bool | None = None, limit: int = -1) -> list[Entry]:
        """The jobs of all places, oldest first; only those that were refused, or the others."""
        condition = "" if refused is None else f"WHERE (reason != '') = {int(refused)}"
        text = f"SELECT {_COLUMNS} FROM spooled {condition} ORDER BY number LIMIT ?"
        with self._read() as connection:
            return [_entry(row) for row in connection.execute(text, (limit,))]

    def again(self, ids: Sequence[str]) -> int:
        """Let jobs that were refused wait again; how many. All of them when ``ids`` is empty.

        Somebody has decided that: it does not matter any more whether they were accepted once.
        """
        return self._change("UPDATE spooled SET reason = '', sent = NULL WHERE reason != ''", ids)

    def move(self, url: str, place: Place) -> int:
        """Have jobs that wait for another URL forwarded to this place; how many."""
        with self._writing() as connection:
            text = "UPDATE OR IGNORE spooled SET url = ? WHERE url = ? AND namespace = ?"
            return connection.execute(text, (place.url, url, place.namespace)).rowcount

    def drop(self, ids: Sequence[str], *, refused: bool) -> int:
        """Remove jobs; how many. All of them when ``ids`` is empty, or all that were refused."""
        return self._change(
            "DELETE FROM spooled WHERE " + ("reason != ''" if refused else "true"), ids
        )

    def _change(self, text: str, ids: Sequence[str]) -> int:
        with self._writing() as connection:
            if not ids:
                return connection.execute(text).rowcount
            one = f"{text} AND id = ?"
            return sum(connection.execute(one, (job_id,)).rowcount for job_id in ids)

    # ------------------------------------------------------------ connections

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        self.open()
        with self._lock, translate(self.path):
            connection, identity = self._writer, self._identity
            assert connection is not None, "it is open"
            assert identity is not None, "it is open"
            identity.check()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
            except BaseException:
                connection.execute("ROLLBACK")
                raise
            connection.execute("COMMIT")

    @contextmanager
    def _read(self) -> Iterator[sqlite3.Connection]:
        if self._reader is None:
            self.open()
        with self._reading, translate(self.path):
            assert self._reader is not None, "it is open"
            yield self._reader


_of_parents: list[Any] = []
"""Connections of the parent, kept in a forked child: closing them would drop the parent's locks."""


@contextmanager
def _turn(path: str) -> Iterator[None]:
    """One process at a time makes the file."""
    turn = Turn(path, _PATIENCE)
    if not turn.take_at_once():
        turn.take()
    try:
        yield
    finally:
        turn.end()


def _install(connection: sqlite3.Connection, path: str) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner != _APPLICATION_ID and (owner or tables):
        raise SchemaMismatch(
            f"{path!r} is a database, but no spool. Give the spool a file of its own.",
            backend=path,
        )
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > _VERSION:
        raise SchemaMismatch(
            f"the spool {path!r} is of version {version}; this version of treadle knows "
            f"{_VERSION}. Let the newer one forward its jobs.",
            backend=path,
        )
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 1000")
    if version < _VERSION:
        connection.executescript(_INSTALL)


def _reading(path: str) -> sqlite3.Connection:
    connection = connect(path)
    connection.execute("PRAGMA query_only = ON")
    return connection


def _key(place: Place) -> tuple[str, str]:
    return place.url, place.namespace


def _waits(connection: sqlite3.Connection, place: Place) -> bool:
    text = f"SELECT EXISTS (SELECT 1 FROM spooled WHERE {_LINE})"
    return bool(connection.execute(text, _key(place)).fetchone()[0])


def _entry(row: Sequence[Any]) -> Entry:
    number, job_id, task, queue, url, namespace, at, sent, reason = row
    return Entry(
        number=number, id=job_id, task=task, queue=queue, url=url, namespace=namespace,
        at=at, sent=sent, reason=reason,
    )  # fmt: skip


def _decoded(data: bytes) -> NewJob | None:
    try:
        return msgspec.msgpack.decode(data, type=NewJob)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
