"""Wake-ups between processes: a datagram to each process that listens, after a commit.

Each process that waits for something binds a socket in a directory beside the database. Files
beside its socket say what else it wants to hear of. What is lost costs a delay, never a job:
everything a datagram says can be read in the database.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from treadle.backends.common.hub import Notice
from treadle.clock import SystemClock
from treadle.events import Event

__all__ = ["Peers", "supported"]

_FRESH = 0.05
"""Seconds for which a directory listing is not trusted: its time stamp is as coarse as that."""
_MOST_IDS = 500
_WATCH = ".watch"
_EVENTS = ".events"
_ROOM = ".room"
_SOCKET = ".sock"
_END = b"end"


def supported() -> bool:
    """Whether this machine has such sockets."""
    return hasattr(socket, "AF_UNIX")


class _Message(msgspec.Struct, frozen=True, array_like=True):
    """One datagram."""

    notice: Notice | None = None
    events: tuple[Event, ...] = ()


_decoder = msgspec.msgpack.Decoder(_Message)


def decoded(data: bytes) -> _Message:
    """A datagram. Of one that cannot be read, it may be of another version: look at everything."""
    try:
        return _decoder.decode(data)
    except Exception:  # noqa: BLE001  any bytes may come, and the thread must go on listening
        return _Message(notice=Notice(changed=None, stirred=True))


class Peers:
    """The other processes of this database that listen.

    Args:
        path: the database.
        name: of this process among them, unique.
        heard: given each notice of another process.
        events: given the events of another process.
    """

    def __init__(
        self,
        path: str,
        name: str,
        heard: Callable[[Notice], object],
        events: Callable[[Sequence[Event]], object],
    ) -> None:
        self._directory = Path(path + "-wake")
        self._name = name
        self._heard = heard
        self._events = events
        self._clock = SystemClock()
        self._lock = threading.Lock()
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._receiver: socket.socket | None = None
        self._thread: threading.Thread | None = None
        self._marked: set[str] = set()
        self._names: tuple[str, ...] = ()
        self._stamp = (-1, 0.0)
        # Who tells and who listens may be the first to need it, each in a thread of its own.
        self._opening = threading.Lock()
        self._handle = -1
        self._closed = False

    # ------------------------------------------------------------- telling others

    def tell(self, notice: Notice) -> None:
        """Tell those whom it may concern."""
        names = self._listing()
        if not names:
            return
        changed, ended = notice.changed, notice.ended
        if changed is None or len(changed) + len(ended) > _MOST_IDS:
            changed, ended = None, ()
        for name in names:
            if not name.endswith(_SOCKET):
                continue
            stem = name.removesuffix(_SOCKET)
            watches = stem + _WATCH in names
            message = msgspec.structs.replace(
                notice,
                changed=changed if watches else (),
                ended=ended if watches else (),
                freed=notice.freed if stem + _ROOM in names else {},
            )
            if message != _NOTHING:
                self._send(name, _Message(notice=message))

    def publish(self, events: Sequence[Event]) -> None:
        """Tell those who subscribed to events."""
        for name in self._listing():
            if name.endswith(_EVENTS):
                self._send(name.removesuffix(_EVENTS) + _SOCKET, _Message(events=tuple(events)))

    def _send(self, name: str, message: _Message) -> None:
        try:
            self._sender.sendto(msgspec.msgpack.encode(message), self._address(name))
        except (ConnectionRefusedError, FileNotFoundError):
            self._bury(name)
        except OSError as error:
            # A full buffer: its owner has enough to read to look by itself. Closed: not its fault.
            if error.errno not in (errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.EBADF):
                self._bury(name)

    def _bury(self, name: str) -> None:
        """Remove what a dead process left."""
        stem = name.removesuffix(_SOCKET)
        for suffix in (_SOCKET, _WATCH, _ROOM, _EVENTS):
            with contextlib.suppress(OSError):
                (self._directory / (stem + suffix)).unlink()

    def _listing(self) -> tuple[str, ...]:
        """What other processes put into the directory; read again only when it changed."""
        try:
            stamp = self._directory.stat().st_mtime_ns
        except OSError:
            return ()
        now = self._clock.monotonic()
        if stamp != self._stamp[0] or now - self._stamp[1] < _FRESH:
            if stamp != self._stamp[0]:
                self._stamp = (stamp, now)
            with contextlib.suppress(OSError):
                names = [path.name for path in self._directory.iterdir()]
                self._names = tuple(name for name in names if not name.startswith(self._name))
        return self._names

    # ------------------------------------------------------------- listening

    @property
    def hears(self) -> bool:
        """Whether it hears of what others commit from now on."""
        return self._thread is not None

    def listen(self, *, watch: bool = False, room: bool = False, events: bool = False) -> None:
        """Hear of others from now on; also of changes of jobs, of room, or of events."""
        with self._lock:
            if self._closed:
                return
            if self._thread is None:
                self._bind()
            for wanted, suffix in ((watch, _WATCH), (room, _ROOM), (events, _EVENTS)):
                if wanted and suffix not in self._marked:
                    self._marked.add(suffix)
                    self._mark(suffix)

    def unwatch(self, *, room: bool = False) -> None:
        """Nobody here waits for changes of jobs, or for room, any more."""
        suffix = _ROOM if room else _WATCH
        with self._lock:
            if suffix in self._marked:
                self._marked.discard(suffix)
                with contextlib.suppress(OSError):
                    (self._directory / (self._name + suffix)).unlink()

    def _mark(self, suffix: str) -> None:
        with contextlib.suppress(OSError):
            (self._directory / (self._name + suffix)).touch(0o600)

    def _bind(self) -> None:
        with contextlib.suppress(FileExistsError):
            self._directory.mkdir(0o700)
        receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            receiver.bind(self._address(self._name + _SOCKET))
        except BaseException:
            receiver.close()
            raise
        self._receiver = receiver
        self._thread = threading.Thread(
            target=self._listen, args=(receiver,), name="treadle-sqlite-wake", daemon=True
        )
        self._thread.start()

    def _address(self, name: str) -> str:
        path = str(self._directory / name)
        if len(os.fsencode(path)) < 100:
            return path
        # The name of a socket has room for 107 bytes; through the descriptor it always fits.
        with self._opening:
            if self._handle < 0:
                if self._closed:
                    raise OSError(errno.EBADF, "closed")
                self._handle = os.open(self._directory, os.O_RDONLY)
            return f"/proc/self/fd/{self._handle}/{name}"

    def _listen(self, receiver: socket.socket) -> None:
        while True:
            data = receiver.recv(1 << 18)
            if self._closed:
                return
            message = decoded(data)
            if message.notice is not None:
                self._heard(message.notice)
            if message.events:
                self._events(message.events)

    def close(self) -> None:
        """Hear no more."""
        with self._lock:
            self._closed = True
            receiver, thread = self._receiver, self._thread
            if receiver is not None:
                with contextlib.suppress(OSError):
                    receiver.shutdown(socket.SHUT_RDWR)
                with contextlib.suppress(OSError):
                    self._sender.sendto(_END, self._address(self._name + _SOCKET))
        # Outside the lock: what the thread has just heard may lead it back to this object.
        if thread is not None:
            thread.join()
        with self._lock:
            if receiver is not None:
                receiver.close()
                self._bury(self._name + _SOCKET)
            self._sender.close()
            with self._opening:
                if self._handle >= 0:
                    os.close(self._handle)
                self._handle = -1


_NOTHING = Notice()
