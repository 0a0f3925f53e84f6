"""What waits or is kept in memory is no work for the garbage collector, however much it is."""

from __future__ import annotations

import gc

from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import NewJob, SessionInfo
from treadle.verdicts import Done

_JOBS = 1000


def _tracked() -> int:
    gc.collect()
    return len(gc.get_objects())


async def test_jobs_in_memory_are_not_looked_at_by_the_collector() -> None:
    clock = SystemClock()
    ids = SystemIds(clock)
    backend = backends.open("memory://", clock=clock, ids=ids)
    await backend.open()
    session = await backend.open_session(SessionInfo(name="test"))
    before = _tracked()
    await backend.push([NewJob(id=ids.new(), task="t", payload=b"x") for _ in range(_JOBS)])
    assert _tracked() - before < _JOBS / 10
    claimed = await backend.claim(Claim(session=session, request=1, limit=_JOBS))
    assert _tracked() - before < _JOBS / 10
    tokens = [lease.token for lease in claimed.leases]
    del claimed
    await backend.settle([Settlement(token=token, verdict=Done(result=b"y")) for token in tokens])
    assert len(tokens) == _JOBS
    assert _tracked() - before < _JOBS / 10
    backend.close()
