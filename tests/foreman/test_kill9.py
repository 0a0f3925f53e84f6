"""A foreman that is killed at each step of the protocol loses nothing and counts nothing twice."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.foreman.shop import NAME, Shop, pause
from treadle import Job, JobFailed, JobState
from treadle.ports import Query
from treadle.testing import active


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    shop = Shop.open(tmp_path, monkeypatch)
    yield shop
    await shop.app.aclose()


@pytest.mark.slow
@pytest.mark.parametrize(
    "point",
    [
        "claim.sent_no_reply",
        "claim.after_reply#2",
        "run.before_handler#3",
        "run.after_handler#3",
        "ack.before_send#2",
        "ack.after_reply#2",
        "retry.after_reply",
        "extend.after_reply",
    ],
)
async def test_a_death_at_this_step_leaves_every_job_done_once(
    shop: Shop,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    point: str,
) -> None:
    name, _, nth = point.partition("#")
    monkeypatch.setenv("SHOP_POINT", f"{name}=kill9#{nth or 1}")
    tasks = shop.module
    jobs: list[Job[Any]] = [*await tasks.add.aenqueue_many([(n, 1) for n in range(8)])]
    jobs += await tasks.add_in_thread.aenqueue_many([(n, 1) for n in range(8, 12)])
    expected: list[int] = [n + 1 for n in range(12)]
    jobs.append(await tasks.again.aenqueue())
    expected.append(1)
    if name.startswith("extend"):
        jobs.append(await tasks.linger.aenqueue())
        expected.append(2)
    supervisor = shop.supervisor(processes=1, concurrency=4, lease=2.0, burst=True)
    assert await supervisor.run() == 0
    assert caplog.text.count("foreman.died") == 1
    assert "signal 9" in caplog.text
    assert [await job.aresult() for job in jobs] == expected
    starts = shop.starts()
    crashes = 0
    for job in jobs:
        record = await job.arecord()
        # Each start beyond the first is explained: by an error, or by the crash.
        assert 1 <= starts[job.id] <= record.tries + record.crashes + 1
        assert record.crashes <= 1
        assert record.tries == (1 if record.spec.task.endswith("again") else 0)
        crashes += record.crashes
    if name == "claim.sent_no_reply":
        assert crashes == 0  # nothing had started, so nobody is to blame
    if name == "extend.after_reply":
        assert crashes >= 1
    page = await (await shop.app.core.ready()).find(Query(limit=100))
    assert {record.state for record in page.records} == {JobState.SUCCEEDED}
    assert len(page.records) == len(jobs)


async def test_an_enqueue_whose_reply_is_lost_makes_one_job(shop: Shop) -> None:
    with active({"enqueue.before_send": "drop#1", "enqueue.sent_no_reply": "drop#1"}):
        job = await shop.module.add.aenqueue(1, 2)
    assert job.created
    page = await (await shop.app.core.ready()).find(Query())
    assert [record.id for record in page.records] == [job.id]


FOREMAN = f"""
import asyncio
from {NAME} import app
from treadle.foreman.serve import serve
raise SystemExit(asyncio.run(serve(app.core, lease=1.0, suspect_every=1.0)))
"""


class Alone:
    """A foreman process without a supervisor; started again by hand when it has died."""

    def __init__(self) -> None:
        self.deaths = 0
        self._process: asyncio.subprocess.Process | None = None

    async def keep(self) -> None:
        if self._process is None or self._process.returncode is not None:
            self.deaths += self._process is not None
            self._process = await asyncio.create_subprocess_exec(sys.executable, "-c", FOREMAN)

    async def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    async def stop(self) -> int:
        assert self._process is not None
        if self._process.returncode is None:
            self._process.terminate()
        return await self._process.wait()


@pytest.mark.slow
async def test_without_a_supervisor_the_leases_lapse_and_suspects_run_alone(shop: Shop) -> None:
    lingering = [await shop.module.linger.aenqueue() for _ in range(3)]
    foreman = Alone()
    async with asyncio.timeout(60):
        await foreman.keep()
        while len(shop.ledger()) < 3:
            await pause()
        await foreman.kill()
        await foreman.keep()
        assert [await job.aresult() for job in lingering] == [2, 2, 2]
        assert await foreman.stop() == 0
    for job in lingering:
        record = await job.arecord()
        assert record.tries == 0
        assert record.crashes <= 1
    assert foreman.deaths == 1


@pytest.mark.slow
async def test_without_a_supervisor_a_pill_kills_a_bounded_number_of_times(shop: Shop) -> None:
    pill = await shop.module.pill.options(max_crashes=2).aenqueue()
    others = await shop.module.add.aenqueue_many([(n, 1) for n in range(10)])
    foreman = Alone()
    async with asyncio.timeout(60):
        while (await pill.arecord()).state is not JobState.FAILED:
            await foreman.keep()
            await pause()
        await foreman.keep()
        assert [await job.aresult() for job in others] == [n + 1 for n in range(10)]
        assert await foreman.stop() == 0
    with pytest.raises(JobFailed) as caught:
        await pill.aresult()
    assert caught.value.cause == "crashed"
    assert shop.starts()["pill"] <= 3  # max_crashes and one, when nobody knew that it had started
