"""Waiting: for something to claim, and for the change of one job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
import pytest

from treadle.ports import (
    QUEUE_CELL,
    Delete,
    Feature,
    Page,
    Query,
    QueueRule,
    Reschedule,
    Retry,
    Write,
)
from treadle.records import FINAL, In, JobState, Keep, Note
from treadle.testing.clock import ManualClock, eventually, settle
from treadle.testing.contract.base import Contract, Driver, needs
from treadle.verdicts import Done

__all__ = ["WaitContract"]

Step = Callable[[], Awaitable[Any]]


@asynccontextmanager
async def waiting(awaitable: Awaitable[Any]) -> AsyncIterator[asyncio.Future[Any]]:
    """A block in which something waits; it is cancelled at the end, if it still does."""
    task = asyncio.ensure_future(awaitable)
    await settle()
    yield task
    task.cancel()
    await asyncio.wait([task])


async def comes(task: asyncio.Future[Any]) -> Any:
    """What a waiting task gives, within a few real seconds."""
    await eventually(task.done)
    return task.result()


async def comes_in_time(task: asyncio.Future[Any], clock: ManualClock, seconds: float) -> Any:
    """What a waiting task gives once so many seconds of manual time have passed.

    A store with a thread of its own may begin to wait only after the clock was moved; then it
    takes as many again.
    """
    for _ in range(100):
        await clock.aadvance(seconds)
        with suppress(AssertionError):
            await eventually(task.done, patience=0.1)
            return task.result()
    raise AssertionError(f"it still waits after 100 × {seconds} s")


class WaitContract(Contract):
    """Hints that grant nothing, in time."""

    # ------------------------------------------------------------- wait

    async def test_it_ends_with_its_timeout(self, store: Driver, clock: ManualClock) -> None:
        """Wait: at the latest after ``timeout``."""
        async with waiting(store.backend.wait(["*"], 20.0)) as task:
            await comes_in_time(task, clock, 21.0)

    async def test_no_time_at_all(self, store: Driver) -> None:
        """Wait: a timeout of 0 returns at once."""
        async with waiting(store.backend.wait(["*"], 0.0)) as task:
            await comes(task)

    async def test_what_is_there_already(self, store: Driver) -> None:
        """Wait: return when there may be something to claim, also when there is already."""
        await store.add()
        async with waiting(store.backend.wait(["*"], 1e6)) as task:
            await comes(task)

    @needs(Feature.PUSHES_WAKE)
    async def test_a_push_wakes(self, store: Driver) -> None:
        """Wait: never needlessly late where ``PUSHES_WAKE`` is served."""
        async with waiting(store.backend.wait(["mail"], 1e6)) as task:
            assert not task.done()
            await store.add(queue="mail.a")
            await comes(task)

    @needs(Feature.PUSHES_WAKE)
    @pytest.mark.parametrize(
        "how",
        ["again", "release", "retry", "now", "resume", "key", "follow"],
    )
    async def test_whatever_makes_a_job_ready_wakes(self, store: Driver, how: str) -> None:
        """Wait: not only a push makes something to claim."""
        await self.made_ready(store, how)

    @needs(Feature.PUSHES_WAKE, Feature.BOUNDS)
    @pytest.mark.parametrize("how", ["bound", "bound of both"])
    async def test_a_place_in_a_queue_wakes(self, store: Driver, how: str) -> None:
        """Wait: nor does a queue that is at its bound for ever."""
        await self.made_ready(store, how)

    async def made_ready(self, store: Driver, how: str) -> None:
        """Wait until a step makes a job ready."""
        step = await self.prepared(store, how)
        queues = ["mail.b"] if how == "bound of both" else ["*"]
        async with waiting(store.backend.wait(queues, 1e6)) as task:
            await step()
            await comes(task)
        assert len(await store.claim(who="two")) == 1

    async def prepared(self, store: Driver, how: str) -> Step:
        """A store with nothing to claim, and the step that makes a job ready."""
        match how:
            case "resume":
                rule = msgspec.msgpack.encode(QueueRule(paused=True))
                await store.backend.write([Write(key=QUEUE_CELL + "default", value=rule)])
                await store.add()
                resume = Write(key=QUEUE_CELL + "default", value=None)
                return lambda: store.backend.write([resume])
            case "now":
                job_id = await store.add(due=In(1e5))
                return lambda: store.alter(job_id, Reschedule(due=In(0.0)))
            case "key":
                lease = await store.run(key="k")
                await store.add(key="k")
                return lambda: store.done(lease)
            case "bound" | "bound of both":
                bound = "mail" if how == "bound of both" else "mail.a"
                rule = msgspec.msgpack.encode(QueueRule(max_running=1))
                await store.backend.write([Write(key=QUEUE_CELL + bound, value=rule)])
                lease = await store.run(queue="mail.a")
                await store.add(queue="mail.b" if how == "bound of both" else "mail.a")
                return lambda: store.done(lease)
            case "retry":
                lease = await store.run()
                await store.fail(lease)
                return lambda: store.alter(lease.spec.id, Retry())
            case _:
                lease = await store.run()
                ends: dict[str, Step] = {
                    "again": lambda: store.again(lease),
                    "release": lambda: store.release(lease),
                    "follow": lambda: store.settle(lease, Done(), store.job()),
                }
                return ends[how]

    @needs(Feature.PUSHES_WAKE, Feature.DELAY)
    async def test_a_due_time_wakes(self, store: Driver, clock: ManualClock) -> None:
        """Wait: return when a scheduled job is due."""
        job_id = await store.add(due=In(30.0))
        async with waiting(store.backend.wait(["*"], 1e6)) as task:
            await comes_in_time(task, clock, 31.0)
        assert await store.claimed() == [job_id]

    @needs(Feature.PUSHES_WAKE)
    async def test_a_lapse_wakes(self, store: Driver, clock: ManualClock) -> None:
        """Wait: return when a lease lapses, with no other call that moves time."""
        lease = await store.run()
        async with waiting(store.backend.wait(["*"], 1e6)) as task:
            await comes_in_time(task, clock, 32.0)
        assert await store.claimed(who="two") == [lease.spec.id]

    @needs(Feature.PUSHES_WAKE)
    @pytest.mark.parametrize(
        ("queues", "exclude"), [(["mail"], []), (["*"], ["sms"])], ids=["queues", "exclude"]
    )
    async def test_it_waits_for_what_the_claim_would_find(
        self, store: Driver, queues: list[str], exclude: list[str]
    ) -> None:
        """Wait: the names are those of the claim that follows."""
        await store.add(queue="sms")
        async with waiting(store.backend.wait(queues, 1e6, exclude)) as task:
            assert not task.done()
            await store.add(queue="mail")
            await comes(task)
        assert len(await store.claim(5, queues=queues, exclude=tuple(exclude))) == 1

    async def test_it_grants_nothing(self, store: Driver) -> None:
        """Wait: a hint; the job is granted by the claim only."""
        job_id = await store.add()
        async with waiting(store.backend.wait(["*"], 1e6)) as task:
            await comes(task)
        assert await store.state(job_id) is JobState.QUEUED

    async def test_a_cancelled_wait_leaves_nothing(self, store: Driver) -> None:
        """Wait: giving up is harmless, and others are woken all the same."""
        async with waiting(store.backend.wait(["*"], 1e6)):
            pass
        async with waiting(store.backend.wait(["*"], 1e6)) as task:
            await store.add()
            await comes(task)

    # ------------------------------------------------------------- find

    def find(self, store: Driver, job_id: str, version: int) -> Awaitable[Page]:
        """Wait for the change of one job."""
        return store.backend.find(Query(ids=(job_id,), wait=1e6, version=version))

    @needs(Feature.RECORDS)
    @pytest.mark.parametrize("change", ["claim", "note", "settle", "cancel", "delete", "keep"])
    async def test_a_change_of_one_job(self, store: Driver, change: str) -> None:
        """Query: wait until its version is above ``version`` or it is gone."""
        step = await self.changing(store, change)
        record = (await store.records())[0]
        async with waiting(self.find(store, record.id, record.version)) as task:
            assert not task.done()
            await step()
            page: Page = await comes(task)
        if change in {"delete", "keep"}:
            assert (page.records, list(page.gone)) == ((), [record.id])
        else:
            assert page.records[0].version > record.version

    async def changing(self, store: Driver, change: str) -> Step:
        """A store with one job, and the step that changes it."""
        if change == "claim":
            await store.add()
            return store.take
        if change in {"cancel", "delete"}:
            job_id = await store.add()
            if change == "cancel":
                return lambda: store.cancel(job_id)
            return lambda: store.alter(job_id, Delete())
        lease = await store.run(keep=Keep(succeeded=0.0 if change == "keep" else 60.0))
        if change == "note":
            return lambda: store.extend(lease, note=Note(current=1.0))
        return lambda: store.done(lease)

    @needs(Feature.RECORDS)
    @pytest.mark.parametrize("end", ["settle", "cancel", "delete", "keep"])
    async def test_the_end_of_one_job(self, store: Driver, end: str) -> None:
        """Query: with ``ended`` wait until it is final or gone, whatever changes before."""
        keep = Keep(succeeded=0.0 if end == "keep" else 60.0)
        job_id = await store.add(keep=keep)
        query = Query(ids=(job_id,), wait=1e6, ended=True)
        async with waiting(store.backend.find(query)) as task:
            assert not task.done()
            lease = await store.take()
            await store.extend(lease, note=Note(current=1.0))
            assert not task.done()
            if end in {"settle", "keep"}:
                await store.done(lease)
            else:
                await store.release(lease)
                assert not task.done()
                await (store.cancel(job_id) if end == "cancel" else store.alter(job_id, Delete()))
            page: Page = await comes(task)
        if end in {"delete", "keep"}:
            assert (page.records, list(page.gone)) == ((), [job_id])
        else:
            assert page.records[0].state in FINAL

    @needs(Feature.RECORDS)
    async def test_what_has_ended_already(self, store: Driver) -> None:
        """Query: with ``ended`` a final job is answered at once."""
        lease = await store.run()
        await store.done(lease)
        query = Query(ids=(lease.spec.id,), wait=1e6, ended=True)
        async with waiting(store.backend.find(query)) as task:
            assert (await comes(task)).records[0].state is JobState.SUCCEEDED

    @needs(Feature.RECORDS)
    async def test_what_has_changed_already(self, store: Driver) -> None:
        """Query: an older version than the present one is answered at once."""
        job_id = await store.add()
        async with waiting(self.find(store, job_id, -1)) as task:
            assert (await comes(task)).records[0].id == job_id

    @needs(Feature.RECORDS)
    async def test_what_is_not_there(self, store: Driver) -> None:
        """Query: a job that is gone, or was never there, is answered at once."""
        lease = await store.run(keep=Keep(succeeded=0.0))
        await store.done(lease)
        for job_id in (lease.spec.id, store.ids.new()):
            async with waiting(self.find(store, job_id, 99)) as task:
                assert (await comes(task)).records == ()

    @needs(Feature.RECORDS)
    async def test_no_change_in_time(self, store: Driver, clock: ManualClock) -> None:
        """Query: answer what is there at the end of the wait."""
        record = await store.record(await store.add())
        query = Query(ids=(record.id,), wait=30.0, version=record.version)
        async with waiting(store.backend.find(query)) as task:
            page: Page = await comes_in_time(task, clock, 31.0)
        assert page.records == (record,)

    @needs(Feature.RECORDS)
    async def test_a_change_that_time_makes(self, store: Driver, clock: ManualClock) -> None:
        """Query: a lapse or an expiry is a change too."""
        record = await store.record(await store.add(expires=In(10.0)))
        query = Query(ids=(record.id,), wait=60.0, version=record.version)
        async with waiting(store.backend.find(query)) as task:
            page: Page = await comes_in_time(task, clock, 11.0)
        assert page.records[0].state is JobState.FAILED
