"""The thread that writes: what arrives while a transaction is written goes together in the next.

Operations are independent although they share a transaction: one that fails before it changed
anything just fails; if one fails later, the transaction is rolled back and the others are
carried out again without it.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from treadle.backends.common.untold import Untold
from treadle.backends.sqlite.gate import Gate, stalled
from treadle.backends.sqlite.journal import Journal
from treadle.backends.sqlite.tx import Surprise, Tx
from treadle.clock import Clock, SystemClock
from treadle.errors import BackendFull, NotOpen, SchemaMismatch, TreadleError
from treadle.failpoints import failpoint
from treadle.fates import Fate

__all__ = ["Operation", "Writer"]

_STALL = 1.0
"""Seconds in which nobody could write, from which on that is made good to those who hold leases."""
_GROUP = 64
"""Operations in one transaction at the most, so that the other processes have their turn."""


class Operation:
    """A step asked for by a coroutine, and the future that tells it the answer.

    Args:
        run: carries it out.
        untold: is given what it has made of jobs by itself when nobody waits for its answer.
        durable: a commit of it must reach the disk before it is answered.
        frees: it needs no lasting space, so it is carried out on a full disk too.
        brief: it takes microseconds and waits for no disk.
    """

    __slots__ = (
        "answer", "brief", "durable", "error", "fates", "frees", "future", "loop", "run", "since",
        "untold",
    )  # fmt: skip

    def __init__(
        self,
        run: Callable[[Tx], Any],
        untold: Untold,
        *,
        durable: bool,
        frees: bool,
        brief: bool = False,
    ) -> None:
        self.untold = untold
        # What it has made of jobs by itself.
        self.fates: Sequence[Fate] = ()
        self.loop = asyncio.get_running_loop()
        self.future: asyncio.Future[Any] = self.loop.create_future()
        self.run = run
        self.durable = durable
        self.frees = frees
        self.brief = brief
        self.since = 0.0
        self.answer: Any = None
        self.error: BaseException | None = None

    def tell(self) -> None:
        """Answer. Called in the loop of who waits."""
        if self.future.done():
            # Who asked has given up; what happened is said with another answer.
            self.untold.fates.extend(self.fates)
            return
        if self.error is not None:
            self.fates = ()
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.answer)


class Writer:
    """Writes to the database, for one operation or group of them at a time.

    A thread does it; a brief operation that comes when nobody writes is carried out by who asks
    for it, because the way to the thread and back would take longer than the operation.

    Args:
        journal: the connection.
        gate: makes what lets one process write at a time, given whom to tell of waiting.
        clock: the store's time, read once per operation.
        patience: seconds that another process may hold the gate.
        committed: told what a transaction changed, after it.
    """

    def __init__(
        self,
        journal: Journal,
        gate: Callable[[Callable[[], object]], Gate],
        *,
        clock: Clock,
        patience: float,
        committed: Callable[[Tx], object],
    ) -> None:
        self._journal = journal
        self._make_gate = gate
        self._gate: Gate | None = None
        self._clock = clock
        self._patience = patience
        self._committed = committed
        self._asked: deque[Operation] = deque()
        lock = threading.Lock()
        self._wake = threading.Condition(lock)
        # Of its own, because a notice meant for the writer must not reach the watch instead.
        self._watch_wake = threading.Condition(lock)
        self._closing = False
        # Held by who writes, in this process.
        self._turn_lock = threading.Lock()
        # A brief operation has met what only the thread may do.
        self._must_tidy = False
        self._real = SystemClock()
        self._watch: threading.Thread | None = None
        self._thread = threading.Thread(target=self._work, name="treadle-sqlite", daemon=True)
        self._thread.start()

    # ------------------------------------------------------------- asking

    def submit(self, operation: Operation) -> None:
        """Have a step carried out."""
        if operation.brief and not self._asked and self._carried_out_here(operation):
            return
        operation.since = self._real.monotonic()
        with self._wake:
            if self._closing:
                raise NotOpen(f"the backend of {self._journal.path!r} is closed")
            self._asked.append(operation)
            self._wake.notify()

    def _carried_out_here(self, operation: Operation) -> bool:
        """Carry it out in this thread, unless somebody writes, here or in another process."""
        if self._closing or not self._turn_lock.acquire(blocking=False):
            return False
        try:
            gate = self._gate
            # What waits in line goes first, and a long log is written back before it gets longer.
            waits = self._asked or self._must_tidy
            if gate is None or waits or not self._journal.ready or not gate.enter_at_once():
                return False
            self._carry_out([operation])
        finally:
            self._turn_lock.release()
        return True

    def close(self) -> None:
        """Carry out what was asked, then end; at the latest after the patience."""
        with self._wake:
            self._closing = True
            self._wake.notify()
            self._watch_wake.notify()
        self._thread.join(self._patience)
        if self._watch is not None:
            self._watch.join(self._patience)

    # ------------------------------------------------------------- the thread

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._asked or self._must_tidy or self._closing):
                    self._wake.wait()
                if self._closing and not self._asked:
                    break
            with self._turn_lock:
                self._turn()
        with self._turn_lock:
            self._end()

    def _turn(self) -> None:
        """Carry out what is asked when the gate opens; it may have been given up till then."""
        try:
            waited = self._enter()
        except (OSError, TreadleError) as error:
            refused = self._take()
            _fail(refused, self._journal.meaning(error))
            _answer(refused)
            return
        self._carry_out(self._take(), waited)

    def _carry_out(self, group: list[Operation], waited: float = 0.0) -> None:
        """Carry out operations inside the gate, leave it, and tell what came of them."""
        here = threading.current_thread() is self._thread
        done: Tx | None = None
        try:
            if group or waited >= _STALL:
                self._journal.open()
            # Also when all that was asked has been given up: who comes next would not know of it.
            if waited >= _STALL:
                self._journal.spare(self._clock.now(), waited)
            if group:
                done = self._commit(group)
            if here:
                self._must_tidy = False
                self._journal.tidy()
        except Exception as error:  # noqa: BLE001  whatever it is, who waits has to be told
            _fail(group, self._journal.meaning(error))
        finally:
            self._leave()
        # Who asked hears of it before those who only wait for what it changed.
        if here:
            _answer(group)
        else:
            _tell(group)
            self._leave_tidying_to_the_thread()
        if done is not None:
            self._committed(done)

    def _leave_tidying_to_the_thread(self) -> None:
        if self._journal.must_tidy:
            with self._wake:
                self._must_tidy = True
                self._wake.notify()

    def _end(self) -> None:
        if self._gate is None:
            return
        if self._journal.opened:
            self._enter()
            try:
                self._journal.close()
            finally:
                self._leave()
        self._gate.close()

    def _enter(self) -> float:
        if self._gate is None:
            # Before there is any file beside it.
            self._journal.prepare()
            self._gate = self._make_gate(self._gate_is_shut)
        return self._gate.enter()

    def _leave(self) -> None:
        assert self._gate is not None
        self._gate.leave()

    def _take(self) -> list[Operation]:
        with self._wake:
            return [self._asked.popleft() for _ in range(min(_GROUP, len(self._asked)))]

    # ------------------------------------------------------------- one transaction

    def _commit(self, group: list[Operation]) -> Tx | None:
        """Carry out operations in one transaction, without those that cannot be."""
        careful = False
        while group:
            if self._journal.full:
                self._journal.regain_space()
            if self._journal.full:
                _refuse(group, self._journal.path)
            group = [operation for operation in group if operation.error is None]
            if not group:
                return None
            try:
                tx = self._journal.begin(durable=any(one.durable for one in group))
                tx.careful = careful
                if self._run(tx, group):
                    self._journal.commit(tx)
                    _pass("sent_no_reply", tx)
                    _pass("after_reply", tx)
                    return tx
                self._journal.roll_back()
            except Surprise:
                self._journal.roll_back()
                careful = True
            except sqlite3.Error as error:
                self._journal.roll_back()
                if not self._journal.give_space(error):
                    raise
            except BaseException:
                self._journal.roll_back()
                raise
        return None

    def _run(self, tx: Tx, group: Sequence[Operation]) -> bool:
        """Carry out each; False when one failed that had changed something."""
        for operation in group:
            tx.now = self._clock.now()
            before, told = tx.changed_rows(), len(tx.fates)
            operation.fates = ()  # those of a run that was rolled back
            try:
                operation.answer = operation.run(tx)
                operation.fates = tx.fates[told:]
            except sqlite3.Error:
                raise
            except Surprise:
                if not tx.careful:
                    raise
                # Looked at closely it is no better, so to try again would never end.
                operation.error = self._contradiction()
                return False
            except Exception as error:  # noqa: BLE001  the others go on without it
                operation.error = error
                if tx.changed_rows() != before or not isinstance(error, TreadleError):
                    return False
        return True

    def _contradiction(self) -> SchemaMismatch:
        path = self._journal.path
        return SchemaMismatch(
            f"{path!r} is damaged: what is asked for is there and cannot be found. Restore a copy, "
            "or salvage it with 'sqlite3 FILE .recover'.",
            backend=path,
        )

    # ------------------------------------------------------------- waiting too long

    def _gate_is_shut(self) -> None:
        """Another process is inside. Called by this thread before it waits."""
        with self._wake:
            if self._watch is None:
                self._watch = threading.Thread(
                    target=self._watch_gate, name="treadle-sqlite-watch", daemon=True
                )
                self._watch.start()
            self._watch_wake.notify()

    def _watch_gate(self) -> None:
        """Fail what waits too long for another process. At rest while the gate is free."""
        assert self._gate is not None
        while self._thread.is_alive():
            with self._watch_wake:
                waited = self._gate.waited()
                if waited == 0 and not self._closing:
                    self._watch_wake.wait()
                    continue
                # No event ends this: only time, or another process.
                self._watch_wake.wait(max(0.01, min(1.0, self._patience - waited)))
                late = self._late()
            if late:
                _fail(late, stalled(self._journal.path, self._gate.holder(), self._patience))
                _answer(late)
            if self._closing and self._gate.waited() >= self._patience:
                return

    def _late(self) -> list[Operation]:
        assert self._gate is not None
        if self._gate.waited() < self._patience:
            return []
        before = self._real.monotonic() - self._patience
        late = [operation for operation in self._asked if operation.since <= before]
        for operation in late:
            self._asked.remove(operation)
        return late


def _pass(step: str, tx: Tx) -> None:
    """The failpoints of what time has moved on: committed, and told to those who wait."""
    for moved in tx.moved:
        failpoint(f"{moved}.{step}")


def _refuse(group: Sequence[Operation], path: str) -> None:
    """On a full disk only what ends jobs is carried out."""
    error = BackendFull(
        f"no space left for {path!r}: running jobs can end, new ones are refused until there is "
        "some",
        backend=path,
    )
    _fail([operation for operation in group if not operation.frees], error)


def _fail(group: Sequence[Operation], error: BaseException) -> None:
    for operation in group:
        if operation.error is None:
            operation.error = error


def _answer(group: Sequence[Operation]) -> None:
    """Tell all answers with one wake-up per loop."""
    loops: dict[asyncio.AbstractEventLoop, list[Operation]] = {}
    for operation in group:
        loops.setdefault(operation.loop, []).append(operation)
    for loop, operations in loops.items():
        try:
            loop.call_soon_threadsafe(_tell, operations)
        except RuntimeError:  # the loop was closed with those who waited in it
            for operation in operations:
                operation.untold.fates.extend(operation.fates)


def _tell(operations: Sequence[Operation]) -> None:
    for operation in operations:
        operation.tell()
