"""A PostgreSQL server that is killed: what is on its disk before the answer, and what is not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.servers import own
from treadle.backends.postgres import connect
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Granted, Query, Wait
from treadle.records import Hold, JobState, Settled
from treadle.testing.contract.driver import Driver
from treadle.testing.servers import PostgresServer
from treadle.verdicts import Done

pytestmark = pytest.mark.slow


@pytest.fixture
def server() -> Iterator[PostgresServer]:
    # What does not wait for the disk is not on it when the server is killed right afterwards.
    with own(PostgresServer(config={"wal_writer_delay": "10000"}).start) as server:
        yield server


@pytest.fixture
async def drive(server: PostgresServer) -> AsyncIterator[Driver]:
    clock: Any = SystemClock()
    ids = SystemIds(clock)
    backend = connect(server.url, clock=clock, ids=ids)
    await backend.open()
    yield Driver(backend, clock, ids)
    await backend.aclose()


def crash(server: PostgresServer) -> None:
    server.kill()
    server.start()


async def states(drive: Driver) -> list[JobState]:
    return [one.state for one in (await drive.backend.find(Query())).records]


async def test_an_accepted_job_and_its_end_are_on_the_disk(
    drive: Driver, server: PostgresServer
) -> None:
    await drive.add_many(2)
    crash(server)
    assert await states(drive) == [JobState.QUEUED] * 2
    one, two = await drive.claim(2)
    assert await drive.settle(one, Done()) is Settled.OK
    crash(server)
    assert sorted(await states(drive)) == [JobState.RUNNING, JobState.SUCCEEDED]
    assert await drive.settle(two, Done()) is Settled.OK


async def test_a_claim_need_not_be_and_the_first_verdict_is_refused(
    drive: Driver, server: PostgresServer
) -> None:
    """The fence is given out again; what tells the two apart is the nonce of the session."""
    await drive.session("two")
    await drive.session("one")
    await drive.add_many(1)
    [lost] = await drive.claim(1, who="one")
    crash(server)
    assert await states(drive) == [JobState.QUEUED]
    [given] = await drive.claim(1, who="two")
    assert given.token.fence == lost.token.fence
    assert await drive.settle(lost, Done()) is Settled.LOST
    assert await drive.settle(given, Done()) is Settled.OK


async def test_a_claim_of_what_may_run_once_only_is(drive: Driver, server: PostgresServer) -> None:
    await drive.add(at_most_once=True)
    [lease] = await drive.claim(1)
    crash(server)
    assert await states(drive) == [JobState.RUNNING]
    assert await drive.settle(lease, Done()) is Settled.OK


async def test_who_holds_something_alone_still_does_and_no_fence_comes_back(
    drive: Driver, server: PostgresServer
) -> None:
    alone = (Hold(key="stock", slots=1),)
    first = await drive.backend.acquire(alone, "one")
    assert isinstance(first, Granted)
    crash(server)
    waits = await drive.backend.acquire(alone, "two")
    assert isinstance(waits, Wait)
    assert await drive.backend.renew(first.permit)
    await drive.backend.release(first.permit)
    second = await drive.backend.acquire(alone, "two", waits.ticket)
    assert isinstance(second, Granted)
    assert second.permit.fence > first.permit.fence
