"""Connections that SQLAlchemy and Django hold, lent to the steps, in savepoints of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from treadle.backends.postgres.within_drivers import (
    Lent,
    class_names,
    in_savepoint,
    lent,
    need_loop,
)
from treadle.errors import InvalidOption

__all__ = ["lent_by_frame"]


def lent_by_frame(within: Any) -> AbstractAsyncContextManager[Lent] | None:
    """The connection behind what a library has, in a savepoint; ``None`` when it is of none."""
    names = class_names(within)
    if "sqlalchemy.scoped_session" in names:
        return lent_by_frame(within())
    if "sqlalchemy.async_scoped_session" in names:
        return lent_by_frame(within())
    if "sqlalchemy.AsyncSession" in names or "sqlalchemy.AsyncConnection" in names:
        need_loop()
        return _of_async_sqlalchemy(within, session="sqlalchemy.AsyncSession" in names)
    if "sqlalchemy.Session" in names or "sqlalchemy.Connection" in names:
        return _of_sqlalchemy(within, session="sqlalchemy.Session" in names)
    if "django.ConnectionProxy" in names or "django.BaseDatabaseWrapper" in names:
        return _of_django(within)
    return None


@asynccontextmanager
async def _of_sqlalchemy(within: Any, *, session: bool) -> AsyncIterator[Lent]:
    connection = within.connection() if session else within
    # Its own savepoint, because with it a transaction begins where there is none yet.
    with connection.begin_nested():
        yield _driven(within, connection.connection.driver_connection)


@asynccontextmanager
async def _of_async_sqlalchemy(within: Any, *, session: bool) -> AsyncIterator[Lent]:
    connection = await within.connection() if session else within
    async with connection.begin_nested():
        raw = await connection.get_raw_connection()
        yield _driven(within, raw.driver_connection)


@asynccontextmanager
async def _of_django(within: Any) -> AsyncIterator[Lent]:
    within.ensure_connection()
    if not within.in_atomic_block:
        raise InvalidOption(
            f"within={within!r} commits each statement by itself: enqueue inside of "
            "'with transaction.atomic():'",
            option="within",
            value=within,
        )
    async with in_savepoint(_driven(within, within.connection)) as connection:
        yield connection


def _driven(within: object, driver_connection: Any) -> Lent:
    connection = lent(driver_connection)
    if connection is None:
        driver = ", ".join(sorted(class_names(driver_connection) - {"builtins.object"}))
        raise InvalidOption(
            f"within={within!r} goes through a driver that is not known here ({driver}): use "
            "psycopg (3.2 or newer) or asyncpg, as in postgresql+psycopg://",
            option="within",
            value=within,
        )
    return connection
