"""A transaction that stays open, of whatever program, while PostgreSQL carries out jobs."""

from __future__ import annotations

from statistics import median

import asyncpg
import pytest

from tests.faults.shop_support import NAMESPACE
from tests.servers import own
from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Settlement
from treadle.records import Keep, NewJob, Session, SessionInfo
from treadle.testing.servers import PostgresServer
from treadle.verdicts import Done

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(180)]

CLOCK = SystemClock()
IDS = SystemIds()
# Seconds for which the transaction is open, and for which is measured before it and at its end.
OPEN, SHARE = 60.0, 8.0
BATCH = 10


class Producer:
    """Pushes, claims and ends jobs, ten at a time, and says how long each claim took."""

    def __init__(self, backend: Backend, session: Session) -> None:
        self._backend = backend
        self._session = session
        self._request = 0
        # Jobs that were done.
        self.done = 0

    async def work(self, seconds: float) -> list[float]:
        """Keep a queue busy for so long."""
        until = CLOCK.monotonic() + seconds
        took: list[float] = []
        while CLOCK.monotonic() < until:
            # Half of them are removed soon after their end.
            keep = Keep() if self._request % 2 else Keep(succeeded=1.0)
            jobs = [NewJob(id=IDS.new(), task="t", payload=b"p", keep=keep) for _ in range(BATCH)]
            await self._backend.push(jobs)
            self._request += 1
            began = CLOCK.monotonic()
            ask = Claim(session=self._session, request=self._request, limit=BATCH)
            leases = (await self._backend.claim(ask)).leases
            took.append(CLOCK.monotonic() - began)
            ends = [Settlement(token=one.token, verdict=Done()) for one in leases]
            await self._backend.settle(ends)
            self.done += len(ends)
        return took


async def test_beside_a_snapshot_that_stays_open_claims_keep_half_of_their_pace() -> None:
    """Nothing that was removed is vacuumed for a minute, and no claim steps over all of it."""
    with own(PostgresServer(config={"autovacuum": "off"}).start) as server:
        backend = backends.open(server.url, namespace=NAMESPACE, clock=CLOCK, ids=IDS)
        await backend.open()
        reader = await asyncpg.connect(server.url)
        try:
            producer = Producer(backend, await backend.open_session(SessionInfo(name="one")))
            await producer.work(1.0)
            async with reader.transaction(isolation="repeatable_read"):
                before = await producer.work(SHARE)
                await reader.fetchval(f"SELECT count(*) FROM {NAMESPACE}_job")
                await producer.work(OPEN - SHARE)
                after = await producer.work(SHARE)
        finally:
            await reader.close()
            await backend.aclose()
            backend.close()
    said = f"{producer.done} jobs; claims of {BATCH}: {_shown(before)}, {_shown(after)} at the end"
    assert len(after) >= len(before) / 2, said


def _shown(took: list[float]) -> str:
    ranked = sorted(took)
    return (
        f"{len(took)} with a median of {1000 * median(took):.1f} ms, "
        f"99 % {1000 * ranked[len(ranked) * 99 // 100]:.1f} ms, {1000 * ranked[-1]:.1f} ms at most"
    )
