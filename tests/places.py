"""Where an app of a test keeps its jobs, on each kind of backend."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.backends.postgres_support import empty
from tests.backends.rabbitmq_support import forget
from tests.backends.redis_server import namespace

__all__ = ["BESIDE_REDIS", "place"]


BESIDE_REDIS = pytest.param("companion", marks=pytest.mark.slow)
"""RabbitMQ, with Redis for its companion."""


@contextmanager
def _companion(request: pytest.FixtureRequest) -> Iterator[str]:
    companion: str = request.getfixturevalue("redis_url")
    broker: str = request.getfixturevalue("rabbitmq_url")
    with namespace(companion) as name, pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREADLE_NAMESPACE", name)
        yield f"{broker}?companion={quote(companion, safe='')}"
        # Another thread, because this one may be in a loop.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(lambda: asyncio.run(forget(broker, name))).result()


@contextmanager
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """The URL of an empty store of the kind that the fixture's parameter names."""
    kind: str = request.param
    url: str
    if kind == "memory":
        yield "memory://"
    elif kind == "sqlite":
        yield f"sqlite:///{folder}/jobs.db"
    elif kind == "postgres":
        url = request.getfixturevalue("postgres_url")
        name = request.getfixturevalue("postgres_namespace")
        empty(url, name)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TREADLE_NAMESPACE", name)
            yield url
    elif kind == "companion":
        with _companion(request) as url:
            yield url
    else:
        url = request.getfixturevalue("redis_url")
        with namespace(url) as name, pytest.MonkeyPatch.context() as patch:
            # Of all apps of the test, those in other processes, too.
            patch.setenv("TREADLE_NAMESPACE", name)
            yield url
