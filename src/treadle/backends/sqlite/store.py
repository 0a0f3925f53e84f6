"""The part of a backend that the loops and threads of a process share."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import msgspec

from treadle.backends.sqlite.address import Address
from treadle.backends.sqlite.claim import Answers
from treadle.backends.sqlite.database import connect, translate
from treadle.backends.sqlite.gate import gate_of
from treadle.backends.sqlite.journal import Journal
from treadle.backends.sqlite.peers import Peers, supported
from treadle.backends.sqlite.poll import Poll
from treadle.backends.sqlite.statements import load
from treadle.backends.sqlite.subscribe import Subscribers
from treadle.backends.sqlite.tx import Reading, Settings, Tx
from treadle.backends.sqlite.wake import Hub, Notice
from treadle.backends.sqlite.writer import Operation, Writer
from treadle.clock import Clock, SystemClock
from treadle.events import Event
from treadle.ids import Ids

__all__ = ["Store"]

T = TypeVar("T")
_NEAR = 10.0
"""Seconds ahead of which other processes are told; they look by themselves that often."""


class Store:
    """One database in one process: a writer, a reader, and who waits.

    It does not survive a fork: the child makes another one, see :meth:`abandon`.
    """

    def __init__(
        self, address: Address, namespace: str, settings: Settings, *, clock: Clock, ids: Ids
    ) -> None:
        self.pid = os.getpid()
        self.address = address
        self.clock = clock
        self.sql = load(namespace)
        self.answers: Answers = {}
        self.hub = Hub(self._busy)
        self.subscribers = Subscribers()
        self.journal = Journal(address, namespace, self.sql, settings)
        self.peers: Peers | Poll
        if supported():
            name = f"{self.pid}-{ids.nonce():016x}"
            self.peers = Peers(address.path, name, self._heard, self.subscribers.deliver)
        else:
            self.peers = Poll(address.path, lambda: not self.hub.idle, self.hub.tell)
        real = SystemClock()
        self.writer = Writer(
            self.journal,
            lambda waiting: gate_of(address.path + "-lock", real, waiting),
            clock=clock,
            patience=address.patience,
            committed=self._committed,
        )
        self._readers = ThreadPoolExecutor(1, "treadle-sqlite-read")
        self._reader: sqlite3.Connection | None = None
        self._lock = threading.Lock()
        self._closed = False

    # ------------------------------------------------------------- writing

    async def write(
        self, run: Callable[[Tx], T], *, durable: bool = True, frees: bool = False
    ) -> T:
        """Carry out a step in the next transaction."""
        operation = Operation(run, durable=durable, frees=frees)
        self.writer.submit(operation)
        answer: T = await operation.future
        return answer

    def _committed(self, tx: Tx) -> None:
        """Tell who waits what a transaction changed."""
        for step in tx.then:
            step()
        if not (tx.ready or tx.changed or tx.stirred or tx.earliest is not None):
            return
        notice = Notice(
            ready=tuple(tx.ready),
            changed=tuple(tx.changed),
            earliest=tx.earliest,
            stirred=tx.stirred,
        )
        self.hub.tell(notice)
        if tx.earliest is not None and tx.earliest - tx.now > _NEAR:
            notice = msgspec.structs.replace(notice, earliest=None)
        self.peers.tell(notice)

    # ------------------------------------------------------------- reading

    async def read(self, look: Callable[[Reading], T]) -> T:
        """Look at the database in the reader's thread."""
        import asyncio

        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, self._look, look)

    def _look(self, look: Callable[[Reading], Any]) -> Any:
        with translate(self.address.path):
            if self._reader is None:
                self._reader = connect(self.address.path)
                self._reader.execute("PRAGMA query_only = ON")
            connection = self._reader
            # One transaction, so that all statements see the same moment.
            connection.execute("BEGIN")
            try:
                return look(Reading(connection, self.sql, self.clock.now()))
            finally:
                connection.execute("ROLLBACK")

    # ------------------------------------------------------------- waking

    def _busy(self, queues: bool, jobs: bool) -> None:
        if queues or jobs:
            self.peers.listen(watch=jobs)

    def _heard(self, notice: Notice) -> None:
        self.hub.tell(notice)
        if notice.changed and not self.hub.watching:
            self.peers.unwatch()

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
        self.peers.close()
        self._readers.shutdown()
        if self._reader is not None:
            self._reader.close()
        self.writer.close()

    def abandon(self) -> None:
        """Forget it in a forked child.

        Its threads are gone there, and its connections must not be closed: that could take
        locks, or the log, away from under the parent.
        """
        import ctypes

        for connection in (self._reader, self.journal.opened and self.journal.connection):
            if connection:
                # Never finalised, not even when the interpreter ends.
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))
