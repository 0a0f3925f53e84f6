"""A foreman process does not grow with the jobs that it has run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.soak.crew import environment
from tests.soak.growth import Orders, Sample

_ROUNDS = 8
_WARM_UP = 3


def _samples(orders: Orders) -> list[Sample]:
    command = [sys.executable, "-m", "tests.soak.growth", msgspec.json.encode(orders)]
    done = subprocess.run(command, env=environment(), stdout=subprocess.PIPE, check=True)
    return msgspec.json.decode(done.stdout, type=list[Sample])


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(330)
@pytest.mark.parametrize("store", ["memory", "sqlite"])
@pytest.mark.parametrize(
    ("task", "jobs", "each"), [("nothing", 2000, 5), ("in_thread", 2000, 5), ("fails", 200, 500)]
)
def test_a_foreman_keeps_nothing_of_what_it_has_run(
    tmp_path: Path, store: str, task: str, jobs: int, each: float
) -> None:
    """``each``: bytes per job; what a process may grow by in the long run."""
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    samples = _samples(Orders(url=url, task=task, rounds=_ROUNDS, jobs=jobs))
    warm, last = samples[_WARM_UP - 1], samples[-1]
    ran = last.jobs - warm.jobs
    grown, blocks = last.resident - warm.resident, last.blocks - warm.blocks
    print(
        f"\n{task} over {store}: {grown / 1024:.0f} KiB and {blocks} blocks in {ran:,} jobs, "
        f"which is {grown / ran:.1f} bytes and {blocks / ran:.4f} blocks each"
    )
    # One block per job, of the smallest size, would be 16 bytes.
    assert blocks <= ran * 0.05 + 200
    # The allocator takes memory from the system in pieces, and gives it back late.
    # Pages come by the arena: a few more or less say nothing.
    assert grown <= ran * each + 4 * 2**20
