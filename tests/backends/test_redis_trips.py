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
from treadle.records import In, JobState, NewJob, Session, SessionInfo, Settled, Unique
from treadle.testing import eventually
from treadle.testing.servers import RedisServer
from treadle.verdicts import Done, Failed, Verdict

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
        await backend.wait(["*"], 0)
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


def published(server: RedisServer) -> int:
    """How many messages it was given."""
    said = server.info("commandstats").get("cmdstat_publish", "calls=0,")
    return int(said.partition(",")[0].removeprefix("calls="))


def job(**details: object) -> NewJob:
    return NewJob(**{"id": IDS.new(), "task": "t", "payload": b"p", **details})  # type: ignore[arg-type]


async def claimed(backend: RedisBackend, session: Session, request: int) -> list[NewJob]:
    answer = await backend.claim(Claim(session=session, request=request, limit=10))
    return [lease.spec for lease in answer.leases]


async def served(
    backend: RedisBackend, session: Session, request: int = 1, verdict: Verdict | None = None
) -> None:
    """Claim the one job that there is, and end it."""
    end = await ending(backend, session, request, verdict)
    assert await backend.settle(end) == [Settled.OK]


async def ending(
    backend: RedisBackend, session: Session, request: int = 1, verdict: Verdict | None = None
) -> list[Settlement]:
    """Claim the one job that there is; its end, to be sent."""
    [lease] = (await backend.claim(Claim(session=session, request=request, limit=1))).leases
    return [Settlement(token=lease.token, verdict=verdict or Done())]


async def waits(server: RedisServer) -> None:
    """Return when somebody waits for a job, and has said so."""
    await eventually(lambda: server.ask("EXISTS", "{treadle.0}:ends") == 1)


async def found(backend: RedisBackend, one: NewJob) -> Page:
    """The job, once it has ended."""
    return await backend.find(Query(ids=(one.id,), wait=30.0, ended=True))


async def habit(ours: RedisBackend, theirs: RedisBackend, session: Session) -> None:
    """Wait for a job that was pushed alone, so that the next ones are told without asking."""
    one = job()
    await ours.push([one])
    await served(theirs, session)
    await found(ours, one)


async def test_a_job_alone_takes_three_requests(server: RedisServer) -> None:
    """It is pushed, claimed and settled; nobody looks whether there is anything, or asks again."""
    server.ask("FLUSHALL")
    app, fleet = Treadle(server.url), Treadle(server.url)

    @fleet.task(name="double")
    async def doubled(number: int) -> int:
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
        assert scripts(server) - before <= 3 * 20 + 5


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
    end = await ending(theirs, session, verdict=Done(result=result))
    waiting = asyncio.create_task(found(ours, one))
    await waits(server)
    before = scripts(server)
    assert await theirs.settle(end) == [Settled.OK]
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
    waiting = asyncio.create_task(found(ours, one))
    await waits(server)
    await served(theirs, session, verdict=Failed() if kind == "failed" else Done(skipped="no"))
    told = await asyncio.wait_for(waiting, _LATE)
    assert told.records == (await ours.find(Query(ids=(one.id,)))).records


@pytest.mark.parametrize("when", ["before", "while"])
async def test_what_is_awaited_one_at_a_time_is_told_without_asking(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend, when: str
) -> None:
    session = await theirs.open_session(SessionInfo(name="f"))
    await habit(ours, theirs, session)
    one = job()
    await ours.push([one])
    end = await ending(theirs, session, 2, Done(result=b"r"))
    before = scripts(server)
    if when == "before":
        await theirs.settle(end)
        told = await found(ours, one)
    else:
        _, told = await asyncio.gather(theirs.settle(end), found(ours, one))
    assert scripts(server) - before <= 1
    assert told.records == (await ours.find(Query(ids=(one.id,)))).records
    # It is told once; who asks again is answered by the store.
    assert (await found(ours, one)).records == told.records


@pytest.mark.parametrize(
    "details",
    [{"due": In(0.3)}, {"expires": In(0.3)}, {"unique": Unique(key="k")}],
    ids=["due", "expires", "unique"],
)
async def test_what_is_not_told_by_itself_is_asked_for(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend, details: dict[str, object]
) -> None:
    session = await theirs.open_session(SessionInfo(name="f"))
    await habit(ours, theirs, session)
    first, one = job(**details), job(**details)
    if "unique" in details:
        await ours.push([first])
    await ours.push([one])
    # Of a job that did not come in nothing is left, either.
    assert server.ask("ZCARD", "{treadle.0}:ends") == int("unique" in details)
    waiting = asyncio.create_task(found(ours, one))
    if "due" in details:
        await theirs.wait(["*"], 30.0)
        await served(theirs, session, 2)
    told = await asyncio.wait_for(waiting, _LATE)
    assert [record.state for record in told.records] == {
        "due": [JobState.SUCCEEDED],
        "expires": [JobState.FAILED],
        "unique": [],
    }[next(iter(details))]


async def test_who_waits_for_none_of_his_jobs_has_none_told(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend
) -> None:
    await habit(ours, theirs, await theirs.open_session(SessionInfo(name="f")))
    for _ in range(100):
        await ours.push([job()])
    told = server.ask("ZCARD", "{treadle.0}:ends")
    await ours.push([job()])
    assert server.ask("ZCARD", "{treadle.0}:ends") == told <= 20


async def test_an_end_that_is_missed_is_looked_for(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend
) -> None:
    session = await theirs.open_session(SessionInfo(name="f"))
    await habit(ours, theirs, session)
    one = job()
    await ours.push([one])
    end = await ending(theirs, session, 2)
    server.ask("CLIENT", "KILL", "TYPE", "pubsub")
    assert await theirs.settle(end) == [Settled.OK]
    # By the time it is waited for, all is heard again.
    channel = "{treadle.0}:changed"
    await eventually(lambda: server.ask("PUBSUB", "NUMSUB", channel) == [channel, 2])
    await eventually(lambda: ours._store.link.ears.hears(channel))
    [record] = (await asyncio.wait_for(found(ours, one), _LATE)).records
    assert record.state is JobState.SUCCEEDED


async def test_who_waits_for_an_end_is_told_of_nothing_else(
    server: RedisServer, ours: RedisBackend, theirs: RedisBackend
) -> None:
    """A message costs the server a write and who gets it a turn, in the middle of a trip."""
    one = job()
    await ours.push([one])
    waiting = asyncio.create_task(found(ours, one))
    await waits(server)
    session = await theirs.open_session(SessionInfo(name="f"))
    before = published(server)
    end = await ending(theirs, session)
    assert published(server) == before
    assert await theirs.settle(end) == [Settled.OK]
    await waiting
    assert published(server) == before + 1


async def test_who_waits_for_jobs_only_does_not_hear_of_claims(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    backend = connect(server.url)
    await backend.open()
    try:
        await backend.find(Query(ids=(IDS.new(),), wait=1.0, ended=True))
        said = server.ask("PUBSUB", "NUMSUB", "{treadle.0}:wake", "{treadle.0}:changed")
        assert said == ["{treadle.0}:wake", 0, "{treadle.0}:changed", 1]
    finally:
        await backend.aclose()


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
