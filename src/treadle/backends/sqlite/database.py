"""Connections, the schema, and what SQLite's errors mean here."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path

from treadle.backends.common.tables import Migration, check, steps
from treadle.backends.sqlite.address import Address
from treadle.backends.sqlite.statements import placed, prefix_of, schema
from treadle.errors import (
    BackendError,
    BackendFull,
    BackendReadOnly,
    BackendStalled,
    BackendUnavailable,
    SchemaMismatch,
    Unsupported,
)

__all__ = [
    "APPLICATION_ID",
    "BUSY_MS",
    "MIGRATIONS",
    "MIN_READER",
    "VERSION",
    "changes",
    "connect",
    "facts_of",
    "install",
    "meta_of",
    "settle_in",
    "translate",
    "writing",
]

APPLICATION_ID = 0x5472646C  # "Trdl"
VERSION = 1
MIN_READER = 1
"""Programs of this version and later can use the tables; stored, so that older ones stay away."""
MIGRATIONS: tuple[Migration, ...] = ()
"""What has led from one version to the next; the script of the schema makes the last one."""

BUSY_MS = 30_000
_OLDEST = (3, 35, 0)


def connect(path: str, *, busy_ms: int = BUSY_MS, make: bool = True) -> sqlite3.Connection:
    """A connection with the settings that all of them need.

    Args:
        path: of the database.
        busy_ms: how long locks may be waited for.
        make: make the file where there is none.
    """
    if sqlite3.sqlite_version_info < _OLDEST:
        raise Unsupported(
            f"SQLite {sqlite3.sqlite_version} is too old: 3.35 or newer is needed",
            backend="sqlite",
            feature="RETURNING",
        )
    connection = sqlite3.connect(
        path if make else f"{Path(path).as_uri()}?mode=rw",
        uri=not make,
        timeout=busy_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
    )
    try:
        settle_in(connection)
    except sqlite3.Error:  # it is no database
        connection.close()
        raise
    return connection


def settle_in(connection: sqlite3.Connection) -> None:
    """The settings that all connections need."""
    connection.execute("PRAGMA secure_delete = OFF")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA temp_store = MEMORY")
    connection.execute("PRAGMA cache_size = -4000")


def install(address: Address, namespace: str) -> None:
    """Make the tables where they are missing; refuse what cannot be used.

    Called inside the gate. Uses a connection of its own, closed before the writer opens its.
    """
    with translate(address.path), contextlib.closing(connect(address.path)) as connection:
        _check_owner(connection, address)
        if connection.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
            raise BackendUnavailable(
                f"{address.path!r} cannot use a write-ahead log on this file system",
                backend=address.path,
            )
        connection.execute("BEGIN IMMEDIATE")
        try:
            _tables(connection, address, namespace)
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")


def _check_owner(connection: sqlite3.Connection, address: Address) -> None:
    owner = connection.execute("PRAGMA application_id").fetchone()[0]
    if owner == APPLICATION_ID or address.foreign == "allow":
        return
    tables = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if owner or tables:
        raise SchemaMismatch(
            f"{address.path!r} is a database of another program. Give the jobs a file of their "
            "own, or add ?foreign=allow to the url to have both in one.",
            backend=address.path,
        )


def _tables(connection: sqlite3.Connection, address: Address, namespace: str) -> None:
    facts = facts_of(connection, namespace)
    if facts is not None:
        check(facts, VERSION, address.path)
    before = None if facts is None else facts.get("version", 0)
    if before is not None and before >= VERSION:
        return
    if not address.install:
        what = "install" if before is None else "upgrade"
        raise SchemaMismatch(
            f"{address.path!r} has no tables of version {VERSION}, and the url says install=never; "
            f"run 'treadle db {what}'",
            backend=address.path,
        )
    if before is None and address.foreign != "allow":
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    for statement in changes(namespace, before):
        connection.execute(statement)
    connection.execute(writing(meta_of(namespace), new=before is None))


def meta_of(namespace: str) -> str:
    """The table that says of which version the others are."""
    return '"' + prefix_of(namespace).replace('"', '""') + '_meta"'


def facts_of(connection: sqlite3.Connection, namespace: str) -> Mapping[str, int] | None:
    """What that table says; ``None`` where there is none."""
    found = connection.execute(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
        (f"{prefix_of(namespace)}_meta",),
    ).fetchone()
    if found is None:
        return None
    quoted = meta_of(namespace)
    return dict(connection.execute(f"SELECT key, value FROM {quoted}").fetchall())


def changes(namespace: str, before: int | None) -> list[str]:
    """The statements that make the tables, or bring those of a version up to the present one."""
    if before is None:
        return schema(namespace)
    scripts = (placed(one.script, namespace) for one in steps(MIGRATIONS, before))
    return [part.strip() for script in scripts for part in script.split(";") if part.strip()]


def writing(meta: str, *, new: bool) -> str:
    """The statement that says of which version the tables are now."""
    rows = f"('version', {VERSION}), ('min_reader', {MIN_READER})"
    rows += ", ('sequence', 0)" if new else ""
    return f"INSERT OR REPLACE INTO {meta} (key, value) VALUES {rows}"


@contextlib.contextmanager
def translate(path: str) -> Iterator[None]:
    """SQLite's errors become those of the library."""
    try:
        yield
    except sqlite3.Error as error:
        raise meaning(error, path) from error


def meaning(error: sqlite3.Error, path: str) -> BackendError:
    """What an error of SQLite means."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code == sqlite3.SQLITE_FULL:
        return BackendFull(
            f"no space left for {path!r}. Free some; nothing that was accepted is lost.",
            backend=path,
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return BackendReadOnly(
            f"{path!r} cannot be written: {error}. This user must be able to write the file and "
            "its directory.",
            backend=path,
        )
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return BackendStalled(
            f"{path!r} is locked by another program that writes to it outside of Treadle. End "
            "its transaction; what was asked is tried again.",
            backend=path,
            pid=0,
        )
    if code == sqlite3.SQLITE_NOTADB:
        return SchemaMismatch(f"{path!r} is not an SQLite database", backend=path)
    if code == sqlite3.SQLITE_CORRUPT:
        return SchemaMismatch(
            f"{path!r} is damaged: {error}. Restore a copy, or salvage it with "
            "'sqlite3 FILE .recover'.",
            backend=path,
        )
    if code == sqlite3.SQLITE_CANTOPEN and Path(path).exists():
        return BackendReadOnly(
            f"{path!r} cannot be opened: {error}. This user must be able to write the file and "
            "its directory.",
            backend=path,
        )
    return BackendUnavailable(f"{path!r}: {error}", backend=path)
