"""Everything that can happen at a step, at every step, in real processes.

Not all of it is fair: a store that raises what no store may raise, a task of the foreman's own
that somebody cancels. Then the foreman may end with an error; its jobs may not.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.faults.process_stores import SERVERS, Store, store
from tests.faults.process_trial import Trial, trial
from treadle.clock import SystemClock
from treadle.failpoints import NAMES

__all__ = ["store"]

LOTS = [NAMES[at::7] for at in range(7)]
STATUS = 41
# Long enough for a foreman that others keep from the processors, as these tests do to each other.
LEASE = 4.0
# What stands for a wrong program ends the process that meets it; everything else must not.
MAY_FAIL = {"raise", "cancel"}
# Who stands still there keeps everybody from writing.
IN_THE_GATE = ("promote", "reap")
# Nothing repeats a push that has been answered, so its caller is told.
TOLD = {("enqueue.after_reply", "drop#1")}


async def meet(trial: Trial, point: str, rule: str) -> None:
    """A process comes to a step where something happens, and is asked to stop after that."""
    if point.startswith("enqueue"):
        child = await trial.start(point, rule, pushes=20)
    else:
        if point.startswith("reap"):
            await trial.orphan()
        if point.startswith(IN_THE_GATE):
            await trial.work()
        child = await trial.start(point, rule)
        child.tamper()
        if not point.startswith(IN_THE_GATE):
            await trial.work()
    assert await child.hears("passed"), (point, rule, trial.errors())
    if rule.startswith("stop"):
        await child.stopped()
        # Somebody takes over, where that is possible.
        other = None if point.startswith(IN_THE_GATE) else await trial.start()
        await SystemClock().sleep(LEASE + 0.5)  # how long it stands still is the point
        child.wake()
        if other is not None:
            assert await other.stop() == 0
    if rule.startswith("exit"):
        assert await child.ended() == STATUS, point
        return
    status = await (child.ended() if point.startswith("enqueue") else child.stop())
    may_fail = rule.partition("#")[0] in MAY_FAIL or (point, rule) in TOLD
    # One that has failed may be past hearing the signal when that comes.
    failed = may_fail and status in {1, -signal.SIGTERM}
    assert status == 0 or failed, (point, rule, status, trial.errors())


RULES = [f"exit:{STATUS}", "raise#1", f"sleep:{LEASE + 0.5}#1", "drop#1", "cancel#1"]
if os.environ.get("FAULTS") == "all":
    # To stand still past the lease at each step takes minutes.
    RULES.append("stop#1")


# Where all happens in a server, what ends a process or its connection says most; the rest of the
# rules takes minutes there as well.
OVER_SERVERS = RULES if os.environ.get("FAULTS") == "all" else [f"exit:{STATUS}", "drop#1"]
CASES = [("sqlite", rule) for rule in RULES]
CASES += [(kind, rule) for kind in SERVERS for rule in OVER_SERVERS]


@pytest.mark.slow
@pytest.mark.parametrize(("store", "rule"), CASES, indirect=["store"])
@pytest.mark.parametrize("lot", LOTS, ids=lambda lot: f"from {lot[0]}")
async def test_whatever_happens_at_a_step(
    tmp_path: Path, store: Store, lot: tuple[str, ...], rule: str
) -> None:
    lot = tuple(point for point in lot if store.passes(point))
    async with trial(tmp_path, lease=LEASE, url=store.url) as one:
        for point in lot:
            await meet(one, point, rule)
        findings = await one.finish()
        assert not findings.violations, findings.report() + one.errors()
