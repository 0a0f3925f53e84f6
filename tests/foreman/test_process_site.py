"""Jobs in child processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from tests.foreman import lateapp, processjobs
from tests.foreman.processjobs import (
    add,
    add_later,
    app,
    blocks,
    die,
    die_once,
    environment,
    fail,
    ignores,
    notices,
    numbered,
    runs_until_cancelled,
    told,
    until_stopping,
    waits,
)
from treadle import Foreman, Job, JobFailed, Treadle
from treadle.clock import SystemClock
from treadle.errors import JobCancelled, Unsupported
from treadle.testing import eventually

CLOCK = SystemClock()
LEASE = 30.0


@pytest.fixture
async def foreman(tmp_path: Path) -> AsyncIterator[Foreman]:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app, app.foreman(grace=1, concurrency=8, lease=LEASE) as foreman:
            yield foreman


@pytest.mark.parametrize("task", [add, add_later], ids=["plain", "async"])
async def test_a_job_runs_in_another_process(foreman: Foreman, task: Any) -> None:
    job = await task.aenqueue(20, 22)
    assert await job.aresult(timeout=20) == 42
    note = (await job.arecord()).note
    assert note is not None
    # The middleware ran there as well.
    assert note.meta["pid"] != os.getpid()


async def test_what_lives_as_long_as_a_foreman_lives_as_long_as_its_process(
    foreman: Foreman,
) -> None:
    jobs = [await numbered.aenqueue() for _ in range(12)]
    ends = [await job.aresult(timeout=20) for job in jobs]
    for pid in {pid for pid, _ in ends}:
        counts = sorted(count for one, count in ends if one == pid)
        assert counts == list(range(1, len(counts) + 1))


async def test_a_job_tells_of_itself(foreman: Foreman, caplog: pytest.LogCaptureFixture) -> None:
    job = await told.aenqueue()
    assert await job.aresult(timeout=20) == 1
    record = await job.arecord()
    assert record.note is not None
    assert (record.note.current, record.note.total, record.note.message) == (1, 2, "half")
    assert record.note.checkpoint is not None
    # The job that it asked for.
    await eventually(lambda: foreman.stats.get("job.succeeded") == 2)
    assert any("something of note" in one.getMessage() for one in caplog.records)


async def test_a_death_is_a_crash_of_the_job_alone(foreman: Foreman) -> None:
    dying = await die.aenqueue(3)
    others = [await add.aenqueue(number, 1) for number in range(20)]
    assert [await job.aresult(timeout=20) for job in others] == list(range(1, 21))
    with pytest.raises(JobFailed) as caught:
        await dying.aresult(timeout=20)
    assert caught.value.cause == "crashed"
    record = await dying.arecord()
    assert record.tries == 0
    assert [attempt.cause for attempt in record.attempts] == ["crashed", "crashed"]
    assert "exit status 3" in (record.attempts[0].fault or record).message  # type: ignore[union-attr]


async def test_a_job_whose_process_was_killed_runs_again_long_before_its_lease_ends(
    foreman: Foreman, tmp_path: Path
) -> None:
    assert await (await add.aenqueue(1, 1)).aresult(timeout=20) == 2
    began = CLOCK.monotonic()
    job = await die_once.aenqueue(tmp_path / "sign")
    assert await job.aresult(timeout=20) == "lived"
    assert CLOCK.monotonic() - began < LEASE / 2
    record = await job.arecord()
    assert (record.tries, record.crashes) == (0, 1)


async def test_an_error_is_told_as_it_was_raised(foreman: Foreman) -> None:
    job = await fail.aenqueue("no room")
    with pytest.raises(JobFailed) as caught:
        await job.aresult(timeout=20)
    fault = caught.value.fault
    assert fault is not None
    assert fault.type == "tests.foreman.processjobs.Strange"
    assert fault.message == "no room"
    assert "raise Strange(text, 5)" in fault.traceback


@pytest.mark.parametrize("task", [notices, waits], ids=["plain", "async"])
async def test_code_that_notices_ends_at_its_timeout(foreman: Foreman, task: Any) -> None:
    job = await task.aenqueue()
    with pytest.raises(JobFailed) as caught:
        await job.aresult(timeout=20)
    assert caught.value.cause == "timeout"
    assert foreman.stats["abandoned"] == 0


async def test_code_that_does_not_notice_is_interrupted_and_cleans_up(
    foreman: Foreman, tmp_path: Path
) -> None:
    job = await ignores.aenqueue(tmp_path / "file")
    with pytest.raises(JobFailed) as caught:
        await job.aresult(timeout=20)
    assert caught.value.cause == "timeout"
    assert (tmp_path / "file").read_text() == "cleaned"
    assert await (await add.aenqueue(1, 1)).aresult(timeout=20) == 2


async def test_a_running_job_can_be_cancelled(foreman: Foreman, tmp_path: Path) -> None:
    job = await runs_until_cancelled.aenqueue(tmp_path / "file")
    await eventually((tmp_path / "file").exists)
    await job.acancel()
    with pytest.raises(JobCancelled):
        await job.aresult(timeout=20)


async def test_jobs_are_told_that_the_foreman_stops(tmp_path: Path) -> None:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app:
            async with app.foreman(grace=10) as foreman:
                job = await until_stopping.aenqueue(tmp_path / "file")
                await eventually((tmp_path / "file").exists)
                await foreman.stop()
            assert await job.aresult(timeout=20) == "stopped"


async def test_the_url_of_the_store_is_not_in_the_environment(
    foreman: Foreman, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TREADLE_URL", "redis://:secret@host")
    assert await (await environment.aenqueue()).aresult(timeout=20) == "none"


async def test_an_app_that_no_process_can_find_is_refused() -> None:
    local = Treadle("memory://")
    local.task(mode="process")(processjobs.nap)
    async with local:
        with pytest.raises(Unsupported, match="at the top of a module"):
            async with local.foreman():
                pass


@pytest.mark.parametrize("local", [False, True], ids=["of a module", "made here"])
async def test_a_task_that_was_declared_late_runs(foreman: Foreman, local: bool) -> None:
    def made_here() -> None:
        processjobs.nap()

    late: Any = app.task(mode="process", name="late")(made_here if local else processjobs.nap)
    try:
        job: Job[None] = await late.aenqueue()
        assert await job.aresult(timeout=20) is None
    finally:
        del app.core.tasks["late"]


async def test_a_late_task_that_cannot_travel_is_set_aside_with_the_reason(
    foreman: Foreman,
) -> None:
    lock = threading.Lock()

    def locked() -> None:
        lock.acquire()

    late: Any = app.task(mode="process", name="late")(locked)
    try:
        job: Job[None] = await late.aenqueue()
        await eventually(lambda: foreman.stats.get("job.released", 0) > 0)
        record = await job.arecord()
        assert record.state == "scheduled"
        assert "cannot travel to another process" in (record.reason or "")
        await job.acancel()
    finally:
        del app.core.tasks["late"]


async def test_a_first_process_task_may_come_after_the_foreman() -> None:
    async with lateapp.app, lateapp.app.foreman():
        import_module("tests.foreman.latejobs")
        late = lateapp.app.core.tasks["tests.foreman.latejobs.double"]
        assert await (await late.aenqueue(21)).aresult(timeout=20) == 42


async def test_plain_code_of_a_job_may_block(foreman: Foreman) -> None:
    """No loop is seen to run there, though the process has one for the coroutines."""
    job = await blocks.aenqueue()
    assert await job.aresult(timeout=20) == "both"


SHOP = """
from treadle import Treadle

app = Treadle("memory://")


@app.task(mode="process")
def double(number: int) -> int:
    return 2 * number
"""
SCRIPT = """
import asyncio
from pathlib import Path

{imported}

with Path("runs").open("a") as file:
    file.write("run\\n")


async def main() -> None:
    async with {app}, {app}.foreman():
        job = await {double}.aenqueue(21)
        print(await job.aresult(timeout=20))


asyncio.run(main())
"""


@pytest.mark.parametrize(
    ("imported", "app", "double"),
    [("from shop import app, double", "app", "double"), ("import shop", "shop.app", "shop.double")],
    ids=["names", "module"],
)
def test_a_script_that_imports_its_app_runs_once_and_needs_no_guard(
    tmp_path: Path, imported: str, app: str, double: str
) -> None:
    (tmp_path / "shop.py").write_text(SHOP)
    text = SCRIPT.format(imported=imported, app=app, double=double)
    (tmp_path / "script.py").write_text(text)
    ended = subprocess.run(
        [sys.executable, "script.py"],
        cwd=tmp_path, env=_environ(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (ended.returncode, ended.stdout) == (0, "42\n"), ended.stderr
    assert (tmp_path / "runs").read_text() == "run\n"


def _environ() -> dict[str, str]:
    """Of this process, with this tree's package."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


async def test_a_process_that_is_only_starting_when_the_foreman_stops_is_ended(
    tmp_path: Path,
) -> None:
    with app.override(url=f"sqlite:///{tmp_path}/jobs.db"):
        async with app:
            await add.aenqueue(1, 1)
            async with app.foreman(grace=0) as foreman:
                # Claimed, and so given to a process that takes its time to be there.
                await eventually(lambda: foreman.stats["running"] == 1)
