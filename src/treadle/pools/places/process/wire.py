"""Frames over a stream socket, some with descriptors."""

from __future__ import annotations

import array
import os
import socket
import struct
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

__all__ = ["Frame", "Receiver", "Sender", "frame"]

# To a child: how its worker is made; a call.
PLAN: Final = 1
CALL: Final = 2
# To one whose calls overlap: a call has to end. From it: that it was heard.
ASK: Final = 12
ASKED: Final = 13
# From a child: what a call returned or raised, that it was passed over, what it says meanwhile.
VALUE: Final = 3
ERROR: Final = 4
SKIPPED: Final = 5
SAID: Final = 6
LOG: Final = 7
# To the helper: start a child, send it a signal. From that child, first of all: its process. From
# the helper: it died.
BIRTH: Final = 8
SIGNAL: Final = 9
BORN: Final = 10
DIED: Final = 11

# What it is, how many descriptors come with it, bytes of its body, its number.
_HEAD = struct.Struct("<BBIQ")
_MOST = 1 << 16
_DESCRIPTORS = 8
_FLAGS = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


class Frame(NamedTuple):
    """One message."""

    tag: int
    number: int
    body: bytes
    descriptors: tuple[int, ...] = ()


# Without the Python half of what makes a named tuple: there is one for each call and each result.
_tuple: Callable[[type[Frame], tuple[Any, ...]], Frame] = vars(tuple)["__new__"]


def frame(tag: int, number: int, body: bytes = b"", descriptors: int = 0) -> bytes:
    """A message as bytes."""
    return _HEAD.pack(tag, descriptors, len(body), number) + body


class Receiver:
    """Takes a stream of bytes apart.

    Args:
        sock: where they come from.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        # The beginning of a frame whose rest has not come, and how long it is at the least.
        self._left = bytearray()
        self._wanted = 0
        self._descriptors: deque[int] = deque()
        self._room = socket.CMSG_SPACE(_DESCRIPTORS * array.array("i").itemsize)

    def receive(self) -> list[Frame] | None:
        """What has come, once something has; ``None`` at the end of the stream.

        Raises:
            BlockingIOError: nothing has, and the socket does not wait.
        """
        try:
            data, ancillary, _, _ = self._sock.recvmsg(_MOST, self._room, _FLAGS)
        except ConnectionError:
            return None
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers = array.array("i")
                numbers.frombytes(payload[: len(payload) - len(payload) % numbers.itemsize])
                self._descriptors.extend(numbers)
        if not data:
            return None
        left = self._left
        if left:
            left += data
            if len(left) < self._wanted:
                return []
            data = bytes(left)
            left.clear()
        return self._split(data)

    def _split(self, data: bytes) -> list[Frame]:
        found: list[Frame] = []
        at, end, head, unpack = 0, len(data), _HEAD.size, _HEAD.unpack_from
        self._wanted = head
        while end - at >= head:
            tag, descriptors, length, number = unpack(data, at)
            body = at + head
            following = body + length
            if following > end:
                self._wanted = following - at
                break
            with_it = self._taken(descriptors) if descriptors else ()
            found.append(_tuple(Frame, (tag, number, data[body:following], with_it)))
            at = following
        if at < end:
            self._left += data[at:]
        return found

    def _taken(self, number: int) -> tuple[int, ...]:
        return tuple(self._descriptors.popleft() for _ in range(number))

    def close(self) -> None:
        """Let go of what nobody took."""
        while self._descriptors:
            os.close(self._descriptors.popleft())


class Sender:
    """Sends frames over a socket that does not wait, and keeps what it had no room for.

    Args:
        sock: where they go.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._left: deque[tuple[memoryview, Sequence[int]]] = deque()

    @property
    def is_full(self) -> bool:
        """Whether something is kept."""
        return bool(self._left)

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send, or keep. The descriptors stay the caller's, who may close them afterwards."""
        sent = 0
        if not self._left:
            try:
                sent = send_some(self._sock, data, descriptors)
            except BlockingIOError:
                pass
            except OSError:  # the other side has gone, and its death is told elsewhere
                return
        if sent == len(data):
            return
        kept = () if sent else tuple(os.dup(one) for one in descriptors)
        self._left.append((memoryview(data)[sent:], kept))

    def flush(self) -> None:
        """Send what there is room for. What cannot be sent any more is forgotten."""
        while self._left:
            data, kept = self._left[0]
            try:
                sent = send_some(self._sock, data, kept)
            except BlockingIOError:
                return
            except OSError:
                self.close()
                return
            _close(kept)
            if sent == len(data):
                self._left.popleft()
            else:
                self._left[0] = (data[sent:], ())

    def close(self) -> None:
        """Forget what is kept."""
        while self._left:
            _close(self._left.popleft()[1])


def _close(descriptors: Sequence[int]) -> None:
    for one in descriptors:
        os.close(one)


def send_some(sock: socket.socket, data: memoryview | bytes, descriptors: Sequence[int]) -> int:
    """Send what there is room for; its bytes. Descriptors go with the first of them."""
    if not descriptors:
        return sock.send(data)
    rights = array.array("i", descriptors)
    return sock.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])


def send_all(sock: socket.socket, data: bytes, descriptors: Sequence[int] = ()) -> None:
    """Send over a socket that waits."""
    sent = send_some(sock, data, descriptors)
    if sent < len(data):
        sock.sendall(memoryview(data)[sent:])
