"""Points of the protocol as signals that a test waits on instead of sleeping."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from treadle.failpoints import InjectedFault, active, failpoint, watched

__all__ = ["InjectedFault", "active", "failpoint", "reached"]


@asynccontextmanager
async def reached(name: str, *, times: int = 1, patience: float = 10.0) -> AsyncIterator[None]:
    """A block that is left once a point was passed, in any thread of this process.

    Passes are counted from the start of the block, so what starts inside it is not missed::

        async with reached("run.inside"):
            await task.aenqueue()
        # the job runs now

    Args:
        name: the point; one that does not exist is refused.
        times: passes to wait for.
        patience: seconds of real time to wait.

    Raises:
        AssertionError: the point was not passed so often in time.
    """
    loop = asyncio.get_running_loop()
    passed = asyncio.Semaphore(0)
    with watched(name, lambda: loop.call_soon_threadsafe(passed.release)):
        yield
        for count in range(times):
            try:
                async with asyncio.timeout(patience):
                    await passed.acquire()
            except TimeoutError:
                raise AssertionError(
                    f"failpoint {name} was passed {count} times within {patience} s, "
                    f"not {times} times"
                ) from None
