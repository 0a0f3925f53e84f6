"""An app on each backend that needs no server."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from treadle import Treadle


@pytest.fixture(params=["memory", "sqlite"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Treadle]:
    """A fresh app."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    async with Treadle(url) as app:
        yield app


@pytest.fixture
async def memory_app() -> AsyncIterator[Treadle]:
    """A fresh app in memory, for what does not depend on the backend."""
    async with Treadle("memory://") as app:
        yield app
