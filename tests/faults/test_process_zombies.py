"""A process that stands still until its jobs belong to others, and then goes on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.process_trial import LEASE, trial
from treadle import Job, JobState
from treadle.clock import SystemClock
from treadle.records import JobRecord

SOON = 1.0
CLOCK = SystemClock()


async def until(job: Job[int], holds: Callable[[JobRecord], bool]) -> None:
    while not holds(await job.arecord()):
        await CLOCK.sleep(0.02)


# What the second attempt does, and how far it has come when the first one goes on.
VARIANTS: dict[str, Callable[[JobRecord], bool]] = {
    "finish": lambda record: record.state is JobState.SUCCEEDED,
    "run": lambda record: record.state is JobState.RUNNING and record.fence == 2,
    "retry": lambda record: record.state is JobState.SCHEDULED and record.tries == 1,
}


@pytest.mark.slow
@pytest.mark.parametrize("then", VARIANTS)
async def test_a_zombie_changes_nothing_and_ends_its_code(tmp_path: Path, then: str) -> None:
    """Frozen with one verdict on its way and one job at work; both went to others meanwhile."""
    async with trial(tmp_path) as one:
        held = await one.jobs.held.aenqueue(then)
        late = await one.jobs.late.aenqueue(then)
        zombie = await one.start("ack.before_send", "stop#1")
        zombie.tamper()
        assert await zombie.hears("passed"), one.errors()
        await zombie.stopped()
        # Suspects run alone, so each needs a process.
        for _ in range(2):
            await one.start()
        for job in (held, late):
            await until(job, VARIANTS[then])
        before = [await job.arecord() for job in (held, late)]

        zombie.wake()
        woken = CLOCK.monotonic()
        assert await zombie.hears("cancelled"), one.errors()
        assert CLOCK.monotonic() - woken < SOON
        after = [await job.arecord() for job in (held, late)]
        assert [(r.state, r.fence, r.version, r.note) for r in after] == [
            (r.state, r.fence, r.version, r.note) for r in before
        ]
        assert await zombie.stop() == 0
        one.go_on.touch()
        for job in (held, late):
            if then == "retry":
                await job.areschedule(delay=0)
        findings = await one.finish()
        assert not findings.violations, findings.report()
        assert findings.figures.refused >= 1
        fence = 3 if then == "retry" else 2
        assert [await job.aresult() for job in (held, late)] == [fence, fence]


@pytest.mark.slow
async def test_a_whole_group_that_is_frozen_comes_back_to_work(tmp_path: Path) -> None:
    """As with a machine that was suspended: nobody is left to take over meanwhile."""
    async with trial(tmp_path) as one:
        children = [await one.start("run.inside") for _ in range(2)]
        await one.work(40)
        for child in children:
            assert await child.hears("passed"), one.errors()
        for child in children:
            child.freeze()
        for child in children:
            await child.stopped()
        await CLOCK.sleep(LEASE * 1.5)  # how long they stand still is the point
        for child in children:
            child.wake()
        await one.drained()
        assert [await child.stop() for child in children] == [0, 0]
        findings = await one.finish()
        assert not findings.violations, findings.report()
        assert findings.figures.freezes == 2
