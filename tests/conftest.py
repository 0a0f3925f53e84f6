"""No test may leave a thread, a child process, an open file or a task behind."""

from __future__ import annotations

import inspect
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.backends.postgres_support import postgres_namespace
from tests.children import no_child_left, one_helper, own_helper
from tests.servers import postgres_url, rabbitmq_url, redis_url
from treadle import calling
from treadle.loopthread import background
from treadle.testing.leaks import leaked_tasks, no_leaks

__all__ = [
    "leaks",
    "no_child_left",
    "one_helper",
    "own_helper",
    "postgres_namespace",
    "postgres_url",
    "rabbitmq_url",
    "redis_url",
]

# Longer than a user would wait: what ends in its own time may have to wait for a busy machine.
leaks = no_leaks(patience=30.0)

# What a shell starts in the background ignores it, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no bug.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")


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


@pytest.fixture
def no_background_loop_left(leaks: None) -> Iterator[None]:
    """The loop that all workers share ends with the test, so that what it left is seen."""
    yield
    calling._of_no_app.close()
    calling._of_no_app.reopen()
    background().close()
