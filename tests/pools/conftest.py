"""The modes in which workers are tested, each with the same assertions."""

from __future__ import annotations

from typing import cast

import pytest

from tests.clusters import RAY, cluster, skip_without_ray
from treadle.pools.options import Mode

__all__ = ["cluster"]

SERVED: tuple[Mode, ...] = ("sync", "thread", "asyncio", "process")
# Calls of these have not ended when they are made.
LATER = tuple(mode for mode in SERVED if mode != "sync")
# These can have several workers.
SEVERAL = tuple(mode for mode in SERVED if mode not in ("sync", "asyncio"))


@pytest.fixture(params=[*SERVED, RAY])
def mode(request: pytest.FixtureRequest) -> Mode:
    """Each mode that is served."""
    return cast("Mode", request.param)


@pytest.fixture(params=[*LATER, RAY])
def later(request: pytest.FixtureRequest) -> Mode:
    """Each mode whose calls go on while the caller does something else."""
    return cast("Mode", request.param)


@pytest.fixture(params=[*SEVERAL, RAY])
def several(request: pytest.FixtureRequest) -> Mode:
    """Each mode that can have more than one worker."""
    return cast("Mode", request.param)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where there is no Ray, its tests say so."""
    skip_without_ray(items)


@pytest.fixture(autouse=True)
def loop_ends_with_the_test(no_background_loop_left: None) -> None:
    """All tests here have workers."""
