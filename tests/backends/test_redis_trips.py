"""What one job costs a Redis server: who is told something need not ask for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.servers import own
from treadle import Treadle
from treadle.backends.redis import RedisBackend, connect
from treadle.ids import SystemIds
from treadle.ports import Claim, Page, Query, Settlement
from treadle.records import NewJob, Session, SessionInfo, Settled
from treadle.testing import eventually
from treadle.testing.servers import RedisServer
from treadle.verdicts import Done, Failed

IDS = SystemIds()
_LATE = 3.0
"""Seconds in which who is told something has acted on it; who is not looks after five."""


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@asynccontextmanager
async def store(server: RedisServer) -> AsyncIterator[RedisBackend]:
    """A backend that is connected, and hears what is told."""
    backend = connect(server.url)
    await backend.open()
    try:
        await backend.find(Query(ids=(IDS.new(),), wait=1.0, ended=True))
        yield backend
    finally:
        await backend.aclose()


@pytest.fixture
async def ours(server: RedisServer) -> AsyncIterator[RedisBackend]:
    server.ask("FLUSHALL")
    async with store(server) as backend:
        yield backend


@pytest.fixture
async def theirs(server: RedisServer, ours: RedisBackend) -> AsyncIterator[RedisBackend]:
    """Another process, as far as the server can tell."""
    async with store(server) as backend:
        yield backend


def scripts(server: RedisServer) -> int:
    """How many the server has carried out."""
    carried_out = 0
    for name, said in server.info("commandstats").items():
        if name in {"cmdstat_evalsha", "cmdstat_eval"}:
            numbers = dict(one.split("=") for one in said.split(","))
            carried_out += int(numbers["calls"]) - int(numbers["failed_calls"])
    return carried_out


def job(**details: object) -> NewJob:
    return NewJob(**{"id": IDS.new(), "task": "t", "payload": b"p", **details})  # type: ignore[arg-type]


async def claimed(backend: RedisBackend, session: Session, request: int) -> list[NewJob]:
    answer = await backend.claim(Claim(session=session, request=request, limit=10))
    return [lease.spec for lease in answer.leases]


async def waits(server: RedisServer) -> None:
    """Return when somebody waits for a job, and has said so."""
    await eventually(lambda: server.ask("EXISTS", "{treadle.0}:watched") == 1)


async def test_a_job_alone_takes_four_requests(server: RedisServer) -> None:
    """It is pushed, waited for, claimed and settled; nobody looks whether there is anything."""
    server.ask("FLUSHALL")
    app, fleet = Treadle(server.url), Treadle(server.url)

    @fleet.task(name="double")
    async def served(number: int) -> int:
        return 2 * number

    @app.task(name="double")
    async def double(number: int) -> int:
        raise NotImplementedError

    async with app, fleet, fleet.foreman():
        for number in range(3):  # connections are made, scripts are known
            assert await (await double.aenqueue(number)).aresult(timeout=30) == 2 * number
        before = scripts(server)
        for number in range(20):
            assert await (await double.aenqueue(number)).aresult(timeout=30) == 2 * number
        # One that is renewed, or ends while nobody waits for it yet, costs nothing more than a few.
        assert scripts(server) - before <= 4 * 20 + 5


@pytest.mark.parametrize("job_id", ["", "of my own"])
@pytest.mark.parametrize(
    ("result", "looks"),
    [(None, 0), (b"", 0), (b"small", 0), (b"large" * 1000, 1)],
    ids=["none", "empty", "small", "large"],
)
async def test_what_is_told_of_an_end_is_what_a_look_finds(
    server: RedisServer,
    ours: RedisBackend,
    theirs: RedisBackend,
    result: bytes | None,
    looks: int,
    job_id: str,
) -> None:
    one = job(id=job_id or IDS.new(), tags=("a",), timeout=3.0)
    session = await theirs.open_session(SessionInfo(name="f"))
    await ours.push([one])
    [lease] = (await theirs.claim(Claim(session=session, request=1, limit=1))).leases
    waiting = asyncio.create_task(ours.find(Query(ids=(one.id,), wait=30.0, ended=True)))
    await waits(server)
    before = scripts(server)
    end = Settlement(token=lease.token, verdict=Done(result=result))
    assert await theirs.settle([end]) == [Settled.OK]
    told: Page = await asyncio.wait_for(waiting, _LATE)
    assert scripts(server) - before == 1 + looks
    assert told.records == (await ours.find(Query(ids=(one.id,)))).records
    assert told.records[0].result == result


@pytest.mark.parametrize("kind", ["failed", "noted"])
async def test_an_end_of_which_there_is_more_to_say_is_looked_at(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend, kind: str
) -> None:
    one = job()
    session = await theirs.open_session(SessionInfo(name="f"))
    await ours.push([one])
    [lease] = (await theirs.claim(Claim(session=session, request=1, limit=1))).leases
    waiting = asyncio.create_task(ours.find(Query(ids=(one.id,), wait=30.0, ended=True)))
    await waits(server)
    verdict = Failed() if kind == "failed" else Done(skipped="not today")
    await theirs.settle([Settlement(token=lease.token, verdict=verdict)])
    told = await asyncio.wait_for(waiting, _LATE)
    assert told.records == (await ours.find(Query(ids=(one.id,)))).records


async def test_who_waits_after_a_claim_that_found_nothing_asks_nothing(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend
) -> None:
    session = await ours.open_session(SessionInfo(name="f"))
    assert await claimed(ours, session, 1) == []
    before = scripts(server)
    one = job()
    await asyncio.wait_for(asyncio.gather(ours.wait(["*"], 30.0), theirs.push([one])), _LATE)
    assert scripts(server) - before == 1
    assert await claimed(ours, session, 2) == [one]


async def test_what_comes_between_a_claim_and_the_waiting_is_not_overlooked(
    ours: RedisBackend, theirs: RedisBackend
) -> None:
    session = await ours.open_session(SessionInfo(name="f"))
    for request in range(1, 100, 2):
        assert await claimed(ours, session, request) == []
        one = job()
        if request % 4 == 1:
            # Told before, or while, somebody comes to wait.
            await theirs.push([one])
            await asyncio.wait_for(ours.wait(["*"], 30.0), _LATE)
        else:
            both = asyncio.gather(theirs.push([one]), ours.wait(["*"], 30.0))
            await asyncio.wait_for(both, _LATE)
        assert await claimed(ours, session, request + 1) == [one]


async def test_a_job_of_a_queue_that_somebody_else_serves_wakes_nobody(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend
) -> None:
    session = await ours.open_session(SessionInfo(name="f"))
    ask = Claim(session=session, request=1, limit=10, queues=("mine",), exclude=("mine.not",))
    await ours.claim(ask)
    waiting = asyncio.create_task(ours.wait(ask.queues, 30.0, ask.exclude))
    await eventually(lambda: server.ask("EXISTS", "{treadle.0}:idle") == 1)
    for queue in ("another", "mine.not"):
        await theirs.push([job(queue=queue)])
        # Who was woken for nothing has said again that he waits.
        await eventually(lambda: server.ask("EXISTS", "{treadle.0}:idle") == 1)
        assert not waiting.done()
    await theirs.push([job(queue="mine.too")])
    await asyncio.wait_for(waiting, _LATE)


async def test_a_place_under_a_rule_is_filled_at_once(server: RedisServer) -> None:
    """Also when the foreman that waits for it has left a job to its rule."""
    server.ask("FLUSHALL")
    app = Treadle(server.url)

    @app.task(name="one", queue="q.sub")
    async def one(number: int) -> int:
        if number % 2:
            raise ValueError(number)
        return number

    async with app, app.foreman():
        await app.queue("q").alimit(1)
        jobs = [await one.aenqueue(number) for number in range(10)]
        # By looking, each of them would take five seconds.
        async with asyncio.timeout(10):
            for each in jobs:
                await each.await_for()
