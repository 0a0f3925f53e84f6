"""Waiting for room in a queue that is at its bound."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from treadle.ports import Cancel, Delete, Feature
from treadle.records import After, Cause, In, Keep, PushStatus
from treadle.testing.clock import ManualClock, eventually, settle
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.testing.contract.wait import comes, comes_in_time, waiting

__all__ = ["RoomContract"]


@needs(Feature.BOUNDS)
class RoomContract(Contract):
    """A hint that keeps no place, in time."""

    async def test_room_that_is_there_ends_it_at_once(self, store: Driver) -> None:
        """Room: return when a queue may be below a bound."""
        await store.add(queue="mail")
        for queue, bound in (("mail", 2), ("other", 1)):
            async with waiting(store.backend.wait_for_room(queue, bound, 1e6)) as task:
                await comes(task)

    async def test_room_ends_with_its_timeout(self, store: Driver, clock: ManualClock) -> None:
        """Room: at the latest after ``timeout``."""
        await store.add()
        async with waiting(store.backend.wait_for_room("default", 1, 20.0)) as task:
            await comes_in_time(task, clock, 21.0)

    @needs(Feature.PUSHES_WAKE)
    @pytest.mark.parametrize("how", ["done", "forgotten", "failed", "cancel", "delete"])
    async def test_what_makes_room_wakes(self, store: Driver, how: str) -> None:
        """Room: each job that ends or is removed ends a wait."""
        keep = Keep(succeeded=0.0) if how == "forgotten" else Keep()
        job_id = await store.add(queue="mail.acme", keep=keep)
        lease = await store.take() if how in {"done", "forgotten", "failed"} else None
        async with waiting(store.backend.wait_for_room("mail", 1, 1e6)) as task:
            assert not task.done()
            if lease is None:
                await store.alter(job_id, Cancel() if how == "cancel" else Delete())
            elif how == "failed":
                await store.fail(lease, cause=Cause.ERROR)
            else:
                await store.done(lease)
            await comes(task)

    @needs(Feature.PUSHES_WAKE, Feature.AFTER)
    async def test_a_job_that_fails_with_its_dependency_makes_room(self, store: Driver) -> None:
        """Room: however a job ends."""
        first = await store.add()
        await store.add(queue="mail", after=After(ids=(first,)))
        async with waiting(store.backend.wait_for_room("mail", 1, 1e6)) as task:
            await store.alter(first, Cancel())
            await comes(task)

    async def test_a_job_that_expires_makes_room(self, store: Driver, clock: ManualClock) -> None:
        """Room: time alone makes it, too."""
        await store.add(expires=In(30.0))
        async with waiting(store.backend.wait_for_room("default", 1, 1e6)) as task:
            await comes_in_time(task, clock, 31.0)

    @needs(Feature.PUSHES_WAKE)
    async def test_every_place_wakes_another(self, store: Driver) -> None:
        """Room: each ends one of the waits, for each bound that is waited for."""
        await store.add_many(3, queue="mail")
        leases = await store.claim(3)
        async with AsyncExitStack() as stack:
            tasks = [
                await stack.enter_async_context(
                    waiting(store.backend.wait_for_room("mail", bound, 1e6))
                )
                for bound in (3, 3, 2)
            ]
            for lease in leases[:2]:
                await store.done(lease)
            for task in tasks:
                await comes(task)

    @needs(Feature.PUSHES_WAKE)
    async def test_who_gives_up_leaves_its_turn_to_the_next(self, store: Driver) -> None:
        """Room: the oldest first; of those that still wait."""
        lease = await store.run()
        async with AsyncExitStack() as stack:
            tasks = [
                await stack.enter_async_context(
                    waiting(store.backend.wait_for_room("default", 1, 1e6))
                )
                for _ in range(3)
            ]
            tasks[0].cancel()
            await asyncio.wait(tasks[:1])
            await store.done(lease)
            tasks[1].cancel()  # it has been told, and may not have heard it yet
            await asyncio.wait(tasks[1:2])
            await comes(tasks[2] if tasks[1].cancelled() else tasks[1])

    async def test_what_goes_on_makes_no_room(self, store: Driver, clock: ManualClock) -> None:
        """Room: a job that is tried again, or released, is still there."""
        lease = await store.run()
        async with waiting(store.backend.wait_for_room("default", 1, 60.0)) as task:
            await store.again(lease, delay=5.0)
            await settle()
            [answer] = await store.push(store.job(bound=1))
            assert answer.status is PushStatus.FULL
            if task.done():  # it may return early
                return
            await clock.aadvance(61.0)
            await eventually(task.done)
