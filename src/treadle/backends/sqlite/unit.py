"""A transaction of a caller: begun inside the gate, ended in time, committed with what it settles.

What is pushed and settled in it are the steps of the writer, on another connection. Between begin
and end nobody else can write, so it may take only so long; a watch rolls back what takes longer.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, TypeVar

from treadle.backends.sqlite.database import translate
from treadle.backends.sqlite.push import push
from treadle.backends.sqlite.settle import settle
from treadle.backends.sqlite.turn import Turn
from treadle.backends.sqlite.tx import Memo, Surprise, Tx
from treadle.backends.sqlite.within import Connection, open_connection
from treadle.errors import InvalidOption, LeaseLost, TransactionTooLong, UsageError
from treadle.failpoints import failpoint
from treadle.fates import Fate
from treadle.ports import Settlement
from treadle.records import NewJob, Pushed, Settled

if TYPE_CHECKING:
    from treadle.backends.sqlite.store import Store

__all__ = ["OpenUnit", "atransaction", "transaction", "unit_of"]

T = TypeVar("T")
_LOOK = 0.02
"""Seconds between two requests to end the statement that runs when the time is over."""


class OpenUnit:
    """One transaction, from its turn at the gate to its end.

    Args:
        store: whose file it is.
        limit: seconds that it may take.
    """

    def __init__(self, store: Store, limit: float) -> None:
        self.ends: list[Settlement] = []
        self.connection: Connection
        self.store = store
        self._limit = limit
        self._turn: Turn
        self._begun = False
        self._steps: list[tuple[Store, Tx]] = []
        self._lock = threading.Lock()
        # Set by who ends it; then nobody else does.
        self._ending = False
        self._expired = False
        self.committed = False
        self.fates: tuple[Fate, ...] = ()
        self._over = threading.Event()

    # ------------------------------------------------------------- the beginning

    def start(self) -> None:
        """Wait for the turn at the gate, and begin."""
        self.store.journal.place()
        self._turn = Turn(self.store.address.path, self.store.address.patience)
        if not self._turn.take_at_once():
            self._turn.take()
        self._begin()

    def _begin(self) -> None:
        try:
            path, address = self.store.address.path, self.store.address
            with translate(path):
                self.store.furnish()
                connection = open_connection(path, durable=address.durability == "full")
                self.connection = connection
                try:
                    with connection.ours():
                        connection.execute("BEGIN IMMEDIATE")
                except BaseException:
                    connection.shut()
                    raise
        except BaseException:
            self._turn.end()
            raise
        connection.unit, connection.check = self, self._check
        self._begun = True
        threading.Thread(target=self._watch, name="treadle-sqlite-limit", daemon=True).start()

    # ------------------------------------------------------------- meanwhile

    def push(self, store: Store, jobs: Sequence[NewJob]) -> Sequence[Pushed]:
        """Push jobs in it; what fails leaves it as it was.

        Args:
            store: whose jobs they are; another namespace of the same file, perhaps.
        """
        with self.connection.used(), translate(store.address.path):
            return self._step(store, lambda tx: push(tx, jobs))

    def _step(self, store: Store, run: Callable[[Tx], T]) -> T:
        """Carry out a step as the writer would, carefully where it comes as a surprise."""
        try:
            return self._tried(store, run, careful=False)
        except Surprise:
            return self._tried(store, run, careful=True)

    def _tried(self, store: Store, run: Callable[[Tx], T], *, careful: bool) -> T:
        # With a memory of its own: the caller may roll back to before it.
        tx = Tx(self.connection, store.sql, store.journal.settings, Memo())
        tx.now, tx.careful = store.clock.now(), careful
        with self.connection.ours():
            tx.execute("SAVEPOINT treadle")
            try:
                answer = run(tx)
                tx.finish()
            except BaseException:
                tx.execute("ROLLBACK TO treadle")
                tx.execute("RELEASE treadle")
                raise
            tx.execute("RELEASE treadle")
        self._steps.append((store, tx))
        return answer

    def _check(self) -> None:
        if self._expired:
            raise self.too_long()
        if self._ending:
            raise UsageError("the block of this connection has ended, and its transaction with it")

    # ------------------------------------------------------------- the end

    def commit(self) -> None:
        """Settle what ends with it, and make all of it last.

        Raises:
            LeaseLost: an attempt does not hold its job any more. Nothing has happened.
            TransactionTooLong: its time was over before.
        """
        connection = self.connection
        if not self._end():
            connection.shut()
            raise self.too_long()
        try:
            with connection.lock, translate(self.store.address.path):
                self._settle()
                self._pass("before_send")
                with connection.ours():
                    connection.execute("COMMIT")
                self.committed = True
                self._pass("sent_no_reply")
        except BaseException:
            self._close()
            raise
        self._close()
        for store, tx in self._steps:
            store.committed(tx)
        self.store.journal.drop_grants([end.token.job_id for end in self.ends])
        self._pass("after_reply")

    def _pass(self, step: str) -> None:
        """The failpoints of what the commit does: it ends an attempt, or accepts jobs."""
        if self.ends or self._steps:
            failpoint(f"{'ack' if self.ends else 'enqueue'}.{step}")

    def _settle(self) -> None:
        if not self.ends:
            return
        answers = self._step(self.store, lambda tx: settle(tx, self.ends))
        self.fates = tuple(self._steps[-1][1].fates)
        for end, answer in zip(self.ends, answers, strict=True):
            if answer is not Settled.OK:
                raise LeaseLost(
                    f"job {end.token.job_id} was taken over by another foreman; what its "
                    "transaction wrote was rolled back"
                )

    def roll_back(self) -> None:
        """Undo all of it."""
        if not self._begun:
            return
        if self._end():
            self._close()
        else:
            self.connection.shut()

    @property
    def expired(self) -> bool:
        """Whether it took too long, and was rolled back."""
        return self._expired

    def _end(self) -> bool:
        with self._lock:
            if self._ending:
                return False
            self._ending = True
        self._over.set()
        return True

    def _close(self) -> None:
        try:
            self._let_go()
        finally:
            self.connection.shut()

    def _let_go(self) -> None:
        """Undo what is not committed, and let others in."""
        try:
            with self.connection.ours():
                if self.connection.in_transaction:
                    self.connection.execute("ROLLBACK")
        finally:
            self._turn.end()

    # ------------------------------------------------------------- the limit

    def _watch(self) -> None:
        """Roll back what takes too long. Runs in a thread of its own."""
        if self.store.clock.wait(self._over, self._limit):
            return
        with self._lock:
            if self._ending:
                return
            self._ending = self._expired = True
        connection = self.connection
        # The statement that runs ends; if it began just now, it is asked again.
        connection.interrupt()
        while not connection.lock.acquire(timeout=_LOOK):
            connection.interrupt()
        try:
            self._let_go()
        except sqlite3.Error:  # the file is gone, or worse: there is nothing to be undone
            return
        finally:
            connection.lock.release()

    def too_long(self) -> TransactionTooLong:
        """The error of a transaction whose time was over."""
        return TransactionTooLong(
            f"the transaction took longer than {self._limit:g} s, in which nobody else could "
            "write, and was rolled back; compute before it, and write in it"
        )


def unit_of(within: object, store: Store) -> OpenUnit:
    """The transaction that a connection writes in.

    Raises:
        InvalidOption: it is none of this file.
    """
    unit = within.unit if isinstance(within, Connection) else None
    if isinstance(unit, OpenUnit) and unit.store.address.path == store.address.path:
        return unit
    if unit is not None:
        wrong = (
            f"is a connection to {unit.store.address.path!r}, and the jobs are in "
            f"{store.address.path!r}"
        )
    else:
        wrong = "is no connection of this library, which alone can tell who waits of the commit"
    raise InvalidOption(
        f"within={within!r} {wrong}; take the one of 'with app.connect() as connection:' or "
        "'with ctx.transaction() as connection:'",
        option="within",
        value=within,
    )


@contextmanager
def transaction(store: Store, limit: float) -> Iterator[OpenUnit]:
    """A block in a transaction, for code that may block."""
    unit = OpenUnit(store, limit)
    unit.start()
    with _rolled_back(unit):
        yield unit
        unit.commit()


@asynccontextmanager
async def atransaction(store: Store, limit: float) -> AsyncIterator[OpenUnit]:
    """A block in a transaction, for code in an event loop."""
    unit = OpenUnit(store, limit)
    try:
        await _to_its_end(store.turns, unit.start)
    except asyncio.CancelledError:
        unit.roll_back()
        raise
    with _rolled_back(unit):
        yield unit
        await _to_its_end(store.commits, unit.commit)


@contextmanager
def _rolled_back(unit: OpenUnit) -> Iterator[None]:
    """A block whose errors undo all of it; what its end in time has led to is said as that."""
    try:
        yield
    except BaseException as error:
        unit.roll_back()
        if unit.expired and isinstance(error, Exception):
            raise unit.too_long() from error
        raise


async def _to_its_end(executor: Executor, step: Callable[[], object]) -> None:
    """Carry out in a thread what may wait for the disk or for others, whoever cancels it.

    Raises:
        CancelledError: after it has been carried out, or before it has begun.
    """
    work = executor.submit(step)
    running = asyncio.wrap_future(work)
    cancelled: asyncio.CancelledError | None = None
    while not running.done():
        try:
            await asyncio.wait({running})
        except asyncio.CancelledError as error:
            cancelled = error
            if work.cancel():
                raise
    running.result()
    if cancelled is not None:
        raise cancelled
