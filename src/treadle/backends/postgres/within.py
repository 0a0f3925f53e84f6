"""Jobs in the transaction of a caller, on his connection, whatever library it is of.

The libraries are known by the names of their classes: none is imported that the caller has not
imported. Each lends its connection as the steps need it: numbered parameters in, tuples out.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from treadle.backends.common.pushing import check_queues
from treadle.backends.postgres.notices import pack
from treadle.backends.postgres.plain import all_plain, push_values, pushed
from treadle.backends.postgres.push import push
from treadle.backends.postgres.tx import Tx
from treadle.backends.postgres.wake import Notice
from treadle.backends.postgres.within_drivers import Lent, lent_by_driver
from treadle.backends.postgres.within_frames import lent_by_frame
from treadle.backends.postgres.within_place import check_place
from treadle.errors import InvalidOption, SchemaMismatch
from treadle.loopthread import may_block
from treadle.records import NewJob, Pushed

if TYPE_CHECKING:
    from treadle.backends.postgres.store import Store

__all__ = ["announce", "begun", "notice_of", "push_within"]

# Tables, functions.
_MISSING = frozenset({"42P01", "42883"})
_NO_TRANSACTION = "25P01"
_KNOWN = (
    "psycopg.Connection and AsyncConnection, asyncpg.Connection, SQLAlchemy's Connection, Session, "
    "AsyncConnection and AsyncSession, and Django's connection"
)


async def push_within(store: Store, within: object, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
    """Push jobs in a savepoint of the caller's transaction; his commit wakes who waits.

    What the driver raises is the caller's: he may have to repeat his transaction.

    Raises:
        InvalidOption: it is no connection, has no transaction, or leads to another database.
        SchemaMismatch: the tables are not in the database of that connection.
    """
    check_queues(jobs)
    lending = lent_by_frame(within) or lent_by_driver(within)
    if lending is None:
        raise InvalidOption(
            f"within={within!r} is no connection to PostgreSQL that is known here; those are "
            f"{_KNOWN}, and what 'with app.connect() as connection:' gives",
            option="within",
            value=within,
        )
    if not may_block():
        await store.open()
    async with _said(store, within), lending as connection:
        await check_place(store, within, connection)
        answers = await _plainly(store, connection, jobs)
        left = [job for job, answer in zip(jobs, answers, strict=True) if answer is None]
        if left:
            # Until the caller commits, others of this kind wait.
            tx = await begun(store, connection)
            rest = iter(await push(tx, left))
            await tx.finish()
            await _announce(store, connection, store.notice_of(tx), tx.now)
            return [next(rest) if answer is None else answer for answer in answers]
    return [answer for answer in answers if answer is not None]


async def _plainly(
    store: Store, connection: Lent, jobs: Sequence[NewJob]
) -> Sequence[Pushed | None]:
    """Push plain jobs without keeping anybody waiting, however long the caller's transaction is."""
    if not all_plain(jobs):
        return [None] * len(jobs)
    rows = await connection.fetch(store.sql["push_plain"], *push_values(store, jobs))
    answers, notice = pushed(jobs, rows[0])
    await _announce(store, connection, notice, float(rows[0][0]))
    return answers


async def _announce(store: Store, connection: Lent, notice: Notice, now: float) -> None:
    # Heard in this process, too: its own notices are not.
    await announce(store, connection, store.for_others(notice, now), "within")


async def begun(store: Store, connection: Lent) -> Tx:
    """A step on the connection of somebody else, as the store would begin it."""
    rows = await connection.fetch(store.sql["begin"], store._lock, store.now, True)
    return Tx(connection, store.sql, store.settings, float(rows[0][2]))


def notice_of(store: Store, tx: Tx) -> Notice:
    """What the commit of a step means to those who wait elsewhere."""
    return store.for_others(store.notice_of(tx), tx.now)


async def announce(store: Store, connection: Lent, notice: Notice, origin: str) -> None:
    """Have the commit tell others."""
    if store.address.notify and notice != Notice():
        values = store._channel, pack(origin, notice), False
        await connection.fetch(store.sql["notify"], *values)


@asynccontextmanager
async def _said(store: Store, within: object) -> AsyncIterator[None]:
    """A block whose refusals are said as what they mean; other errors are the caller's."""
    try:
        yield
    except Exception as error:
        code = getattr(error, "sqlstate", None) or getattr(
            getattr(error, "orig", None), "sqlstate", None
        )
        if code == _NO_TRANSACTION:
            raise InvalidOption(
                f"within={within!r} is in no transaction whose commit could accept the job: begin "
                "one, or enqueue without within=",
                option="within",
                value=within,
            ) from error
        if code in _MISSING:
            raise SchemaMismatch(
                f"the tables of the jobs of {store.address.url} are not in the database of this "
                "connection, or not in its search_path; 'treadle db install' makes them",
                backend=store.address.url,
            ) from error
        raise
