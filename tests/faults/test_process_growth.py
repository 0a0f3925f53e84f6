"""Very many jobs leave nothing behind in a foreman, and to replace one that grew loses nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.faults.growth_jobs import app, leak, work
from tests.soak.crew import environment
from tests.soak.growth import Orders, Sample
from treadle import JobState
from treadle.task import Task

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]
_MIB = 1 << 20


# Many that do nothing, and fewer that leave a traceback of a megabyte.
@pytest.mark.alone
@pytest.mark.parametrize("collects", [True, False], ids=["collected", "gc off"])
@pytest.mark.parametrize(("task", "jobs"), [("nothing", 100_000), ("fails", 10_000)])
def test_memory_is_bounded_over_very_many_durable_jobs(
    tmp_path: Path, task: str, jobs: int, collects: bool
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    orders = Orders(url=url, task=task, rounds=11, jobs=jobs // 10, collects=collects)
    command = [sys.executable, "-m", "tests.soak.growth", msgspec.json.encode(orders)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    warm, *_, last = msgspec.json.decode(done.stdout, type=list[Sample])
    assert last.jobs - warm.jobs == jobs
    grown, blocks = last.resident - warm.resident, last.blocks - warm.blocks
    print(f"\n{task}: {grown / 1024:.0f} KiB and {blocks} blocks in {jobs:,} jobs")
    assert grown < 5 * _MIB
    # What a foreman itself leaves in cycles, once a round, nobody takes away then.
    assert blocks < jobs * 0.05 + (0 if collects else 5000)


@pytest.mark.parametrize(
    ("task", "jobs", "option"),
    [(work, 2000, "--max-jobs=150"), (leak, 800, "--max-rss=160MiB")],
    ids=["max_jobs", "max_rss"],
)
def test_processes_that_make_room_lose_nothing(
    tmp_path: Path, task: Task[[], int], jobs: int, option: str
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    with app.override(url=url), app:
        made = task.enqueue_many([()] * jobs)
        command = [
            sys.executable, "-m", "treadle", "run", "tests.faults.growth_jobs:app", "--url", url,
            "--burst", "--processes=2", "--concurrency=2", option,
        ]  # fmt: skip
        ran = subprocess.run(command, env=environment(), capture_output=True, check=False)
        assert ran.returncode == 0, ran.stderr.decode()
        records = [job.record() for job in made]
        pids = {job.result() for job in made}
    assert {(one.state, one.fence, one.crashes) for one in records} == {(JobState.SUCCEEDED, 1, 0)}
    # More than two have worked: some were replaced.
    assert len(pids) > 2
    assert b"foreman.recycled" in ran.stderr + ran.stdout
