"""Jobs in Ray actors."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreman import rayjobs
from tests.foreman.rayjobs import (
    add,
    app,
    die,
    die_once,
    fail,
    ignores,
    notices,
    numbered,
    reports_and_waits,
    runs_until_cancelled,
    told,
    until_stopping,
)
from treadle import Foreman, Job, JobFailed
from treadle.errors import JobCancelled
from treadle.testing import eventually

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.leaves("socket:*")]


@pytest.fixture
async def foreman(tmp_path: Path) -> AsyncIterator[Foreman]:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app, app.foreman(grace=1, concurrency=8) as foreman:
            yield foreman


async def test_jobs_run_in_actors_as_many_as_there_is_room_for(foreman: Foreman) -> None:
    jobs = [await add.aenqueue(number, 1) for number in range(20)]
    assert [await job.aresult(timeout=60) for job in jobs] == list(range(1, 21))
    record = await jobs[0].arecord()
    assert record.started is not None


async def test_what_lives_as_long_as_a_foreman_lives_as_long_as_its_actor(
    foreman: Foreman,
) -> None:
    jobs = [await numbered.aenqueue() for _ in range(8)]
    ends = [await job.aresult(timeout=60) for job in jobs]
    pids = {pid for pid, _ in ends}
    assert os.getpid() not in pids
    for pid in pids:
        counts = sorted(count for one, count in ends if one == pid)
        assert counts == list(range(1, len(counts) + 1))


async def test_a_job_tells_of_itself(foreman: Foreman, caplog: pytest.LogCaptureFixture) -> None:
    job = await told.aenqueue()
    assert await job.aresult(timeout=60) == 1
    record = await job.arecord()
    assert record.note is not None
    assert (record.note.current, record.note.total, record.note.message) == (1, 2, "half")
    assert record.note.checkpoint is not None
    # The job that it asked for.
    await eventually(lambda: foreman.stats.get("job.succeeded") == 2, patience=60)
    assert any("something of note" in one.getMessage() for one in caplog.records)


async def test_progress_is_seen_while_the_job_runs(foreman: Foreman, tmp_path: Path) -> None:
    job = await reports_and_waits.aenqueue(tmp_path / "file")

    async def seen() -> bool:
        note = (await job.arecord()).note
        return note is not None and note.current == 7

    async for update in job.aprogress():
        assert update.current == 7
        break
    (tmp_path / "file").touch()
    assert await job.aresult(timeout=60) == "seen"
    assert await seen()


async def test_a_death_is_a_crash_of_the_job_alone(foreman: Foreman, tmp_path: Path) -> None:
    dying = await die.aenqueue(3)
    reborn = await die_once.aenqueue(tmp_path / "sign")
    others = [await add.aenqueue(number, 1) for number in range(5)]
    assert [await job.aresult(timeout=60) for job in others] == list(range(1, 6))
    with pytest.raises(JobFailed) as caught:
        await dying.aresult(timeout=60)
    assert caught.value.cause == "crashed"
    record = await dying.arecord()
    assert record.tries == 0
    assert [attempt.cause for attempt in record.attempts] == ["crashed", "crashed"]
    assert await reborn.aresult(timeout=60) == "lived"
    record = await reborn.arecord()
    assert (record.tries, record.crashes) == (0, 1)


async def test_an_error_is_told_as_it_was_raised(foreman: Foreman) -> None:
    job = await fail.aenqueue("no room")
    with pytest.raises(JobFailed) as caught:
        await job.aresult(timeout=60)
    fault = caught.value.fault
    assert fault is not None
    assert (fault.type, fault.message) == ("ValueError", "no room")
    assert "raise ValueError(text)" in fault.traceback


@pytest.mark.parametrize("task", [notices, ignores], ids=["notices", "ignores"])
async def test_a_timeout_ends_code_whether_it_notices_or_not(foreman: Foreman, task: Any) -> None:
    job = await task.aenqueue()
    with pytest.raises(JobFailed) as caught:
        await job.aresult(timeout=60)
    assert caught.value.cause == "timeout"
    # Another actor, where the first had to be ended.
    assert await (await add.aenqueue(1, 1)).aresult(timeout=60) == 2


async def test_a_running_job_can_be_cancelled(foreman: Foreman, tmp_path: Path) -> None:
    job = await runs_until_cancelled.aenqueue(tmp_path / "file")
    await eventually((tmp_path / "file").exists, patience=60)
    await job.acancel()
    with pytest.raises(JobCancelled):
        await job.aresult(timeout=60)


async def test_jobs_are_told_that_the_foreman_stops(tmp_path: Path) -> None:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app:
            async with app.foreman(grace=20) as foreman:
                job = await until_stopping.aenqueue(tmp_path / "file")
                await eventually((tmp_path / "file").exists, patience=60)
                await foreman.stop()
            assert await job.aresult(timeout=60) == "stopped"


async def test_a_task_that_was_declared_late_runs(foreman: Foreman) -> None:
    late: Any = app.task(mode="ray", name="late")(rayjobs.nap)
    try:
        job: Job[None] = await late.aenqueue()
        assert await job.aresult(timeout=60) is None
    finally:
        del app.core.tasks["late"]
