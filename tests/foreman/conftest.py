"""An app on each backend."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import cluster, skip_without_ray
from tests.foreman.kit import Manual
from tests.places import BESIDE_REDIS, place
from treadle import Treadle, backends
from treadle.testing import ManualClock

__all__ = ["cluster"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there is no Ray, its tests say so."""
    skip_without_ray(items)


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres", BESIDE_REDIS])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Treadle]:
    """A fresh app."""
    with place(request, tmp_path) as url:
        async with Treadle(url) as app:
            yield app


@pytest.fixture
async def memory_app() -> AsyncIterator[Treadle]:
    """A fresh app in memory, for what does not depend on the backend."""
    async with Treadle("memory://") as app:
        yield app


@pytest.fixture
async def manual() -> AsyncIterator[Manual]:
    """A fresh app in memory whose time stands still, and its clock."""
    clock = ManualClock()
    async with Treadle("memory://", clock=clock) as app:
        yield Manual(app, clock)


@pytest.fixture
async def flaky(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Manual]:
    """The same on a backend that fails when it is told to."""
    monkeypatch.setitem(backends.SCHEMES, "flaky", "tests.foreman.flaky")
    clock = ManualClock()
    async with Treadle("flaky://", clock=clock) as app:
        yield Manual(app, clock)


@pytest.fixture
async def flaky_app(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Treadle]:
    """An app on a backend that fails when it is told to, in real time."""
    monkeypatch.setitem(backends.SCHEMES, "flaky", "tests.foreman.flaky")
    async with Treadle("flaky://") as app:
        yield app


@pytest.fixture
def events(request: pytest.FixtureRequest) -> Any:
    """Notes what an app tells: ``events(app, "job.*")`` gives a list that grows."""
    from tests.foreman.kit import listen

    return listen
