"""Servers behind a proxy, and what a request to each of them looks like on its way."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Protocol
from urllib.parse import quote

import pytest

from tests.backends.postgres_support import drop
from tests.faults.shop_support import NAMESPACE, text_of
from tests.servers import own
from treadle.backends.postgres.statements import prefix_of
from treadle.testing.proxy import Proxy
from treadle.testing.servers import PostgresServer, RabbitServer, RedisServer, Server

__all__ = ["Network", "network", "proxy", "started"]


class Network(Protocol):
    """A server of the tests' own, reached directly or through a proxy."""

    kind: str
    server: Server

    def url(self, port: int | None = None, options: str = "patience=5") -> str:
        """Of the store, at another port than the server's own for the proxy's."""
        ...

    def start(self) -> object:
        """Start what is needed."""
        ...

    def clear(self) -> None:
        """Remove what a test has left."""
        ...

    def close(self) -> None:
        """End what was started."""
        ...

    def hears(self) -> bytes:
        """What a connection has carried up by which a process is told of others' changes."""
        ...

    def claim_of(self, nonce: int) -> bytes:
        """What a claim of a session has in it."""
        ...

    def step(self, name: str, *values: str) -> bytes:
        """What the request has in it by which a step is carried out.

        Args:
            name: of the step.
            values: ids that it names.
        """
        ...


class _Redis:
    kind = "redis"

    def __init__(self) -> None:
        self.server = RedisServer()

    def url(self, port: int | None = None, options: str = "patience=5") -> str:
        return f"redis://127.0.0.1:{port or self.server.port}/0?{options}"

    def start(self) -> object:
        return self.server.start()

    def clear(self) -> None:
        self.server.ask("FLUSHALL")

    def close(self) -> None:
        self.server.close()

    def hears(self) -> bytes:
        return b"SUBSCRIBE"

    def claim_of(self, nonce: int) -> bytes:
        return text_of("claim")

    def step(self, name: str, *values: str) -> bytes:
        return text_of(name)


class _Postgres:
    kind = "postgres"

    def __init__(self) -> None:
        self.server = PostgresServer()

    def url(self, port: int | None = None, options: str = "patience=5") -> str:
        return f"postgresql://postgres@127.0.0.1:{port or self.server.port}/test?{options}"

    def start(self) -> object:
        return self.server.start()

    def clear(self) -> None:
        drop(self.server.url, NAMESPACE)

    def close(self) -> None:
        self.server.close()

    def hears(self) -> bytes:
        return b"LISTEN"

    def claim_of(self, nonce: int) -> bytes:
        return struct.pack(">q", nonce)

    def step(self, name: str, *values: str) -> bytes:
        """Statements are sent once and called by number: what follows names their values."""
        if name == "claim" and not values:
            return f"{prefix_of(NAMESPACE)}_claim".encode()
        # The whole text: READ COMMITTED stands in another one.
        return values[0].encode() if values else b"COMMIT\0"


class _Companion:
    """RabbitMQ behind the proxy; the companion, which has the jobs, is always reached."""

    kind = "rabbitmq"

    def __init__(self) -> None:
        self.server = RabbitServer()
        self.server.start_seconds = 300.0
        self._companion = RedisServer()

    def url(self, port: int | None = None, options: str = "patience=5") -> str:
        companion = quote(self._companion.url, safe="")
        at = f"amqp://guest:guest@127.0.0.1:{port or self.server.port}/%2F"
        whole = "&".join(one for one in options.split("&") if not one.startswith("patience=0"))
        return f"{at}?companion={companion}{'&' * bool(whole)}{whole}"

    def start(self) -> object:
        self._companion.start()
        return self.server.start()

    def clear(self) -> None:
        self._companion.ask("FLUSHALL")

    def hears(self) -> bytes:
        return b""

    def claim_of(self, nonce: int) -> bytes:
        return b""

    def step(self, name: str, *values: str) -> bytes:
        return b""

    def close(self) -> None:
        self._companion.close()
        self.server.close()


_KINDS = {"redis": _Redis, "postgres": _Postgres, "rabbitmq": _Companion}
KINDS = [
    "redis",
    "postgres",
    pytest.param("rabbitmq", marks=[pytest.mark.slow, pytest.mark.timeout(400)]),
]


@pytest.fixture(scope="module", params=KINDS)
def started(request: pytest.FixtureRequest) -> Iterator[Network]:
    """A server that the tests of a module share."""
    made: Network = _KINDS[request.param]()
    try:
        own(made.start)
        yield made
    finally:
        made.close()


@pytest.fixture
def network(started: Network) -> Network:
    """The same without anything in it."""
    started.clear()
    return started


@pytest.fixture
def proxy(network: Network) -> Iterator[Proxy]:
    """Stands before it."""
    with Proxy(network.server.port) as proxy:
        yield proxy
