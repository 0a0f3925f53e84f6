"""One child of a place, from its birth to its death."""

from __future__ import annotations

import logging
import socket
import sys
import threading
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from treadle.pools.places.process.birth import Birth, Death
from treadle.pools.places.process.board import Board
from treadle.pools.places.process.ear import Ear
from treadle.pools.places.process.hub import Later
from treadle.pools.places.process.nursery import KILL, TERM, Nursery
from treadle.pools.places.process.terms import Terms
from treadle.pools.places.process.wire import Frame, Receiver, Sender

__all__ = ["REST", "Life", "Owner"]

REST = 0.001
"""Seconds in which a child is not heard that has enough to do for longer, and reports much more
often: to be woken for each report costs more than most calls."""


class Owner(Protocol):
    """Hears what a child says. Where its ear listens, which is one place for all of a life."""

    def heard(self, life: Life, frames: Sequence[Frame]) -> bool:
        """It said something; whether it need not be heard again at once."""
        ...

    def died(self, life: Life, death: Death) -> None:
        """It has ended, and everything that it said was heard."""
        ...


class Life:
    """A child and the connection to it.

    Args:
        owner: hears of it.
        nursery: starts it, and has to live as long.
        name: of the place.
        terms: of the place.
        ear: listens to it.
    """

    def __init__(self, owner: Owner, nursery: Nursery, name: str, terms: Terms, ear: Ear) -> None:
        self.nursery = nursery
        self._ear = ear
        self.pid = 0
        # It carries out calls: its worker is made.
        self.ready = False
        # It is sent no more calls, and then not even the last one.
        self.retiring = False
        self.leaving = False
        # Calls that it was sent, and those that it has done with.
        self.given = 0
        self.reported = 0
        # When it was born, by the clock of the place.
        self.since = 0.0
        self._owner = owner
        self._patience = terms.patience
        self._dead = self._closed = False
        self._sending = threading.Lock()
        self._insisting: Later | None = None
        self._sock, theirs = socket.socketpair()
        self.board = Board()
        self._sock.setblocking(False)
        self._sender = Sender(self._sock)
        self._receiver = Receiver(self._sock)
        birth = Birth(
            name=name,
            path=list(map(str, sys.path)),
            folder=_folder(),
            env=dict(terms.env),
            log_level=logging.getLogger().getEffectiveLevel(),
            slots=terms.slots,
            forks=terms.fork,
        )
        ear.watch(self._sock, self._readable)
        with theirs:
            self._number = nursery.birth(birth, theirs.fileno(), self.board.descriptor, self)
        self.board.close_descriptor()

    def send(self, frames: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send it something."""
        with self._sending:
            if self._dead or not frames:
                return
            was_full = self._sender.is_full
            self._sender.send(frames, descriptors)
            full = self._sender.is_full
        if full and not was_full:
            self._ear.watch(self._sock, self._readable, self._writable)

    def has_served(self, terms: Terms, now: float) -> bool:
        """Whether it has lived long enough."""
        if terms.max_calls is not None and self.reported >= terms.max_calls:
            return True
        if terms.max_age is not None and now - self.since >= terms.max_age:
            return True
        return terms.max_rss is not None and self.board.resident > terms.max_rss

    def ask(self, number: int, reason: BaseException) -> None:
        """Ask a call to end: a coroutine is cancelled, plain code can ask whether it was."""
        self.board.ask(number, reason)
        self.nursery.signal(self._number, TERM)

    def end(self, number: int) -> None:
        """Have a call end: plain code is interrupted."""
        self.board.end(number)
        self.nursery.signal(self._number, TERM)

    def kill(self) -> None:
        """End it now, with everything that it has started."""
        self.nursery.signal(self._number, KILL, whole=True)

    def close(self) -> None:
        """Have it end when it has read everything."""
        self.retiring = True
        with self._sending:
            if self._dead or self._closed:
                return
            self._closed = True
            self._sock.shutdown(socket.SHUT_WR)
            # Threads of the worker's may keep it.
            self._kill_in_the_end()

    def _kill_in_the_end(self) -> None:
        """Give it some time to end by itself. Who calls holds the lock."""
        if self._insisting is None:
            self._insisting = self.nursery.hub.call_later(self._patience, self.kill)

    # ------------------------------------------------------------- where its ear listens

    def _writable(self) -> None:
        with self._sending:
            self._sender.flush()
            full = self._sender.is_full
        if not full:
            self._ear.watch(self._sock, self._readable)

    def _readable(self) -> None:
        try:
            frames = self._receiver.receive()
        except BlockingIOError:
            return
        if frames is None:
            # Its death is told by the helper; a child that closes and stays has to be ended.
            self._ear.pause(self._sock)
            with self._sending:
                self._kill_in_the_end()
            return
        if self._owner.heard(self, frames):
            self._ear.rest(self._sock, REST, self._readable)

    def died(self, death: Death) -> None:
        """It has ended. In the thread of the hub."""
        if self._ear.is_current:
            self._mourn(death)
        else:
            self._ear.post(partial(self._mourn, death))

    def _mourn(self, death: Death) -> None:
        """Hear what it said before its end, and let go."""
        while True:
            try:
                frames = self._receiver.receive()
            except BlockingIOError:
                break
            if frames is None:
                break
            self._owner.heard(self, frames)
        self._owner.died(self, death)

    def let_go(self) -> None:
        """Close what belongs to it. The board is nobody's any more."""
        with self._sending:
            self._dead = True
            self._sender.close()
            if self._insisting is not None:
                # It would keep the place, and all that is its own, until then.
                self._insisting.cancel()
        self._receiver.close()
        self._ear.forget(self._sock)
        self.board.close()


def _folder() -> str:
    try:
        return str(Path.cwd())
    except OSError:  # it was removed
        return "/"
