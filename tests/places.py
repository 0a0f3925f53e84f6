"""Where an app of a test keeps its jobs, on each kind of backend."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.backends.postgres_support import empty
from tests.backends.redis_server import namespace

__all__ = ["place"]


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
    else:
        url = request.getfixturevalue("redis_url")
        with namespace(url) as name, pytest.MonkeyPatch.context() as patch:
            # Of all apps of the test, those in other processes, too.
            patch.setenv("TREADLE_NAMESPACE", name)
            yield url
