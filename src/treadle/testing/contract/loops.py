"""Loops, threads, forks and other handles on the same store."""

from __future__ import annotations

import asyncio
import os
import warnings
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from treadle.ports import Backend, Feature
from treadle.records import JobState
from treadle.testing.clock import eventually, settle
from treadle.testing.contract.base import Contract, Driver, Make, needs

__all__ = ["LoopsContract"]

_T = TypeVar("_T")


async def elsewhere(backend: Backend, work: Callable[[], Awaitable[_T]]) -> _T:
    """Do something in a new loop of another thread, and close that loop's client."""

    async def main() -> _T:
        await backend.open()
        try:
            return await work()
        finally:
            await backend.aclose()

    return await asyncio.to_thread(lambda: asyncio.run(main()))


class LoopsContract(Contract):
    """A thread-safe store shared by the process, and a client per loop."""

    async def test_two_loops_in_two_threads(self, store: Driver) -> None:
        """3.13. Two loops push and claim at once; each job is granted once."""

        async def work(who: str) -> list[str]:
            driver = Driver(store.backend, store.clock, store.ids)
            granted: list[str] = []
            for _ in range(20):
                await driver.add_many(5)
                for lease in await driver.claim(5, who=who):
                    await driver.done(lease)
                    granted.append(lease.spec.id)
            return granted

        one, two = await asyncio.gather(
            elsewhere(store.backend, lambda: work("one")),
            elsewhere(store.backend, lambda: work("two")),
        )
        rest = await store.claimed(200)
        assert len(one + two + rest) == len(set(one + two + rest)) == 200

    @needs(Feature.PUSHES_WAKE)
    async def test_a_push_in_a_thread_wakes_this_loop(self, store: Driver) -> None:
        """3.13. Loop plus thread: a wait here is woken by a push there."""
        waiting = asyncio.create_task(store.backend.wait(["*"], 1e6))
        await settle()
        job_id = await elsewhere(store.backend, store.add)
        await eventually(waiting.done)
        assert await store.claimed() == [job_id]

    @needs(Feature.ORDER)
    async def test_run_twice(self, store: Driver) -> None:
        """3.13. ``asyncio.run`` twice on one backend: the store outlives each loop."""
        first = await elsewhere(store.backend, store.add)
        second = await elsewhere(store.backend, store.add)

        async def take() -> list[str]:
            return await store.claimed(5)

        assert await elsewhere(store.backend, take) == [first, second]

    async def test_a_loop_that_did_not_close_its_client(self, store: Driver) -> None:
        """3.13. Clients are held weakly: a loop that just ends takes nothing with it."""

        async def main() -> str:
            await store.backend.open()
            return await store.add()

        job_id = await asyncio.to_thread(lambda: asyncio.run(main()))
        assert await store.claimed() == [job_id]

    async def test_closing_a_client_twice(self, store: Driver) -> None:
        """3.13. Closing is harmless, and what comes after opens lazily again."""
        job_id = await store.add()
        await store.backend.aclose()
        await store.backend.aclose()
        assert await store.state(job_id) is JobState.QUEUED

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
    async def test_a_fork(self, store: Driver, make: Make) -> None:
        """3.13. Enqueue after fork: everything is dropped, nonce and id state too."""
        before = await store.add()

        async def in_child() -> str:
            await store.backend.open()
            driver = Driver(store.backend, store.clock, store.ids)
            job_id = await driver.add()
            await driver.claim(1)
            await store.backend.aclose()
            return job_id

        child = await asyncio.to_thread(_forked, in_child)
        assert child != store.ids.new()
        assert await store.state(before) in {JobState.QUEUED, JobState.RUNNING}
        after = await store.add()
        granted = set(await store.claimed(5, who="two"))
        if Feature.CROSS_PROCESS in store.backend.features:
            # The child has claimed one of the first two.
            assert granted in ({child, after}, {before, after})
        else:
            assert granted == {before, after}

    # ------------------------------------------------------------- other handles

    @needs(Feature.CROSS_PROCESS)
    async def test_two_handles_on_one_store(self, store: Driver, make: Make) -> None:
        """CrossProcess: what one handle pushes another claims and settles."""
        other = await self.another(store, make)
        job_id = await store.add()
        lease = await other.take(who="other")
        assert lease.spec.id == job_id
        await other.done(lease)
        assert await store.state(job_id) is JobState.SUCCEEDED
        await self.closed(other)

    @needs(Feature.CROSS_PROCESS, Feature.PUSHES_WAKE)
    async def test_a_push_of_another_handle_wakes(self, store: Driver, make: Make) -> None:
        """CrossProcess: wake-ups cross handles, as they cross processes."""
        other = await self.another(store, make)
        waiting = asyncio.create_task(store.backend.wait(["*"], 1e6))
        await settle()
        await other.add()
        await eventually(waiting.done)
        await self.closed(other)

    @needs(Feature.CROSS_PROCESS)
    async def test_jobs_outlive_their_handle(self, store: Driver, make: Make) -> None:
        """CrossProcess: what was accepted is there after everything was closed."""
        ids = await store.add_many(3)
        lease = await store.take()
        await store.backend.aclose()
        store.backend.close()
        other = await self.another(store, make)
        assert sorted(await other.states(ids)) == ["queued", "queued", "running"]
        # The lease outlives the handle as well: its token is still good.
        await other.done(lease)
        await self.closed(other)

    async def another(self, store: Driver, make: Make) -> Driver:
        """Another handle on the same store, opened."""
        backend = make()
        await backend.open()
        return Driver(backend, store.clock, store.ids)

    async def closed(self, other: Driver) -> None:
        """Close what :meth:`another` gave."""
        await other.backend.aclose()
        other.backend.close()


def _forked(work: Callable[[], Awaitable[str]]) -> str:
    """What a forked child says; it fails when the child does not end well."""
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        # Python 3.12 warns of every fork in a process with threads. This one is the point.
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        _child(work, writes)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        said = pipe.read()
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0, f"the child failed: {said}"
    return said


def _child(work: Callable[[], Awaitable[str]], writes: int) -> None:
    status = 1
    said = "it did not say why"
    try:
        main: Any = work()
        said, status = asyncio.run(main), 0
    except BaseException as error:  # noqa: BLE001 - the parent is told, and fails
        said = repr(error)
    finally:
        os.write(writes, said.encode())
        # Nothing of the test runner may run in the child.
        os._exit(status)
