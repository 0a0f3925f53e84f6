"""The stores over which processes are struck."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from tests.places import BESIDE_REDIS, place

__all__ = ["SERVERS", "STORES", "Store", "store"]

SERVERS = ("redis", "postgres", "companion")
STORES = ("sqlite", "redis", "postgres", BESIDE_REDIS)
_OF_SERVERS = ("promote", "reap")


class Store(msgspec.Struct, frozen=True):
    """One of them, empty."""

    kind: str
    # ``None`` for SQLite, whose file lies in the folder of the test.
    url: str | None

    def passes(self, point: str) -> bool:
        """Whether a process of ours comes to a failpoint."""
        if not point.startswith(_OF_SERVERS) or self.kind in ("memory", "sqlite"):
            return True
        # Redis does it in a script; what PostgreSQL moves on is committed with something else.
        return self.kind == "postgres" and point.endswith("before_send")


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """That of the parameter."""
    if request.param == "sqlite":
        yield Store("sqlite", None)
        return
    with place(request, tmp_path) as url:
        yield Store(request.param, url)
