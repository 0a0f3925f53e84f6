"""Attempts that begin together share a task of the event loop as long as none of them waits."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any

import pytest

from treadle import JobCancelled, JobState, Treadle

_SAID: ContextVar[str] = ContextVar("said", default="nothing")


async def _states(app: Treadle, task: Any, calls: list[tuple[Any, ...]]) -> list[JobState]:
    jobs = await task.aenqueue_many(calls)
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    return [await job.astate() for job in jobs]


async def test_what_ends_without_waiting_needs_no_task_of_its_own(memory_app: Treadle) -> None:
    tasks: list[asyncio.Task[Any] | None] = []

    @memory_app.task(name="quick")
    async def quick() -> None:
        tasks.append(asyncio.current_task())

    assert await _states(memory_app, quick, [()] * 5) == [JobState.SUCCEEDED] * 5
    assert len(set(tasks)) == 1


async def test_each_attempt_has_a_context_of_its_own(memory_app: Treadle) -> None:
    found: list[str] = []

    @memory_app.task(name="say")
    async def say(word: str, wait: bool) -> None:
        found.append(_SAID.get())
        _SAID.set(word)
        if wait:
            await asyncio.sleep(0)  # noqa: TID251
        assert _SAID.get() == word

    calls = [("a", False), ("b", False), ("c", True), ("d", False), ("e", True)]
    assert await _states(memory_app, say, calls) == [JobState.SUCCEEDED] * 5
    assert found == ["nothing"] * 5


@pytest.mark.parametrize("waits", range(4))
async def test_one_that_waits_holds_up_none_of_the_others(memory_app: Treadle, waits: int) -> None:
    begun: list[int] = []
    all_there = asyncio.Event()

    @memory_app.task(name="one")
    async def one(number: int) -> None:
        begun.append(number)
        if len(begun) == 4:
            all_there.set()
        if number >= waits:
            await all_there.wait()

    calls = [(number,) for number in range(4)]
    assert await _states(memory_app, one, calls) == [JobState.SUCCEEDED] * 4
    assert begun == [0, 1, 2, 3]


async def test_one_that_cancels_its_own_task_cancels_no_other(memory_app: Treadle) -> None:
    @memory_app.task(name="one")
    async def one(number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        if number == 1:
            task.cancel()
            return
        assert not task.cancelling()
        await asyncio.sleep(0)  # noqa: TID251

    # The first waits for nothing either, so that the second is in the same task.
    @memory_app.task(name="quick")
    async def quick() -> None: ...

    await quick.aenqueue()
    assert await _states(memory_app, one, [(n,) for n in range(1, 5)]) == [JobState.SUCCEEDED] * 4


async def test_what_is_asked_to_end_before_its_turn_does_not_begin(memory_app: Treadle) -> None:
    begun: list[int] = []

    @memory_app.task(name="one")
    async def one(number: int) -> None:
        begun.append(number)

    jobs = await one.aenqueue_many([(0,), (1,), (2,)])
    async with memory_app.foreman(burst=True) as foreman:
        put = foreman._attempts.in_turn.put

        def put_and_end(job: Any, *rest: Any) -> None:
            put(job, *rest)
            if job.token.job_id == jobs[1].id:
                job.end(JobCancelled("the job was cancelled", job_id=jobs[1].id))

        foreman._attempts.in_turn.put = put_and_end  # type: ignore[method-assign]
        await foreman.join()
    assert begun == [0, 2]
    assert await jobs[1].astate() is JobState.CANCELLED
