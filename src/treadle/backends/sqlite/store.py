"""The part of a backend that the loops and threads of a process share."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec

from treadle.backends.common.hub import Hub, Notice
from treadle.backends.common.settings import Settings
from treadle.backends.common.subscribers import Subscribers
from treadle.backends.common.untold import Untold
from treadle.backends.sqlite.address import Address
from treadle.backends.sqlite.claim import Answers
from treadle.backends.sqlite.gate import gate_of
from treadle.backends.sqlite.journal import Journal
from treadle.backends.sqlite.peers import Peers, supported
from treadle.backends.sqlite.poll import Poll
from treadle.backends.sqlite.reader import Reader
from treadle.backends.sqlite.statements import load
from treadle.backends.sqlite.tx import Reading, Tx
from treadle.backends.sqlite.writer import Operation, Writer
from treadle.clock import Clock, SystemClock
from treadle.errors import BackendStalled
from treadle.events import Event
from treadle.ids import Ids

__all__ = ["Store"]

T = TypeVar("T")
_FEW = 100
"""Jobs that a step may be about which is carried out in the loop of who asks."""
_ANY = 1 << 30
_NEAR = 10.0
"""Seconds ahead of which other processes are told; they look by themselves that often."""


class Store:
    """One database in one process: a writer, a reader, and who waits.

    It does not survive a fork: the child makes another one, see :meth:`abandon`.
    """

    def __init__(
        self, address: Address, namespace: str, settings: Settings, *, clock: Clock, ids: Ids
    ) -> None:
        self.address = address
        self.clock = clock
        self.sql = load(namespace)
        self.answers: Answers = {}
        # Some jobs run at most once: their claims wait for the disk.
        self.syncs = False
        self.hub = Hub(self._busy)
        self.subscribers = Subscribers()
        self.untold = Untold()
        self.journal = Journal(address, namespace, self.sql, settings)
        self.peers: Peers | Poll
        if supported():
            name = f"{os.getpid()}-{ids.nonce():016x}"
            self.peers = Peers(address.path, name, self._heard, self.subscribers.deliver)
        else:
            self.peers = Poll(address.path, lambda: not self.hub.idle, self.hub.tell)
        real = SystemClock()
        self.writer = Writer(
            self.journal,
            lambda waiting: gate_of(address.path + "-lock", real, waiting),
            clock=clock,
            patience=address.patience,
            committed=self.committed,
        )
        self._executor = ThreadPoolExecutor(1, "treadle-sqlite-read")
        # For transactions of callers in event loops. Those that wait for their turn stand in line
        # for one thread, and whose turn it is commits in another, which none of them can occupy.
        self.turns = ThreadPoolExecutor(1, "treadle-sqlite-turns")
        self.commits = ThreadPoolExecutor(1, "treadle-sqlite-commits")
        self._looks = Reader(address.path, self.sql, clock)
        self._glances = Reader(address.path, self.sql, clock, busy_ms=0)
        self._lock = threading.Lock()
        self._closed = False

    # ------------------------------------------------------------- writing

    async def write(
        self, run: Callable[[Tx], T], *, durable: bool = True, frees: bool = False, jobs: int = _ANY
    ) -> T:
        """Carry out a step in the next transaction.

        Args:
            run: the step.
            durable: it has to reach the disk before it is answered.
            frees: it needs no lasting space.
            jobs: how many it may be about; without bound by default.
        """
        syncs = durable and self.address.durability == "full"
        brief = not syncs and jobs <= _FEW and not self.syncs
        operation = Operation(run, self.untold, durable=durable, frees=frees, brief=brief)
        self.writer.submit(operation)
        try:
            answer: T = await operation.future
        finally:
            # The answer that is given next is that of this very step.
            if operation.fates and not operation.future.cancelled():
                self.untold.fates.extend(operation.fates)
        return answer

    def committed(self, tx: Tx) -> None:
        """Tell who waits what a transaction changed."""
        self.syncs = self.syncs or tx.must_sync
        for step in tx.then:
            step()
        freed = {queue: -by for queue, by in tx.grown.items() if by < 0}
        changed = tx.changed or tx.ended
        if not (tx.ready or changed or freed or tx.stirred or tx.earliest is not None):
            return
        notice = Notice(
            ready=tuple(tx.ready),
            changed=tuple(tx.changed),
            ended=tuple(tx.ended),
            freed=freed,
            earliest=tx.earliest,
            stirred=tx.stirred,
        )
        self.hub.tell(notice)
        if tx.earliest is not None and tx.earliest - tx.now > _NEAR:
            notice = msgspec.structs.replace(notice, earliest=None)
        self.peers.tell(notice)

    # ------------------------------------------------------------- reading

    async def glance(self, look: Callable[[Reading], T]) -> T:
        """Look at the database with a single statement that takes microseconds; see ``read``."""
        try:
            return self._glances.look(look, single=True)
        except BackendStalled:  # as below
            return await self.read(look)

    async def read(self, look: Callable[[Reading], T], *, brief: bool = False) -> T:
        """Look at the database in the reader's thread.

        Args:
            look: what to look at.
            brief: it takes microseconds however many jobs there are, so it is done here and now:
                the way to another thread and back would take longer.
        """
        if brief:
            try:
                return self._glances.look(look)
            except BackendStalled:  # the log is just being rebuilt: not to be waited for here
                pass
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._looks.look, look)

    def furnish(self) -> None:
        """Make what a transaction of somebody else needs, who is inside the gate."""
        self.journal.furnish()
        self._glances.open()

    # ------------------------------------------------------------- waking

    def _busy(self, queues: bool, jobs: bool, rooms: bool) -> None:
        if queues or jobs or rooms:
            self.peers.listen(watch=jobs, room=rooms)

    def _heard(self, notice: Notice) -> None:
        self.hub.tell(notice)
        if (notice.changed or notice.ended) and not self.hub.watching:
            self.peers.unwatch()
        if notice.freed and not self.hub.short_of_room:
            self.peers.unwatch(room=True)

    def publish(self, events: Sequence[Event]) -> None:
        """Tell the subscribers of this process and of others."""
        self.subscribers.deliver(events)
        self.peers.publish(events)

    # ------------------------------------------------------------- the end

    def close(self) -> None:
        """Finish what was asked and end all threads."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        self.hub.wake_loop(None)
        self.subscribers.close(None)
        # First, because it tells others of its last commit after it has answered.
        self.writer.close()
        self.peers.close()
        for executor in (self._executor, self.turns, self.commits):
            executor.shutdown()
        self._looks.close()
        self._glances.close()

    def abandon(self) -> None:
        """Forget it in a forked child.

        Its threads are gone there, and its connections must not be closed: that could take
        locks, or the log, away from under the parent.
        """
        import ctypes

        journal = self.journal.connection if self.journal.opened else None
        for connection in (self._looks.connection, self._glances.connection, journal):
            if connection is not None:
                # Never finalised, not even when the interpreter ends.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
