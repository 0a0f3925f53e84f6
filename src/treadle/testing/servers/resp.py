"""A few commands for a Redis server, without a client library."""

from __future__ import annotations

import socket
import ssl
from contextlib import closing
from io import BufferedRWPair
from typing import TypeAlias

from treadle.testing.servers.ports import HOST

__all__ = ["Reply", "RespError", "ask"]

# What is no text, such as some keys, comes back as it was when it is sent again.
_BYTES = "surrogateescape"

Reply: TypeAlias = "str | int | list[Reply] | None"


class RespError(Exception):
    """The server refused a command; its words."""


def ask(
    port: int,
    *commands: tuple[object, ...],
    tls: ssl.SSLContext | None = None,
    timeout: float = 5.0,
) -> Reply:
    """Send commands one after the other over a connection of their own; the last one's reply.

    Raises:
        RespError: the server refused one.
        OSError: it cannot be reached.
    """
    plain = socket.create_connection((HOST, port), timeout=timeout)
    with closing(plain if tls is None else tls.wrap_socket(plain, server_hostname=HOST)) as line:
        stream = line.makefile("rwb")
        with closing(stream):
            reply: Reply = None
            for words in commands:
                texts = [str(word).encode(errors=_BYTES) for word in words]
                stream.write(b"*%d\r\n" % len(texts))
                for text in texts:
                    stream.write(b"$%d\r\n%s\r\n" % (len(text), text))
                stream.flush()
                reply = _read(stream)
            return reply


def _read(stream: BufferedRWPair) -> Reply:
    line = stream.readline()
    if not line.endswith(b"\r\n"):
        raise ConnectionError("the server closed the connection")
    kind, rest = line[:1], line[1:-2]
    match kind:
        case b"+":
            return rest.decode()
        case b"-":
            raise RespError(rest.decode())
        case b":":
            return int(rest)
        case b"$":
            size = int(rest)
            return None if size < 0 else stream.read(size + 2)[:-2].decode(errors=_BYTES)
        case b"*":
            return [_read(stream) for _ in range(int(rest))]
        case _:
            raise ConnectionError(f"no reply of Redis: {line!r}")
