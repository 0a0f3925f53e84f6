"""No test may leave a thread, a child process, an open file or a task behind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator

import pytest

from treadle.testing.leaks import leaked_tasks, no_leaks

leaks = no_leaks()


@pytest.fixture(autouse=True)
def no_tasks_left(leaks: None, request: pytest.FixtureRequest) -> None:
    """Has the loop of an asynchronous test looked at; other tests get no loop."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_tasks_left_in_loop")


@pytest.fixture
async def no_tasks_left_in_loop(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fails an asynchronous test that leaves a task running in its loop."""
    allowed = [glob for mark in request.node.iter_markers("leaves") for glob in mark.args]
    async with leaked_tasks(ignore=allowed):
        yield
