"""A server that was away for longer than the leases: who holds them has a moment to say so.

Nobody waits here: what the store has written down of leases and of presence is made older.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest

from tests.backends.postgres_support import empty, execute
from tests.backends.redis_server import client, namespace
from treadle.backends.postgres import connect as connect_postgres
from treadle.backends.postgres.seen import Seen
from treadle.backends.postgres.statements import prefix_of
from treadle.backends.redis import connect as connect_redis
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Query
from treadle.records import JobState, Lease, Renewal, Settled
from treadle.testing.contract.driver import Driver
from treadle.verdicts import Done, Released

AWAY, GRACE = 1000.0, 6.0
TICKS = 2**20
Age = Callable[[float], None]


class Place:
    """A store, and how to make what it remembers older."""

    def __init__(self, drive: Driver, age: Age) -> None:
        self.drive, self.age = drive, age

    async def states(self) -> list[JobState]:
        """Of all jobs; to look moves time forward."""
        return [one.state for one in (await self.drive.backend.find(Query())).records]

    async def running(self, count: int) -> tuple[Lease, ...]:
        """So many jobs that the first foreman runs."""
        await self.drive.add_many(count)
        leases = await self.drive.claim(count)
        assert len(leases) == count
        assert await self.drive.extend(*leases, started=True) == [Renewal.HELD] * count
        return leases


_SINCE = """
redis.call('HSET', KEYS[1], 'since', redis.call('ZREVRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2])
"""


def _age_redis(server: Any, prefix: str, seconds: float) -> None:
    for name, unit in (("leased", TICKS), ("sessions", 1)):
        for member, _ in server.zrange(prefix + name, 0, -1, withscores=True):
            server.zincrby(prefix + name, -seconds * unit, member)
    for key in server.scan_iter(f"{prefix}s:*"):
        server.hincrbyfloat(key, "until", -seconds)
    if server.exists(prefix + "spare"):
        server.hincrbyfloat(prefix + "spare", "until", -seconds)
        server.eval(_SINCE, 2, prefix + "spare", prefix + "sessions")


def _age_postgres(backend: Any, url: str, name: str, seconds: float) -> None:
    tables = prefix_of(name)
    # It has seen which leases have lapsed; those that are made older were not among them.
    backend._store._seen = Seen(SystemClock())
    execute(
        url,
        f"UPDATE {tables}_outage SET since = since - {seconds}, until = until - {seconds}",
        f"UPDATE {tables}_session SET until = until - {seconds}",
        f"UPDATE {tables}_job SET until = until - {seconds}",
    )


@pytest.fixture(params=["redis", "postgres"])
async def place(request: pytest.FixtureRequest) -> AsyncIterator[Place]:
    clock = SystemClock()
    ids = SystemIds(clock)
    if request.param == "postgres":
        url = request.getfixturevalue("postgres_url")
        name = request.getfixturevalue("postgres_namespace")
        empty(url, name)
        backend: Any = connect_postgres(url, clock=clock, ids=ids, namespace=name)
        await backend.open()
        yield Place(Driver(backend, clock, ids), partial(_age_postgres, backend, url, name))  # type: ignore[arg-type]
        await backend.aclose()
        return
    url = request.getfixturevalue("redis_url")
    with namespace(url) as name:
        server = client(url)
        backend = connect_redis(url, clock=clock, ids=ids, namespace=name)
        await backend.open()
        prefix = f"{{{name}.0}}:"
        yield Place(Driver(backend, clock, ids), partial(_age_redis, server, prefix))  # type: ignore[arg-type]
        await backend.aclose()
        backend.close()
        server.close()


async def test_what_was_held_is_still_held_by_whoever_comes_back(place: Place) -> None:
    drive = place.drive
    one, two, three = await place.running(3)
    place.age(AWAY)
    assert await drive.claim(3, who="two") == ()
    assert await drive.extend(one) == [Renewal.HELD]
    assert await drive.settle(two, Done()) is Settled.OK
    assert await drive.settle(three, Released()) is Settled.OK
    [again] = await drive.claim(3, who="two")
    assert (again.spec.id, again.suspect, again.crashes) == (three.spec.id, False, 0)


async def test_the_first_who_comes_may_be_one_who_only_looks(place: Place) -> None:
    [lease] = await place.running(1)
    place.age(AWAY)
    assert await place.states() == [JobState.RUNNING]
    assert await place.states() == [JobState.RUNNING]
    assert await place.drive.extend(lease) == [Renewal.HELD]


async def test_the_first_who_comes_may_be_the_one_who_holds(place: Place) -> None:
    one, two = await place.running(2)
    place.age(AWAY)
    assert await place.drive.extend(one) == [Renewal.HELD]
    # By now somebody is present, and the moment goes on.
    assert await place.drive.claim(3, who="two") == ()
    assert await place.drive.extend(two) == [Renewal.HELD]


async def test_who_does_not_come_back_loses_it_after_a_moment(place: Place) -> None:
    drive = place.drive
    [lease] = await place.running(1)
    place.age(AWAY)
    assert await drive.claim(1, who="two") == ()
    place.age(GRACE)
    [again] = await drive.claim(1, who="two")
    assert (again.spec.id, again.suspect, again.crashes) == (lease.spec.id, True, 1)
    assert await drive.extend(lease) == [Renewal.LOST]


async def test_a_moment_is_granted_once_where_nobody_comes_back(place: Place) -> None:
    await place.running(1)
    place.age(AWAY)
    assert await place.states() == [JobState.RUNNING]
    place.age(GRACE)
    assert await place.states() == [JobState.QUEUED]


async def test_where_others_were_present_it_is_lost_at_once(place: Place) -> None:
    drive = place.drive
    [lease] = await place.running(1)
    place.age(20.0)
    await drive.session("two")
    place.age(20.0)
    [again] = await drive.claim(1, who="two")
    assert again.spec.id == lease.spec.id


async def test_a_claim_says_when_to_come_again(place: Place) -> None:
    await place.running(1)
    place.age(AWAY)
    # Also who has looked already, and knows of nothing that has lapsed.
    for _ in range(2):
        claimed = await place.drive.ask(1, who="two")
        assert claimed.leases == ()
        assert not claimed.more
        assert claimed.next_due is not None
        assert 1 < claimed.next_due <= GRACE
