"""The children of all tests are born by one helper, which has loaded what tests import.

A helper of each test's own loads that again, which takes longer than most tests do.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from treadle.clock import SystemClock
from treadle.pools.places.process import nursery

__all__ = ["no_child_left", "one_helper", "own_helper"]

_LOADED = ("pytest", "hypothesis", "pydantic", "treadle.stateful", "tests.pools.processes")
# As long as other things of a test may take to end.
_PATIENCE = 30.0


@pytest.fixture(scope="session")
def one_helper() -> Iterator[nursery.Nursery]:
    """What starts the children of places that name no modules to be loaded."""
    held = nursery.Nursery(_LOADED)
    held.users = 1
    nursery._nurseries[()] = held
    yield held
    nursery._nurseries.pop((), None)
    nursery.release(held)


@pytest.fixture(autouse=True)
def no_child_left(one_helper: nursery.Nursery) -> Iterator[None]:
    """Fails a test that leaves a child running, or a place that could still start one."""
    yield
    clock = SystemClock()
    deadline = clock.monotonic() + _PATIENCE
    while one_helper.users > 1 or one_helper._parents:
        left = f"{one_helper.users - 1} users, {len(one_helper._parents)} children of the helper"
        assert clock.monotonic() < deadline, f"left behind: {left}"
        clock.wait(threading.Event(), 0.01)


@pytest.fixture
def own_helper(monkeypatch: pytest.MonkeyPatch) -> None:
    """Children of this test are born by a helper that the first of them starts, as a user's are."""
    monkeypatch.setattr(nursery, "_nurseries", {})
