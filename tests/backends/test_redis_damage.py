"""Records that something else has written: they are set aside, and stop nobody."""

from __future__ import annotations

import random  # noqa: TID251 - which bytes are changed is seeded
from collections.abc import AsyncIterator

import pytest

from tests.backends.redis_server import client, namespace
from treadle.backends.redis import connect
from treadle.backends.redis.names import long, short
from treadle.ids import SystemIds
from treadle.ports import Query
from treadle.records import Cause, JobState, Keep, Unique
from treadle.testing import ManualClock
from treadle.testing.contract import Driver


@pytest.fixture
async def store(redis_url: str) -> AsyncIterator[Driver]:
    clock = ManualClock()
    ids = SystemIds(clock)
    with namespace(redis_url) as name:
        backend = connect(redis_url, clock=clock, ids=ids, namespace=name)
        await backend.open()
        yield Driver(backend, clock, ids)
        await backend.aclose()
        backend.close()


def key(store: Driver, job_id: str) -> bytes:
    return f"{store.backend._store.prefix}j:".encode() + short(job_id)


async def test_a_body_that_cannot_be_read_ends_its_job(store: Driver, redis_url: str) -> None:
    server = client(redis_url)
    bad, good = await store.add(), await store.add()
    record = server.get(key(store, bad))
    server.set(key(store, bad), record[:-9] + b"\xc1" * 9)
    assert await store.claimed(5) == [good]
    found = await store.record(bad)
    assert (found.state, found.cause) == (JobState.FAILED, Cause.UNDECODABLE)
    assert found.spec.task == "<unreadable>"
    server.close()


async def test_whatever_a_record_holds_the_others_are_served(store: Driver, redis_url: str) -> None:
    server, chance = client(redis_url), random.Random(7)
    special = {"key": "k", "unique": Unique(key="u"), "keep": Keep(succeeded=None)}
    bad = [
        await store.add(**(special if number == 5 else {}), queue=f"q{number % 3}")
        for number in range(60)
    ]
    for number, job_id in enumerate(bad):
        record = server.get(key(store, job_id))
        if number % 2:
            damaged = record[: chance.randrange(len(record))]
        else:
            at = chance.randrange(len(record))
            damaged = record[:at] + chance.randbytes(8) + record[at + 8 :]
        server.set(key(store, job_id), damaged)
    good = set(await store.add_many(20, queue="q1"))
    served: set[str] = set()
    for _ in range(12):
        for lease in await store.claim(10, holding=1):
            served.add(lease.spec.id)
            await store.done(lease)
        await store.backend.find(Query(counts=True))
    assert good <= served
    server.close()


@pytest.mark.parametrize(
    "job_id",
    [
        "01a203eb-55ba-7000-82c8-a1596fb7ceb4",
        "01A203EB-55BA-7000-82C8-A1596FB7CEB4",
        "  a203eb-55ba-7000-82c8-a1596fb7ceb4",
        "00000000-0000-0000-0000-000000000000",
        "ü" * 40,
        "a" * 36,
        "j1",
        "",
    ],
)
def test_an_id_comes_back_as_it_was(job_id: str) -> None:
    assert long(short(job_id)) == job_id


def test_the_ids_that_are_made_here_are_stored_short() -> None:
    assert len(short(SystemIds().new())) == 16
