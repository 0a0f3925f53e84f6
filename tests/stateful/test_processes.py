"""Workers of jobs that live in processes."""

from __future__ import annotations

import os

from tests.stateful.models import Model, die, predict
from treadle import Foreman, JobState, Treadle

MODEL = Model.options(mode="process", max_workers=1).bind(100)


async def test_a_worker_keeps_its_state_in_its_process() -> None:
    async with Foreman(MODEL) as foreman:
        jobs = [await foreman.enqueue(predict, 1000) for _ in range(3)]
        results = [await job.aresult(timeout=30) for job in jobs]
    assert [count for _, count in results] == [1101, 1102, 1103]
    assert len({pid for pid, _ in results} - {os.getpid()}) == 1


async def test_a_death_is_a_crash_of_its_job_alone(app: Treadle) -> None:
    dies = app.task(name="dies", worker=MODEL, max_crashes=2)(die)
    predicts = app.task(name="predicts", worker=MODEL)(predict)
    async with app.foreman():
        before = await predicts.aenqueue(0)
        assert (await before.aresult(timeout=30))[1] == 101
        fatal = await dies.aenqueue()
        after = await predicts.aenqueue(0)
        record = await fatal.await_for(timeout=30)
        assert (record.state, record.cause, record.tries) == (JobState.FAILED, "crashed", 0)
        # It goes on with a worker that was made anew, in another process.
        assert (await after.aresult(timeout=30))[1] in (101, 102)
