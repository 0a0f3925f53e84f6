"""The one thread that listens to all children of this process."""

from __future__ import annotations

import contextlib
import heapq
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Callable
from itertools import count

from treadle.clock import Clock, SystemClock
from treadle.logs import get_logger
from treadle.loopthread import hears_ends

__all__ = ["Hub", "Later", "hub", "leave"]

_log = get_logger("treadle.pools")
_READ, _WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE


class Later:
    """A callback that the hub will run, unless it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        """Do not run it."""
        self.callback = None


class Hub:
    """Runs callbacks when sockets can be read or written and when times have come.

    Its thread lives while somebody uses it. Everything may be called from any thread.

    Args:
        clock: measures the times.
    """

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._selector = selectors.DefaultSelector()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        self._selector.register(self._woken, _READ, (self._rest, None))
        self._posted: deque[Callable[[], object]] = deque()
        self._times: list[tuple[float, int, Later]] = []
        self._order = count()
        # What is not listened to for a moment.
        self._resting: set[socket.socket] = set()
        self.users = 0
        self.thread = threading.Thread(target=self._run, name="treadle-processes", daemon=True)

    @property
    def is_current(self) -> bool:
        """Whether the caller runs in its thread."""
        return threading.current_thread() is self.thread

    def post(self, callback: Callable[[], object]) -> None:
        """Run a callback in its thread, soon."""
        self._posted.append(callback)
        with contextlib.suppress(OSError):  # it is full of wake-ups, or has ended
            self._waker.send(b"\0")

    def watch(
        self,
        sock: socket.socket,
        readable: Callable[[], object],
        writable: Callable[[], object] | None = None,
    ) -> None:
        """Call ``readable`` when there is something to read, ``writable`` when there is room."""
        self.post(lambda: self._watch(sock, readable, writable))

    def _watch(
        self,
        sock: socket.socket,
        readable: Callable[[], object],
        writable: Callable[[], object] | None,
    ) -> None:
        if sock.fileno() < 0:
            return  # closed meanwhile
        self._resting.discard(sock)
        events = _READ if writable is None else _READ | _WRITE
        try:
            self._selector.modify(sock, events, (readable, writable))
        except KeyError:
            self._selector.register(sock, events, (readable, writable))

    def rest(self, sock: socket.socket, seconds: float, readable: Callable[[], object]) -> None:
        """Listen to it again after a time. In the thread of the hub."""
        try:
            _, writable = self._selector.get_key(sock).data
            self._selector.unregister(sock)
        except (KeyError, ValueError):
            return

        def again() -> None:
            if sock in self._resting:  # else somebody has needed it earlier, or nobody any more
                self._watch(sock, readable, writable)

        self._resting.add(sock)
        due = self._clock.monotonic() + seconds
        heapq.heappush(self._times, (due, next(self._order), Later(again)))

    def pause(self, sock: socket.socket) -> None:
        """Listen to it no more. In the thread of the hub."""
        self._resting.discard(sock)
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(sock)

    def forget(self, sock: socket.socket) -> None:
        """Listen to it no more, and close it. In the thread of the hub."""
        self.pause(sock)
        sock.close()

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Later:
        """Run a callback in its thread after a time."""
        later = Later(callback)
        due = self._clock.monotonic() + seconds
        self.post(lambda: heapq.heappush(self._times, (due, next(self._order), later)))
        return later

    # ------------------------------------------------------------- its thread

    def _run(self) -> None:
        hears_ends()
        while self.users or self._posted:
            self._listen()
            while self._posted:
                self._call(self._posted.popleft())
            self._ring()
        self._selector.close()
        self._waker.close()
        self._woken.close()

    def _listen(self) -> None:
        # By itself, so that what was heard last is kept by no variable until there is more.
        for key, events in self._selector.select(self._patience()):
            if isinstance(key.fileobj, socket.socket) and key.fileobj.fileno() < 0:
                continue  # what came before has closed it
            readable, writable = key.data
            if events & _READ:
                self._call(readable)
            if events & _WRITE and writable is not None:
                self._call(writable)

    def _patience(self) -> float | None:
        while self._times and self._times[0][2].callback is None:
            heapq.heappop(self._times)
        if self._posted:
            return 0
        return max(0.0, self._times[0][0] - self._clock.monotonic()) if self._times else None

    def _ring(self) -> None:
        while self._times and self._times[0][0] <= self._clock.monotonic():
            callback = heapq.heappop(self._times)[2].callback
            if callback is not None:
                self._call(callback)

    def _call(self, callback: Callable[[], object]) -> None:
        try:
            callback()
        # One child's trouble is not that of the others, whatever it raises.
        except BaseException:  # noqa: BLE001
            _log.exception("processes.callback_failed", callback=repr(callback))

    def _rest(self) -> None:
        with contextlib.suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass

    def drop(self) -> None:
        """In a forked child: what is open is the parent's, whose death it must not hide."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._waker.close()
        self._selector.close()


_lock = threading.Lock()
_hub: Hub | None = None


def hub() -> Hub:
    """The hub of this process, in use once more. :func:`leave` ends the use."""
    global _hub
    with _lock:
        if _hub is None:
            _hub = Hub()
            _hub.users = 1
            _hub.thread.start()
        else:
            _hub.users += 1
        return _hub


def leave(used: Hub) -> None:
    """End a use; with the last one its thread ends."""
    global _hub
    with _lock:
        used.users -= 1
        if used.users == 0 and _hub is used:
            _hub = None
    used.post(lambda: None)


def _after_fork() -> None:
    global _hub, _lock
    _lock = threading.Lock()
    if _hub is not None:
        _hub.drop()
        _hub = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
