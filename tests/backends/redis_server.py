"""Namespaces in the Redis server of the tests, which are removed again."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from treadle.ids import SystemIds

__all__ = ["client", "forget", "namespace"]


def client(url: str) -> Any:
    """A plain client of the server."""
    return redis.Redis.from_url(url)  # type: ignore[no-untyped-call]


def forget(url: str, *names: str) -> None:
    """Delete the keys of namespaces."""
    server = client(url)
    for name in names:
        keys = server.keys(f"{{{name}.*")
        if keys:
            server.unlink(*keys)
    server.close()


@contextmanager
def namespace(url: str) -> Iterator[str]:
    """A namespace that nobody else has; its keys are deleted afterwards."""
    name = f"test-{SystemIds().new()}"
    try:
        yield name
    finally:
        forget(url, name)
