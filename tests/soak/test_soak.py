"""Whatever is done to the foremen, no job is lost, none ends twice, each repeat is explained."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.soak.crew import Post
from tests.soak.soak import Goal, Soak
from treadle.ids import SystemIds

# `make soak MINUTES=10 SEED=7` sets them.
MINUTES = float(os.environ.get("SOAK_MINUTES") or 1)
SEED = int(os.environ.get("SOAK_SEED") or SystemIds().chance.getrandbits(32))
LEASE = 3.0


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell who is frozen")
@pytest.mark.timeout(MINUTES * 60 * 4 + 180)
async def test_foremen_that_are_killed_and_frozen_lose_nothing_and_end_nothing_twice(
    tmp_path: Path,
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db?durability=normal"
    posts = [Post(name=f"foreman-{number}", url=url) for number in range(6)]
    goal = Goal(
        jobs=int(20_000 * MINUTES),
        kills=int(60 * MINUTES),
        freezes=int(30 * MINUTES),
        refused=int(50 * MINUTES),
    )
    print(f"\nSEED={SEED}, ledgers and log in {tmp_path}")
    soak = Soak(tmp_path, posts, SEED, lease=LEASE)
    findings = await soak.run(MINUTES * 60, goal, longest=MINUTES * 60 * 3)
    print(findings.report())
    assert not findings.violations, f"SEED={SEED}, {tmp_path}\n{findings.report()}"
    # A busy machine excuses a few lost leases, but not many.
    assert findings.figures.slow <= findings.figures.accepted / 200, findings.report()
    assert not goal.missing(findings), f"SEED={SEED}: {goal.missing(findings)}"
