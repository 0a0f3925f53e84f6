"""Apps over every backend."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.clusters import cluster, skip_without_ray
from tests.places import BESIDE_REDIS, place
from treadle.app import Treadle

__all__ = ["cluster"]

RunAll = Callable[[Treadle], Awaitable[None]]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there is no Ray, its tests say so."""
    skip_without_ray(items)


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres", BESIDE_REDIS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Where an app keeps its jobs."""
    with place(request, tmp_path) as url:
        yield url


@pytest.fixture
async def app(url: str) -> AsyncIterator[Treadle]:
    """An app, closed after the test."""
    async with Treadle(url) as app:
        yield app


@pytest.fixture
async def memory() -> AsyncIterator[Treadle]:
    """An app in memory, where the backend does not matter."""
    async with Treadle("memory://") as app:
        yield app


async def run_all(app: Treadle) -> None:
    """Run jobs until none can run now."""
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
