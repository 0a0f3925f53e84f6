"""No test may leave a thread, a child process, an open file or a task behind."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Iterator

import pytest

from treadle.testing.leaks import leaked_tasks, leaks_checked

LEAVES = "leaves"
"""The marker of tests that leave something on purpose: globs over the names of it."""


def _left_on_purpose(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return tuple(glob for mark in request.node.iter_markers(LEAVES) for glob in mark.args)


@pytest.fixture(autouse=True)
def no_leaks(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fails a test after which something runs or is open that was not before."""
    with leaks_checked(ignore=_left_on_purpose(request)):
        yield


@pytest.fixture(autouse=True)
def no_tasks_left(no_leaks: None, request: pytest.FixtureRequest) -> None:
    """Has the loop of an asynchronous test looked at; other tests get no loop."""
    if inspect.iscoroutinefunction(getattr(request.node, "obj", None)):
        request.getfixturevalue("no_tasks_left_in_loop")


@pytest.fixture
async def no_tasks_left_in_loop(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """Fails an asynchronous test that leaves a task running in its loop."""
    async with leaked_tasks(ignore=_left_on_purpose(request)):
        yield
