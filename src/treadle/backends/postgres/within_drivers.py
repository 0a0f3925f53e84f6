"""Connections of the drivers, lent to the steps: psycopg, its asynchronous twin, and asyncpg."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from importlib import import_module
from typing import Any, Protocol

from treadle.backends.postgres.address import Address
from treadle.errors import BackendUnavailable, Unsupported, UsageError
from treadle.guards import is_tuple
from treadle.loopthread import may_block

__all__ = [
    "Lent",
    "LentPsycopg",
    "class_names",
    "connected",
    "driver_of",
    "in_savepoint",
    "lent",
    "lent_by_driver",
    "need_loop",
]

_NUMBER = re.compile(r"\d+")
_SAVEPOINT = "treadle"


class Lent(Protocol):
    """What the steps need of a connection."""

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Any]:
        """The rows of a statement with numbered parameters."""
        ...


class LentPsycopg:
    """A connection of psycopg that blocks. Nothing here waits for an event loop."""

    def __init__(self, connection: Any) -> None:
        _refuse_old()
        if not may_block():
            raise UsageError(
                "a connection of psycopg that blocks would stop the event loop that runs here: "
                "use psycopg.AsyncConnection, or enqueue in a thread"
            )
        driver = import_module("psycopg")
        self.connection = connection
        self._cursor = driver.RawCursor(connection, row_factory=driver.rows.tuple_row)

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Any]:
        """The rows of a statement."""
        # Where the caller has a pipeline, what one in it holds is sent when that ends.
        with self.connection.pipeline() if _piped(self.connection) else nullcontext():
            self._cursor.execute(query, _lists(values))
        rows: Sequence[Any] = self._cursor.fetchall() if self._cursor.description else []
        return rows


class LentAsyncPsycopg:
    """A connection of psycopg for event loops."""

    def __init__(self, connection: Any) -> None:
        _refuse_old()
        driver = import_module("psycopg")
        self.connection = connection
        self._cursor = driver.AsyncRawCursor(connection, row_factory=driver.rows.tuple_row)

    async def fetch(self, query: str, /, *values: Any) -> Sequence[Any]:
        """The rows of a statement."""
        async with self.connection.pipeline() if _piped(self.connection) else nullcontext():
            await self._cursor.execute(query, _lists(values))
        rows: Sequence[Any] = await self._cursor.fetchall() if self._cursor.description else []
        return rows


def _piped(connection: Any) -> bool:
    """Whether answers come later than statements, in a pipeline of the caller."""
    return bool(connection.info.pipeline_status)


def _refuse_old() -> None:
    version: str = import_module("psycopg").__version__
    if tuple(map(int, _NUMBER.findall(version)[:2])) < (3, 2):
        raise Unsupported(
            f"within= needs psycopg 3.2 or newer; this is {version}",
            backend="postgresql",
            feature="within",
        )


def _lists(values: Sequence[Any]) -> list[Any]:
    """Arrays as psycopg knows them: a tuple would be a row."""
    return [list(value) if is_tuple(value) else value for value in values]


def class_names(value: object) -> set[str]:
    """The classes of a value, ``asyncpg.Connection``, by the package that has them."""
    return {f"{kind.__module__.partition('.')[0]}.{kind.__name__}" for kind in type(value).__mro__}


def need_loop() -> None:
    """Refuse a connection of an event loop where there is none: to begin with it would spoil it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        raise UsageError(
            "within= has a connection of an event loop, and none runs here: 'await "
            "task.aenqueue(…)' there, or give a connection that blocks"
        ) from None


def lent(connection: Any) -> Lent | None:
    """A connection of a driver as the steps need it."""
    names = class_names(connection)
    if names & {"asyncpg.Connection", "asyncpg.PoolConnectionProxy"}:
        need_loop()
        own: Lent = connection
        return own
    if "psycopg.AsyncConnection" in names:
        need_loop()
        return LentAsyncPsycopg(connection)
    if "psycopg.Connection" in names:
        return LentPsycopg(connection)
    return None


def driver_of(connection: Lent) -> object:
    """The connection behind one that is lent, the same each time."""
    if isinstance(connection, LentPsycopg | LentAsyncPsycopg):
        return connection.connection
    # A pool of asyncpg puts another object around it each time.
    return getattr(connection, "_con", connection)


def connected(address: Address) -> Any:
    """A connection of the store's own, of psycopg.

    Raises:
        BackendUnavailable: the server cannot be reached.
        Unsupported: psycopg is not installed.
    """
    try:
        psycopg = import_module("psycopg")
    except ImportError as error:
        raise Unsupported(
            "a transaction in code that blocks needs psycopg: install it (treadle[psycopg]), or "
            "use 'async with' in an 'async def' task",
            backend=address.url,
            feature="transactions",
        ) from error
    try:
        return psycopg.connect(
            address.dsn,
            connect_timeout=max(2, round(address.patience)),
            application_name="treadle transaction",
            prepare_threshold=5 if address.prepared else None,
        )
    except psycopg.OperationalError as error:
        raise BackendUnavailable(f"{address.url}: {error}", backend=address.url) from error


def lent_by_driver(within: object) -> AbstractAsyncContextManager[Lent] | None:
    """The connection of a driver, in a savepoint."""
    connection = lent(within)
    return None if connection is None else in_savepoint(connection)


@asynccontextmanager
async def in_savepoint(connection: Lent) -> AsyncIterator[Lent]:
    """A block that, when it raises, leaves the transaction as it was."""
    await connection.fetch(f"SAVEPOINT {_SAVEPOINT}")
    try:
        yield connection
    except BaseException:
        await connection.fetch(f"ROLLBACK TO SAVEPOINT {_SAVEPOINT}")
        await connection.fetch(f"RELEASE SAVEPOINT {_SAVEPOINT}")
        raise
    await connection.fetch(f"RELEASE SAVEPOINT {_SAVEPOINT}")
