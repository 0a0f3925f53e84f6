"""The cluster that the tests of Ray share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from typing import Any

import pytest

from treadle import Pool

__all__ = ["RAY", "cluster", "skip_without_ray"]

# Slow to start, and not there for every Python. It keeps connections for later.
RAY = pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow, pytest.mark.leaves("socket:*")])


def skip_without_ray(items: list[pytest.Item]) -> None:
    """Where there is no Ray, its tests say so."""
    if importlib.util.find_spec("ray") is not None:
        return
    for item in items:
        if item.get_closest_marker("ray") is not None:
            item.add_marker(pytest.mark.skip(reason="Ray is not installed, or not made for here"))


@pytest.fixture(scope="session", autouse=True)
def cluster(request: pytest.FixtureRequest) -> Iterator[None]:
    """The cluster that the tests of Ray share, when some of them are to run."""
    wanted = [item for item in request.session.items if item.get_closest_marker("ray") is not None]
    if not wanted or importlib.util.find_spec("ray") is None:
        yield
        return
    with Pool("ray", max_workers=1) as pool:
        pool.submit(int).result(60)
    yield
    ray: Any = importlib.import_module("ray")
    ray.shutdown()
