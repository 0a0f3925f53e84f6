"""Lines to the servers that a spool is for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servers import own
from tests.spool.kit import Line
from treadle.testing.proxy import Proxy
from treadle.testing.servers import PostgresServer, RedisServer, Server

__all__ = ["line", "redis_line", "redis_server", "server"]


@pytest.fixture(scope="module", params=[RedisServer, PostgresServer], ids=["redis", "postgres"])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with own(request.param().start) as server:
        yield server


@pytest.fixture
def line(server: Server, tmp_path: Path) -> Iterator[Line]:
    """A way to a server of each kind."""
    with Proxy(server.port) as proxy:
        yield Line(proxy, server, tmp_path, patience=3)


@pytest.fixture(scope="module")
def redis_server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@pytest.fixture
def redis_line(redis_server: Server, tmp_path: Path) -> Iterator[Line]:
    """A way to Redis, for what is the same whatever the server is."""
    with Proxy(redis_server.port) as proxy:
        yield Line(proxy, redis_server, tmp_path, patience=1)
