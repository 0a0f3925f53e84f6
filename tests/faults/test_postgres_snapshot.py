"""A transaction that stays open, of whatever program, while PostgreSQL carries out jobs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
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
# Seconds for which the transaction is open, and of those the last ones, which are measured.
OPEN, SHARE = 60.0, 10.0
BATCH = 10


class Producer:
    """Pushes, claims and ends jobs, ten at a time."""

    def __init__(self, backend: Backend, session: Session) -> None:
        self._backend = backend
        self._session = session
        self._request = 0
        # Jobs that were done, and what each claim took.
        self.done = 0
        self.claims: list[float] = []

    async def work(self) -> float:
        """Ten jobs; how long it took."""
        began = CLOCK.monotonic()
        # Half of them are removed soon after their end.
        keep = Keep() if self._request % 2 else Keep(succeeded=1.0)
        jobs = [NewJob(id=IDS.new(), task="t", payload=b"p", keep=keep) for _ in range(BATCH)]
        await self._backend.push(jobs)
        self._request += 1
        asked = CLOCK.monotonic()
        ask = Claim(session=self._session, request=self._request, limit=BATCH)
        leases = (await self._backend.claim(ask)).leases
        self.claims.append(CLOCK.monotonic() - asked)
        ends = [Settlement(token=one.token, verdict=Done()) for one in leases]
        await self._backend.settle(ends)
        self.done += len(ends)
        return CLOCK.monotonic() - began


@asynccontextmanager
async def producer(url: str) -> AsyncIterator[Producer]:
    backend = backends.open(url, namespace=NAMESPACE, clock=CLOCK, ids=IDS)
    await backend.open()
    try:
        yield Producer(backend, await backend.open_session(SessionInfo(name="one")))
    finally:
        await backend.aclose()
        backend.close()


async def test_beside_a_snapshot_that_stays_open_half_of_the_pace_is_left() -> None:
    """Nothing that was removed is vacuumed for a minute, and no claim steps over all of it.

    A snapshot concerns its own database only: another one of the same server, with the same jobs,
    says what the machine would have given.
    """
    with own(PostgresServer(config={"autovacuum": "off"}).start) as server:
        reader = await asyncpg.connect(server.url)
        await reader.execute("CREATE DATABASE another")
        other = server.url.replace("/test", "/another")
        async with producer(server.url) as beside, producer(other) as apart:
            try:
                async with reader.transaction(isolation="repeatable_read"):
                    await reader.fetchval(f"SELECT count(*) FROM {NAMESPACE}_job")
                    until = CLOCK.monotonic() + OPEN
                    while CLOCK.monotonic() < until - SHARE:
                        await beside.work()
                        # It needs no time to grow old.
                        if beside.done % (10 * BATCH) == 0:
                            await apart.work()
                    beside.claims.clear()
                    apart.claims.clear()
                    here = there = 0.0
                    while CLOCK.monotonic() < until:
                        here += await beside.work()
                        there += await apart.work()
            finally:
                await reader.close()
    said = (
        f"{beside.done} jobs; {there / here:.0%} of the pace; claims of {BATCH}: "
        f"{_shown(beside.claims)}; apart: {_shown(apart.claims)}"
    )
    print(said)
    assert here <= 2 * there, said


def _shown(took: list[float]) -> str:
    ranked = sorted(took)
    return (
        f"{len(took)} with a median of {1000 * median(took):.1f} ms, "
        f"99 % {1000 * ranked[len(ranked) * 99 // 100]:.1f} ms, {1000 * ranked[-1]:.1f} ms at most"
    )
