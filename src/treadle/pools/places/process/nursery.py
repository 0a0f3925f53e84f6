"""The helper process, as its parent sees it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from itertools import count
from typing import Protocol

import msgspec

from treadle.pools.places.process import wire
from treadle.pools.places.process.birth import Birth, Death, House
from treadle.pools.places.process.hub import Hub, hub, leave
from treadle.pools.places.process.wire import Frame, Receiver, Sender, frame

__all__ = ["Nursery", "Parent", "nursery"]

# What belongs to this process alone: the store may have a password.
_PRIVATE = ("TREADLE_URL",)
_START = "import sys; sys.path[:] = {path!r}; from {module} import main; main({descriptor})"
_MODULE = "treadle.pools.places.process.helper"


class Parent(Protocol):
    """Hears of a child. In the thread of the hub."""

    def died(self, death: Death) -> None:
        """It does not any more."""
        ...


class Nursery:
    """Starts children through a helper process, which it keeps as long as somebody uses it.

    Args:
        preload: modules that children find loaded.
    """

    def __init__(self, preload: tuple[str, ...]) -> None:
        self.preload = preload
        self.users = 0
        # The helper has died; a new nursery has to be made.
        self.gone = False
        self.hub: Hub = hub()
        self._parents: dict[int, Parent] = {}
        self._numbers = count(1)
        self._lock = threading.Lock()
        self._control, theirs = socket.socketpair()
        try:
            self._process = _start(theirs.fileno())
        except BaseException:
            self._control.close()
            leave(self.hub)
            raise
        finally:
            theirs.close()
        self._control.setblocking(False)
        self._receiver = Receiver(self._control)
        self._sender = Sender(self._control)
        self.hub.watch(self._control, self._readable)
        house = House(path=list(map(str, sys.path)), preload=preload)
        self._order(frame(wire.PLAN, 0, msgspec.json.encode(house)))

    def birth(self, birth: Birth, sock: int, board: int, parent: Parent) -> int:
        """Have a child started; its number."""
        with self._lock:
            number = next(self._numbers)
            self._parents[number] = parent
        self._order(frame(wire.BIRTH, number, msgspec.json.encode(birth), 2), (sock, board))
        if self.gone:
            self.hub.post(self._lose)
        return number

    def signal(self, number: int, what: int, *, whole: bool = False) -> None:
        """Send a signal to a child, or to everything that it has started as well."""
        self._order(frame(wire.SIGNAL, number, bytes((what, whole))))

    def _order(self, order: bytes, descriptors: tuple[int, ...] = ()) -> None:
        with self._lock:
            self._sender.send(order, descriptors)
            full = self._sender.is_full
        if full:
            self.hub.watch(self._control, self._readable, self._writable)

    # ------------------------------------------------------------- in the thread of the hub

    def _writable(self) -> None:
        with self._lock:
            self._sender.flush()
            full = self._sender.is_full
        if not full:
            self.hub.watch(self._control, self._readable)

    def _readable(self) -> None:
        try:
            frames = self._receiver.receive()
        except BlockingIOError:
            return
        if frames is None:
            self._end()
            return
        for one in frames:
            self._hear(one)

    def _hear(self, told: Frame) -> None:
        if told.tag == wire.DIED:
            parent = self._parents.pop(told.number, None)
            if parent is not None:
                parent.died(msgspec.json.decode(told.body, type=Death))

    def _end(self) -> None:
        """The helper has ended, and its children with it."""
        self.gone = True
        self._sender.close()
        self._receiver.close()
        self.hub.forget(self._control)
        self._process.wait()
        self._lose()
        leave(self.hub)

    def _lose(self) -> None:
        while self._parents:
            _, parent = self._parents.popitem()
            parent.died(Death())

    def close(self) -> None:
        """Have the helper end. No child lives."""
        self.hub.post(self._close)

    def _close(self) -> None:
        if not self.gone:
            # It reads the end and ends; so does what is read from it.
            self._control.shutdown(socket.SHUT_WR)


def _start(descriptor: int) -> subprocess.Popen[bytes]:
    code = _START.format(path=list(map(str, sys.path)), module=_MODULE, descriptor=descriptor)
    return subprocess.Popen(
        [sys.executable, *_flags(), "-c", code],
        stdin=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name not in _PRIVATE},
        pass_fds=(descriptor,),
        start_new_session=True,
    )


def _flags() -> list[str]:
    """Flags of this interpreter that hold for children as well."""
    options: Mapping[str, str | bool] = sys._xoptions
    return [
        *(f"-X{name}" if value is True else f"-X{name}={value}" for name, value in options.items()),
        *(f"-W{one}" for one in sys.warnoptions),
        *(["-O"] * sys.flags.optimize),
        *(["-B"] if sys.dont_write_bytecode else []),
        *(["-s"] if sys.flags.no_user_site else []),
        *(["-I"] if sys.flags.isolated else []),
    ]


_lock = threading.Lock()
_nurseries: dict[tuple[str, ...], Nursery] = {}


def nursery(preload: tuple[str, ...]) -> Nursery:
    """The nursery with these modules, in use once more. :func:`release` ends the use."""
    with _lock:
        found = _nurseries.get(preload)
        if found is None or found.gone:
            found = _nurseries[preload] = Nursery(preload)
        found.users += 1
        return found


def release(used: Nursery) -> None:
    """End a use; with the last one the helper ends."""
    with _lock:
        used.users -= 1
        if used.users:
            return
        if _nurseries.get(used.preload) is used:
            del _nurseries[used.preload]
    used.close()


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()
    for one in _nurseries.values():
        # It is the parent's to wait for.
        one._process.returncode = 0
    _nurseries.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)

KILL = int(signal.SIGKILL) if hasattr(signal, "SIGKILL") else 9
TERM = int(signal.SIGTERM)
