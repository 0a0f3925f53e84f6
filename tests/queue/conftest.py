"""Apps over every backend that needs no server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from treadle.app import Treadle

RunAll = Callable[[Treadle], Awaitable[None]]


@pytest.fixture(params=["memory", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where an app keeps its jobs."""
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"


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
