"""Transactions of the store's own making, for rows of a caller and for what ends with them.

A connection that blocks is psycopg's, one of an event loop asyncpg's. The verdicts are carried out
as the last thing before the commit, so that what they lock is locked for a moment only.
"""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import asyncpg

from treadle.backends.postgres.client import Wire
from treadle.backends.postgres.refusals import meaning
from treadle.backends.postgres.settle import settle
from treadle.backends.postgres.within import announce, begun, notice_of
from treadle.backends.postgres.within_drivers import Lent, LentPsycopg, connected
from treadle.errors import (
    LeaseLost,
    TransactionTooLong,
    UsageError,
)
from treadle.failpoints import failpoint
from treadle.ports import Settlement
from treadle.records import Settled

if TYPE_CHECKING:
    from treadle.backends.postgres.store import Store
    from treadle.backends.postgres.wake import Notice
    from treadle.fates import Fate

__all__ = ["atransaction", "transaction"]

_NUMBER = "SELECT pg_current_xact_id()::text"
# Whose code was cancelled has closed the connection: the server sees it while a statement still
# runs, and ends it, with the locks of the transaction.
_BEGIN = f"{_NUMBER}, set_config('client_connection_check_interval', '1s', true)"


class OpenUnit:
    """What the two kinds of transactions have in common.

    Args:
        store: whose jobs end with it.
        connection: what the caller writes through.
        limit: seconds that it may take.
    """

    def __init__(self, store: Store, connection: Any, limit: float) -> None:
        self.connection = connection
        self.ends: list[Settlement] = []
        self.committed = False
        self.fates: tuple[Fate, ...] = ()
        self.expired = False
        self._store = store
        self._limit = limit
        self._notice: Notice | None = None
        # By which a transaction is known again.
        self._number: Any = None

    async def begin(self, lent: Lent) -> None:
        """Take note of the transaction."""
        self._number = (await lent.fetch(_BEGIN))[0][0]

    async def settle(self, lent: Lent) -> None:
        """Carry out what ends with it.

        Raises:
            LeaseLost: an attempt does not hold its job any more.
            UsageError: the caller has ended the transaction.
        """
        if self.expired:
            raise self.too_long()
        if (await lent.fetch(_NUMBER))[0][0] != self._number:
            raise UsageError(
                "the transaction was ended in its block, with a COMMIT or ROLLBACK of your own; "
                "what came before that has not ended the job: leave it to the block"
            )
        if self.ends:
            await self._settle(lent)
            failpoint("ack.before_send")

    async def _settle(self, lent: Lent) -> None:
        tx = await begun(self._store, lent)
        answers = await settle(tx, self.ends)
        for end, answer in zip(self.ends, answers, strict=True):
            if answer is not Settled.OK:
                raise LeaseLost(
                    f"job {end.token.job_id} was taken over by another foreman; what its "
                    "transaction wrote was rolled back"
                )
        await tx.finish()
        self.fates = tuple(tx.fates)
        self._notice = self._store.notice_of(tx)
        await announce(self._store, lent, notice_of(self._store, tx), self._store._origin)

    @contextmanager
    def in_time(self) -> Iterator[None]:
        """A block whose errors are said as what they come from, when the time was over."""
        try:
            yield
        except Exception as error:
            if self.expired and not isinstance(error, TransactionTooLong):
                raise self.too_long() from error
            raise

    def tell(self) -> None:
        """Tell those who wait in this process of the commit."""
        if self._notice is not None:
            failpoint("ack.sent_no_reply")
            self._store.hub.tell(self._notice)
            failpoint("ack.after_reply")

    def too_long(self) -> TransactionTooLong:
        """The error of a transaction whose time was over."""
        return TransactionTooLong(
            f"the transaction took longer than {self._limit:g} s and was rolled back; compute "
            "before it, and write in it"
        )


def _at_once(coroutine: Any) -> Any:
    """The result of a coroutine over a connection that blocks: it does not wait."""
    try:
        coroutine.send(None)
    except StopIteration as done:
        return done.value
    coroutine.close()
    raise AssertionError("a connection that blocks does not wait")


# ------------------------------------------------------------- for code that may block


@contextmanager
def transaction(store: Store, limit: float) -> Iterator[OpenUnit]:
    """A block in a transaction on a connection of psycopg."""
    connection = connected(store.address)
    store.lenders.add(connection)
    lent = LentPsycopg(connection)
    unit = OpenUnit(store, connection, limit)
    over = threading.Event()
    # Of its own, and taken before the connection can be closed: the number may be another's then.
    line = socket.socket(fileno=os.dup(connection.fileno()))
    watch = partial(_watch, store, unit, over, line)
    threading.Thread(target=watch, name="treadle-postgres-limit", daemon=True).start()
    try:
        with unit.in_time():
            # Of the driver's own, so that blocks like it in the code of the caller are savepoints.
            with connection.transaction():
                _at_once(unit.begin(lent))
                yield unit
                _at_once(unit.settle(lent))
                over.set()
            unit.committed = True
        unit.tell()
    finally:
        over.set()
        # What is not committed is rolled back.
        with suppress(Exception):
            connection.close()


def _watch(store: Store, unit: OpenUnit, over: threading.Event, line: socket.socket) -> None:
    """End the connection of a transaction that takes too long. Runs in a thread of its own."""
    with line:
        if store.clock.wait(over, unit._limit):
            return
        unit.expired = True
        # Whoever reads from it wakes with an error; the server rolls back.
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)


# ------------------------------------------------------------- for event loops


@asynccontextmanager
async def atransaction(store: Store, limit: float) -> AsyncIterator[OpenUnit]:
    """A block in a transaction on a connection of asyncpg."""
    wire = await _awaited(store)
    store.lenders.add(wire)
    unit = OpenUnit(store, wire, limit)

    def expire() -> None:
        unit.expired = True
        wire.terminate()

    try:
        # Of the driver's own, so that blocks like it in the code of the caller are savepoints.
        whole = wire.transaction()
        await whole.start()
        timer = store.clock.call_later(limit, expire)
        try:
            with unit.in_time():
                await unit.begin(wire)
                yield unit
                await unit.settle(wire)
                timer.cancel()
                await _committed(whole, unit)
        finally:
            timer.cancel()
        unit.tell()
        with suppress(Exception):
            await wire.close(timeout=1.0)
    finally:
        # What is not committed is rolled back.
        wire.terminate()


async def _committed(whole: Any, unit: OpenUnit) -> None:
    """Commit, to its end, whoever cancels it."""
    running = asyncio.ensure_future(whole.commit())
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
    running.result()
    unit.committed = True
    if cancelled is not None:
        raise cancelled


async def _awaited(store: Store) -> Wire:
    address = store.address
    try:
        wire: Wire = await asyncpg.connect(
            address.dsn,
            timeout=address.patience,
            statement_cache_size=100 if address.prepared else 0,
            server_settings={"application_name": "treadle transaction"}
            if address.prepared
            else None,
        )
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise meaning(error, address.url) from error
    return wire
