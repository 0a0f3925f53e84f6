"""Races: for a unique key, for jobs that come due, for a result."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.faults.process_trial import trial
from treadle import JobNotFound, ResultExpired, Treadle, WaitTimeout
from treadle.clock import SystemClock
from treadle.ports import Claim, Query
from treadle.records import JobState, SessionInfo
from treadle.testing import ManualClock

CLOCK = SystemClock()
RACERS = 100


def where(tmp_path: Path, backend: str) -> str:
    return "memory://" if backend == "memory" else f"sqlite:///{tmp_path}/jobs.db"


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
def test_of_threads_that_race_for_a_unique_key_one_wins(tmp_path: Path, backend: str) -> None:
    app = Treadle(where(tmp_path, backend))
    task = app.task(name="work", unique="the key")(lambda: None)
    start = threading.Barrier(RACERS)
    found: list[tuple[str, bool]] = []

    def race() -> None:
        start.wait()
        job = task.enqueue()
        found.append((job.id, job.created))

    threads = [threading.Thread(target=race) for _ in range(RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    winners = [job_id for job_id, created in found if created]
    assert len(found) == RACERS
    assert len(winners) == 1
    assert {job_id for job_id, _ in found} == set(winners), "each loser learns who has won"
    app.close()


@pytest.mark.slow
async def test_of_processes_that_race_for_a_unique_key_one_wins(tmp_path: Path) -> None:
    """Four of them die between sending their job and hearing of it, one of these may have won."""
    async with trial(tmp_path) as one:
        racers = [await one.start(pushes=20, unique=True) for _ in range(4)]
        racers += [
            await one.start("enqueue.sent_no_reply", "kill9#1", pushes=20, unique=True)
            for _ in range(4)
        ]
        one.go_on.touch()
        for racer in racers:
            await racer.process.wait()
        assert [racer.process.returncode for racer in racers] == [0] * 4 + [-9] * 4
        backend = await one.app.core.ready()
        page = await backend.find(Query(limit=100))
        assert len(page.records) == 1
        told = {line for racer in racers[:4] for line in await racer.rest()}
        assert told == {page.records[0].id}
        # The key is free again once its job has ended.
        findings = await one.finish()
        assert not findings.violations, findings.report()
        again = await one.jobs.single.aenqueue()
        assert again.created
        assert again.id not in told


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_jobs_that_two_move_on_at_once_become_ready_once(
    tmp_path: Path, backend: str
) -> None:
    clock = ManualClock()
    async with Treadle(where(tmp_path, backend), clock=clock) as app:
        task = app.task(name="work")(lambda: None)
        jobs = [await task.options(delay=5).aenqueue() for _ in range(120)]
        store = await app.core.ready()
        sessions = [await store.open_session(SessionInfo(name=str(n))) for n in range(2)]
        clock.advance(6)
        claims = [
            Claim(session=session, request=request, limit=10)
            for request in range(1, 8)
            for session in sessions
        ]
        answers = await asyncio.gather(*map(store.claim, claims))
        given = [lease.token.job_id for answer in answers for lease in answer.leases]
        assert sorted(given) == sorted(job.id for job in jobs)


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_a_thousand_waiters_are_all_told(tmp_path: Path, backend: str) -> None:
    release = asyncio.Event()
    async with Treadle(where(tmp_path, backend)) as app:

        @app.task(name="work")
        async def work() -> str:
            await release.wait()
            return "told"

        job = await work.aenqueue()
        early = [asyncio.ensure_future(job.aresult(timeout=60)) for _ in range(1000)]
        async with app.foreman():
            while (await job.arecord()).state is not JobState.RUNNING:
                await CLOCK.sleep(0.01)
            release.set()
            assert set(await asyncio.gather(*early)) == {"told"}
            late = [job.aresult(timeout=60) for _ in range(100)]
            assert set(await asyncio.gather(*late)) == {"told"}


@pytest.mark.parametrize("backend", ["memory", "sqlite"])
async def test_a_waiter_ends_whatever_becomes_of_the_job(tmp_path: Path, backend: str) -> None:
    async with Treadle(where(tmp_path, backend)) as app:
        work = app.task(name="work")(lambda: 1)
        gone, deleted, idle = [await work.options(keep=0).aenqueue() for _ in range(3)]
        waiting = [asyncio.ensure_future(job.aresult(timeout=30)) for job in (gone, deleted)]
        waiting.append(asyncio.ensure_future(idle.aresult(timeout=0.05)))
        with pytest.raises(WaitTimeout):
            await waiting[2]
        assert await deleted.adelete()
        with pytest.raises(JobNotFound):
            await waiting[1]
        async with app.foreman(burst=True) as foreman:
            await foreman.join()
        with pytest.raises(ResultExpired):
            await waiting[0]
        with pytest.raises(ResultExpired):
            await gone.aresult(timeout=30)
