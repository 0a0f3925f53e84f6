"""Apps and logs for the tests of workers that jobs are given."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.places import place
from tests.stateful.kit import Log
from treadle import Treadle


@pytest.fixture
def log() -> Log:
    """What happens to the workers of the test."""
    return Log()


@pytest.fixture(params=["memory", "sqlite", "redis"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Treadle]:
    """A fresh app on each backend."""
    with place(request, tmp_path) as url:
        async with Treadle(url) as app:
            yield app


@pytest.fixture
async def memory_app() -> AsyncIterator[Treadle]:
    """A fresh app in memory, for what does not depend on the backend."""
    async with Treadle("memory://") as app:
        yield app


@pytest.fixture(autouse=True)
def loop_ends_with_the_test(no_background_loop_left: None) -> None:
    """All tests here have workers."""
