"""Jobs that are found and changed from outside, over each backend."""

from __future__ import annotations

import asyncio
import re
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.queue.conftest import run_all
from tests.queue.shop import declare
from treadle import (
    BackendUnavailable,
    InvalidOption,
    JobCancelled,
    JobNotFound,
    JobState,
    Treadle,
    UnknownOption,
)
from treadle.errors import UnknownTask
from treadle.ports import Cancel, Delete, Reprioritise, Reschedule
from treadle.records import At, Cause, In


class TestChanges:
    async def test_a_waiting_job_is_cancelled_at_once(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert await job.acancel() is True
        assert await job.astate() is JobState.CANCELLED
        with pytest.raises(JobCancelled, match=job.id):
            await job.aresult()
        assert await job.acancel() is False
        await run_all(app)
        assert await job.astate() is JobState.CANCELLED

    async def test_a_running_job_is_told(self, app: Treadle) -> None:
        started = asyncio.Event()

        @app.task(name="t")
        async def endless() -> None:
            started.set()
            await asyncio.Event().wait()

        job = await endless.aenqueue()
        async with app.foreman():
            await started.wait()
            assert await job.acancel() is True
            assert (await job.await_for(timeout=30)).state is JobState.CANCELLED

    async def test_a_cancel_that_cannot_be_announced_counts(
        self, memory: Treadle, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        started = asyncio.Event()

        @memory.task(name="t")
        async def endless() -> None:
            started.set()
            await asyncio.Event().wait()

        async def publish(events: Any) -> None:
            raise BackendUnavailable("no events today")

        job = await endless.aenqueue()
        async with memory.foreman(grace=0):
            await started.wait()
            monkeypatch.setattr(memory.core.backend(), "publish", publish)
            assert await job.acancel() is True
        assert "cancel.not_announced" in caplog.text
        assert (await job.arecord()).cancel_asked or await job.astate() is JobState.CANCELLED

    async def test_a_failed_job_is_run_again(self, app: Treadle) -> None:
        tasks = declare(app)
        job = await tasks.fail.aenqueue(known=False)
        assert await job.aretry() is False
        await run_all(app)
        assert await job.aretry() is True
        assert await job.astate() is JobState.QUEUED
        assert await job.aretry(delay=60) is False

    async def test_a_start_is_moved(self, app: Treadle) -> None:
        job = await declare(app).add.options(delay=3600).aenqueue(1)
        assert await job.areschedule(delay=0) is True
        await run_all(app)
        assert await job.aresult() == 3
        assert await job.areschedule(delay=5) is False
        with pytest.raises(InvalidOption, match="needs delay= or run_at="):
            await job.areschedule()

    async def test_a_priority_is_changed(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert await job.areprioritise(9) is True
        assert (await job.arecord()).priority == 9
        with pytest.raises(InvalidOption, match="from -100 to 100"):
            await job.areprioritise(101)

    async def test_a_job_is_deleted(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert await job.adelete() is True
        with pytest.raises(JobNotFound):
            await job.arecord()

    async def test_dependants_wait_and_follow(self, app: Treadle) -> None:
        tasks = declare(app)
        first = await tasks.fail.aenqueue(known=False)
        second = await tasks.add.options(after=first).aenqueue(1)
        third = await tasks.add.options(after=[first.id], on_failure="run").aenqueue(2)
        assert await second.astate() is JobState.WAITING
        await run_all(app)
        assert (await second.arecord()).cause is Cause.DEPENDENCY
        assert await third.aresult() == 4


class TestFinding:
    async def test_conditions_and_pages(self, app: Treadle) -> None:
        tasks = declare(app)
        await tasks.add.options(tags=["x"]).aenqueue_many([(n,) for n in range(5)])
        await tasks.nothing.options(queue="mail.acme").aenqueue()
        page = await app.ajobs(task=tasks.add, limit=2)
        assert len(page.records) == 2
        rest = await app.ajobs(task=tasks.add, limit=10, cursor=page.cursor)
        assert len({r.id for r in (*page.records, *rest.records)}) == 5
        assert len((await app.ajobs(queue="mail")).records) == 1
        assert len((await app.ajobs(state=["queued", JobState.FAILED])).records) == 6
        assert len((await app.ajobs(state="failed")).records) == 0
        assert len((await app.ajobs(tags="x")).records) == 5
        oldest = await app.ajobs(oldest_first=True, limit=1)
        assert oldest.records[0].spec.task == "shop.add"

    async def test_an_unknown_condition_or_state_is_refused(self, memory: Treadle) -> None:
        with pytest.raises(UnknownOption, match="did you mean 'state'"):
            await memory.ajobs(status="failed")  # type: ignore[call-arg]
        with pytest.raises(InvalidOption, match="is not a state of a job: waiting"):
            await memory.ajobs(state="done")
        with pytest.raises(InvalidOption, match="limit=0"):
            await memory.ajobs(limit=0)

    async def test_a_function_and_times_ago_are_conditions(self, app: Treadle) -> None:
        shop = declare(app)
        await shop.add.aenqueue(1)
        assert len((await app.ajobs(task=shop.add.fn)).records) == 1
        assert len((await app.ajobs(task=shop.add, since="1h")).records) == 1
        assert (await app.ajobs(since=timedelta(hours=2), until="1h")).records == ()
        with pytest.raises(UnknownTask, match="decorate it with"):
            await app.ajobs(task=declare)

    @pytest.mark.parametrize(
        ("condition", "says"),
        [
            ({"task": 3}, "task=3 is not a task, its function, its name"),
            ({"tags": 3}, "tags=3 is not a text, or a list of texts"),
            ({"state": 3}, "state=3 is not a state of a job: waiting"),
            ({"ids": 3}, "ids=3 is not a text"),
            ({"ids": [3]}, "ids=3 is not a text that can be seen"),
            ({"queue": 3}, "queue=3 is not the name of a queue"),
            ({"queue": "a b"}, "queue='a b' is not a queue name"),
            ({"key": 3}, "key=3 is not a text"),
            ({"cursor": 3}, "cursor=3 is not a text"),
            ({"since": "soon"}, "since: 'soon' is not a duration"),
            ({"until": datetime(2030, 1, 1)}, "has no time zone"),  # noqa: DTZ001 - refused
            ({"since": 1_800_000_000.0}, "give a point in time as a datetime"),
            ({"limit": True}, "limit=True is not a number from 1"),
            ({"counts": 1}, "counts=1 is not True or False"),
            ({"query": "queue='mail'"}, "is not a Query of treadle.ports"),
        ],
    )
    async def test_a_condition_that_cannot_hold_is_refused(
        self, memory: Treadle, condition: dict[str, Any], says: str
    ) -> None:
        with pytest.raises(InvalidOption, match=re.escape(says)):
            await memory.ajobs(**condition)
        with pytest.raises(InvalidOption, match=re.escape(says)):
            await memory.aalter(Cancel(), **condition)

    async def test_no_ids_and_no_states_are_no_jobs(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        assert (await app.ajobs(ids=[])).records == ()
        assert (await app.ajobs(state=[])).records == ()
        assert (await app.aalter(Delete(), ids=[], task="*")).done == ()
        assert await job.astate() == "queued"

    async def test_all_jobs_are_changed_only_when_that_is_said(self, app: Treadle) -> None:
        job = await declare(app).add.aenqueue(1)
        nothings: list[dict[str, Any]] = [{}, {"key": None}, {"tags": []}, {"limit": 5}]
        for nothing in nothings:
            with pytest.raises(InvalidOption, match=r"task='\*' for all jobs"):
                await app.aalter(Delete(), **nothing)
        assert (await app.aalter(Delete(), task="*")).done == (job.id,)

    async def test_a_change_takes_a_thousand_jobs_a_call(self, app: Treadle) -> None:
        await declare(app).add.aenqueue_many([(n,) for n in range(1001)])
        first = await app.aalter(Cancel(), state="queued")
        rest = await app.aalter(Cancel(), state="queued", cursor=first.cursor)
        assert (len(first.done), len(rest.done)) == (1000, 1)

    async def test_many_are_changed_at_once(self, app: Treadle) -> None:
        await declare(app).add.aenqueue_many([(n,) for n in range(3)])
        altered = await app.aalter(Cancel(), state="queued")
        assert len(altered.done) == 3


class TestWhatIsNoChange:
    @pytest.mark.parametrize("priority", [1.5, "high", None, True, 101, float("nan")])
    async def test_a_priority_that_no_job_can_have(self, app: Treadle, priority: Any) -> None:
        """A store would keep it, and could not read the job any more."""
        job = await declare(app).add.aenqueue(1)
        with pytest.raises(InvalidOption, match=r"priority=.* is not a whole number from -100"):
            await job.areprioritise(priority)
        with pytest.raises(InvalidOption, match=r"priority=.* is not a whole number from -100"):
            await app.aalter(Reprioritise(priority=priority), task="*")
        await run_all(app)
        assert await job.aresult() == 3

    @pytest.mark.parametrize("change", [Cancel, "cancel", None])
    async def test_what_is_none(self, memory: Treadle, change: Any) -> None:
        with pytest.raises(InvalidOption, match=r"is not a change; .*Cancel\(…\), Retry\(…\)"):
            await memory.aalter(change, task="*")

    @pytest.mark.parametrize("due", [5, None, In(float("nan")), At("soon")])  # type: ignore[arg-type]
    async def test_what_is_no_point_in_time(self, memory: Treadle, due: Any) -> None:
        with pytest.raises(InvalidOption, match=r"is not a point in time; give In\(60.0\)"):
            await memory.aalter(Reschedule(due=due), task="*")


class TestHandles:
    @pytest.mark.parametrize("job_id", ["", "\udcff", "a\0b", "x" * 129, 3, None, b"x"])
    def test_what_can_be_no_id(self, app: Treadle, job_id: Any) -> None:
        with pytest.raises(InvalidOption, match="is not the id of a job"):
            app.job(job_id)
        with pytest.raises(InvalidOption, match="is not a job or the id of one"):
            declare(app).add.options(after=[job_id])

    def test_a_task_by_its_name(self, memory: Treadle) -> None:
        task = declare(memory).add
        assert memory.job("x", task.name)._task is task  # type: ignore[call-overload]
        with pytest.raises(UnknownTask, match="'nope'"):
            memory.job("x", "nope")  # type: ignore[call-overload]
