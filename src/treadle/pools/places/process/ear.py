"""Who listens to a child: the thread that listens to all, or the event loop of who waits for it."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from functools import partial
from typing import Protocol

from treadle.pools.places.process.hub import Hub

__all__ = ["Ear", "LoopEar", "ear_of"]


class Ear(Protocol):
    """Listens to sockets; see :class:`~treadle.pools.places.process.hub.Hub`, which is one."""

    @property
    def is_current(self) -> bool:
        """Whether the caller runs where what was heard is told."""
        ...

    def post(self, callback: Callable[[], object]) -> None:
        """Run a callback there, soon. From any thread."""
        ...

    def watch(
        self,
        sock: socket.socket,
        readable: Callable[[], object],
        writable: Callable[[], object] | None = None,
    ) -> None:
        """Call ``readable`` when there is something to read, ``writable`` when there is room."""
        ...

    def rest(self, sock: socket.socket, seconds: float, readable: Callable[[], object]) -> None:
        """Listen to it again after a time, or go on."""
        ...

    def pause(self, sock: socket.socket) -> None:
        """Listen to it no more."""
        ...

    def forget(self, sock: socket.socket) -> None:
        """Listen to it no more, and close it."""
        ...


class LoopEar:
    """Listens in an event loop: who waits there hears of an end without a thread in between.

    Args:
        loop: lives at least as long as what is listened to; after it the hub does what is left.
        hub: of this process.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, hub: Hub) -> None:
        self._loop = loop
        self._hub = hub

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in the loop."""
        return asyncio._get_running_loop() is self._loop

    def post(self, callback: Callable[[], object]) -> None:
        """Run a callback in the loop, soon."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:  # it was closed
            self._hub.post(callback)

    def watch(
        self,
        sock: socket.socket,
        readable: Callable[[], object],
        writable: Callable[[], object] | None = None,
    ) -> None:
        """Call ``readable`` when there is something to read, ``writable`` when there is room."""
        if self.is_current:
            self._watch(sock, readable, writable)
        else:
            self.post(partial(self._watch, sock, readable, writable))

    def _watch(
        self,
        sock: socket.socket,
        readable: Callable[[], object],
        writable: Callable[[], object] | None,
    ) -> None:
        if sock.fileno() < 0 or self._loop.is_closed():
            return
        self._loop.add_reader(sock, readable)
        if writable is None:
            self._loop.remove_writer(sock)
        else:
            self._loop.add_writer(sock, writable)

    def rest(self, sock: socket.socket, seconds: float, readable: Callable[[], object]) -> None:
        """Go on: what is heard between two steps of the loop is heard together."""

    def pause(self, sock: socket.socket) -> None:
        """Listen to it no more."""
        with contextlib.suppress(RuntimeError):  # the loop was closed
            self._loop.remove_reader(sock)
            self._loop.remove_writer(sock)

    def forget(self, sock: socket.socket) -> None:
        """Listen to it no more, and close it."""
        if sock.fileno() >= 0:
            self.pause(sock)
        sock.close()


def ear_of(loop: asyncio.AbstractEventLoop | None, hub: Hub) -> Ear:
    """What listens for a loop, or for nobody in particular."""
    return hub if loop is None else LoopEar(loop, hub)
