"""A process that dies, at every step of the protocol: all jobs are done, none is lost or blamed."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.faults.process_stores import STORES, Store, store
from tests.faults.process_trial import Trial, trial
from treadle.failpoints import NAMES

__all__ = ["store"]

# In lots, so that what one process leaves behind is cleared up by the next, which dies as well.
LOTS = [NAMES[at::4] for at in range(4)]


async def die(trial: Trial, point: str, rule: str) -> int:
    """A process dies at a step, in the middle of fifty jobs; its exit status."""
    if point.startswith("enqueue"):
        child = await trial.start(point, rule, pushes=20)
        return await child.ended()
    if point.startswith("reap"):
        await trial.orphan()
    child = await trial.start(point, rule)
    await trial.work()
    return await child.ended()


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES, indirect=True)
@pytest.mark.parametrize("lot", LOTS, ids=lambda lot: f"from {lot[0]}")
async def test_killed_at_every_step(tmp_path: Path, store: Store, lot: tuple[str, ...]) -> None:
    lot = tuple(point for point in lot if store.passes(point))
    async with trial(tmp_path, url=store.url) as one:
        for point in lot:
            assert await die(one, point, "kill9") == -signal.SIGKILL, point
        findings = await one.finish()
        assert not findings.violations, findings.report()
        orphans = sum(point.startswith("reap") for point in lot)
        assert findings.figures.kills == len(lot) + orphans
