"""Jobs that kill their process: few deaths, and those beside them do not pay."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest

from tests.faults.process_trial import Trial, trial
from treadle import Job, JobFailed
from treadle.clock import SystemClock
from treadle.records import FINAL

CLOCK = SystemClock()
pytestmark = pytest.mark.slow


async def keep(one: Trial, status: int, *jobs: Job[Any]) -> int:
    """Have one process at a time alive until jobs have ended; how many died, with that status."""
    deaths = 0
    child = await one.start()
    while any([(await job.arecord()).state not in FINAL for job in jobs]):
        if child.process.returncode is not None:
            assert await child.ended() == status
            child.died()
            deaths += 1
            child = await one.start()
        await CLOCK.sleep(0.02)
    assert await child.stop() == 0
    return deaths


@pytest.mark.parametrize("max_crashes", [1, 2])
async def test_a_pill_among_twenty_kills_a_bounded_number_of_times(
    tmp_path: Path, max_crashes: int
) -> None:
    """Nobody tells the store of the deaths: leases lapse, and suspects run alone."""
    async with trial(tmp_path) as one:
        before = await one.jobs.add.aenqueue_many([(n,) for n in range(9)])
        pill = await one.jobs.pill.options(max_crashes=max_crashes).aenqueue()
        after = await one.jobs.add.aenqueue_many([(n,) for n in range(10)])
        deaths = await keep(one, -signal.SIGKILL, pill, *before, *after)
        assert 1 <= deaths <= max_crashes + 1
        findings = await one.finish()
        assert not findings.violations, findings.report()
        with pytest.raises(JobFailed) as caught:
            await pill.aresult()
        assert caught.value.cause == "crashed"
        # The first nine had ended or were ending, the last ten had not begun.
        assert [await job.aresult() for job in (*before, *after)] == [*range(1, 10), *range(1, 11)]
        assert [(await job.arecord()).crashes for job in after] == [0] * 10
        assert [(await job.arecord()).tries for job in (*before, *after)] == [0] * 19


@pytest.mark.parametrize(
    ("way", "status"),
    [
        ("exit 0", 0),
        ("exit 3", 3),
        ("abort", -signal.SIGABRT),
        ("segfault", -signal.SIGSEGV),
    ],
)
async def test_a_job_may_end_its_process_in_any_way(tmp_path: Path, way: str, status: int) -> None:
    """It is a crash of that job alone, and no success, whatever status the process leaves."""
    async with trial(tmp_path) as one:
        bad = await one.jobs.deadly.options(max_crashes=1).aenqueue(way)
        good = await one.jobs.add.aenqueue(1)
        assert 1 <= await keep(one, status, bad, good) <= 2
        with pytest.raises(JobFailed) as caught:
            await bad.aresult()
        assert caught.value.cause == "crashed"
        assert await good.aresult() == 2
        findings = await one.finish(*one.children)
        assert not findings.violations, findings.report()
