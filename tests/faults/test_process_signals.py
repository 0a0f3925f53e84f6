"""Signals at awkward times: twice, to a whole group, while the store is held by somebody else."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.faults.process_trial import Trial, trial
from treadle import JobState
from treadle.clock import SystemClock

pytestmark = pytest.mark.slow

CLOCK = SystemClock()
GRACE = 5.0


@contextmanager
def shut(one: Trial) -> Iterator[None]:
    """The gate of the store is held by somebody who does not go on."""
    with (one.folder / "jobs.db-lock").open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


async def test_a_stop_is_heard_while_nobody_can_write(tmp_path: Path) -> None:
    """The verdict has nowhere to go: the foreman gives it up aloud, and the job runs again."""
    async with trial(tmp_path, patience=3) as one:
        foreman = await one.start("run.inside")
        job = await one.jobs.slow.aenqueue(1, 0.3)
        assert await foreman.hears("passed"), one.errors()
        with shut(one):
            foreman.tamper()
            asked = CLOCK.monotonic()
            status = await foreman.stop()
            took = CLOCK.monotonic() - asked
        # The grace is for the verdict, too; the store has its own patience with its last words.
        assert took < GRACE + 10.0
        assert status == 0, one.errors()
        assert "settle.given_up" in one.errors()
        findings = await one.finish(foreman)
        assert not findings.violations, findings.report()
        assert await job.aresult() == 2


async def test_a_second_signal_leaves_at_once(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        foreman = await one.start("run.inside", grace=60.0)
        job = await one.jobs.held.aenqueue("finish")
        assert await foreman.hears("passed"), one.errors()
        foreman.tamper()
        foreman.process.terminate()
        assert await foreman.hears("stopping")
        asked = CLOCK.monotonic()
        foreman.process.terminate()
        assert await foreman.ended() == 128 + signal.SIGTERM
        assert CLOCK.monotonic() - asked < 2.0
        findings = await one.finish()
        assert not findings.violations, findings.report()
        assert await job.aresult() == 2


async def test_what_is_not_done_within_the_grace_goes_back_uncounted(tmp_path: Path) -> None:
    async with trial(tmp_path) as one:
        foreman = await one.start("run.inside", grace=0.5)
        job = await one.jobs.held.aenqueue("finish")
        assert await foreman.hears("passed"), one.errors()
        asked = CLOCK.monotonic()
        assert await foreman.stop() == 0
        assert CLOCK.monotonic() - asked < 0.5 + 2.0
        record = await job.arecord()
        assert (record.state, record.crashes, record.tries) == (JobState.QUEUED, 0, 0)
        findings = await one.finish()
        assert not findings.violations, findings.report()
        assert await job.aresult() == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
async def test_a_signal_to_the_whole_group_ends_all_in_good_order(
    tmp_path: Path, number: signal.Signals
) -> None:
    """As Ctrl-C at a terminal, which sends it to everybody at once."""
    async with trial(tmp_path) as one:
        leader = await one.start("run.inside", group=0)
        other = await one.start("run.inside", group=leader.process.pid)
        jobs = await one.work(40)
        for child in (leader, other):
            assert await child.hears("passed"), one.errors()
        os.killpg(leader.process.pid, number)
        assert [await child.ended() for child in (leader, other)] == [0, 0]
        findings = await one.finish()
        assert not findings.violations, findings.report()
        assert findings.figures.repeats == 0
        assert all([(await job.arecord()).crashes == 0 for job in jobs])
