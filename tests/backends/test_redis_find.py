"""Who lists the jobs of many queues keeps the server from nobody: no step of it does much."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.backends.redis_server import client, namespace
from tests.servers import redis_url
from treadle.backends.redis import RedisBackend, connect, scripts, seeking, store
from treadle.backends.redis.names import short
from treadle.ids import SystemIds
from treadle.ports import Backend, Claim, Query, Settlement
from treadle.records import In, JobState, NewJob, SessionInfo
from treadle.verdicts import Failed

__all__ = ["redis_url"]

IDS = SystemIds()
QUEUES = 1500
BATCH = 500

# What one step may call: each queue has eight indexes.
CALLS = 2 * 8 * seeking.PAGE + 200

COUNTED = b"""
local real, calls = redis, 0
local redis = setmetatable({
  call = function(...) calls = calls + 1 return real.call(...) end,
}, { __index = real })
local function whole()
%s
end
local answer = whole()
local key = KEYS[1] .. 'calls:%s'
if calls > tonumber(real.call('GET', key) or 0) then real.call('SET', key, calls) end
return answer
"""


def counted(name: str) -> scripts.Script:
    """A script that writes down how much it has called at most."""
    source = COUNTED % (scripts.script(name).source, name.encode())
    return scripts.Script(name, source, hashlib.sha1(source, usedforsecurity=False).hexdigest())


class Shop:
    """Backends over one namespace, and what their scripts do."""

    def __init__(self, url: str, space: str) -> None:
        self.url, self.space = url, space

    @asynccontextmanager
    async def backend(self, query: str = "") -> AsyncIterator[Backend]:
        """One that is open."""
        backend = connect(self.url + query, namespace=self.space)
        await backend.open()
        try:
            yield backend
        finally:
            await backend.aclose()
            backend.close()

    def most(self, name: str) -> int:
        """Commands that one run of a script has called at most."""
        server = client(self.url)
        found = [int(server.get(key)) for key in server.keys(f"{{{self.space}.*calls:{name}")]
        server.close()
        return max(found, default=0)


@pytest.fixture
def shop(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    monkeypatch.setattr(store, "script", counted)
    with namespace(redis_url) as space:
        yield Shop(redis_url, space)


@pytest.fixture(params=["", "?shards=3"], ids=["one", "shards"])
async def backend(request: pytest.FixtureRequest, shop: Shop) -> AsyncIterator[Backend]:
    async with shop.backend(request.param) as backend:
        yield backend


def job(**details: Any) -> NewJob:
    return NewJob(**{"id": IDS.new(), "task": "t", "payload": b"p", **details})


async def push(backend: Backend, jobs: list[NewJob]) -> list[str]:
    for start in range(0, len(jobs), BATCH):
        await backend.push(jobs[start : start + BATCH])
    return [one.id for one in jobs]


async def listed(backend: Backend, **filters: Any) -> list[str]:
    """The ids of all pages."""
    ids: list[str] = []
    cursor = None
    while True:
        page = await backend.find(Query(cursor=cursor, **filters))
        ids += [record.id for record in page.records]
        cursor = page.cursor
        if cursor is None:
            return ids
        assert page.records


def meanwhile(
    backend: Backend, monkeypatch: pytest.MonkeyPatch, happens: Callable[[], Awaitable[Any]]
) -> None:
    """Let something happen after the first step of a search that takes several."""
    assert isinstance(backend, RedisBackend)
    run, told = backend._store.run, False

    async def then(name: str, *args: Any) -> Any:
        nonlocal told
        answer = await run(name, *args)
        # From the second on only places are asked for.
        if name == "find" and args[5] and not told:
            told = True
            await happens()
        return answer

    monkeypatch.setattr(backend._store, "run", then)


async def test_no_step_looks_at_all_queues(backend: Backend, shop: Shop) -> None:
    # In an order that is none of the names.
    numbers = [number * 677 % QUEUES for number in range(QUEUES + 500)]
    jobs = [
        job(
            queue=f"mail.{number}" if number % 3 else f"post.{number}",
            priority=(0, 5, 0, -5)[at % 4],
            due=In(3600) if at % 7 == 0 else None,
        )
        for at, number in enumerate(numbers)
    ]
    ids = await push(backend, jobs)
    mails = [one.id for one in jobs if one.queue.startswith("mail")]
    later = [one.id for one in jobs if one.due is not None]

    oldest = await listed(backend, limit=600, oldest_first=True)
    newest = await listed(backend, limit=600)
    mail = await listed(backend, limit=600, queue="mail", oldest_first=True)
    due = await listed(backend, limit=600, states=(JobState.SCHEDULED,), oldest_first=True)
    for found, expected in [(oldest, ids), (newest[::-1], ids), (mail, mails), (due, later)]:
        if isinstance(backend, RedisBackend):
            assert found == expected
        else:
            # Those of different shards are in the order of their times, which are those of pushes.
            assert sorted(found) == sorted(expected)
    assert 0 < shop.most("find") <= CALLS


async def test_what_few_jobs_have_is_looked_for_once(backend: Backend, shop: Shop) -> None:
    """Jobs of which most are not meant are read in parts, but their places are looked for once."""
    jobs = [job(queue=f"q.{number}", tags=("x",) * (number % 400 == 0)) for number in range(900)]
    await push(backend, jobs)
    tagged = [one.id for one in jobs if one.tags]
    assert sorted(await listed(backend, tags=("x",))) == sorted(tagged)
    assert shop.most("find") <= CALLS


async def test_one_queue_with_very_many_priorities(backend: Backend, shop: Shop) -> None:
    jobs = [job(queue=f"q.{n % 50}", priority=n // 50 - 100) for n in range(50 * 201)]
    ids = await push(backend, jobs)
    found = await listed(backend, limit=1000, oldest_first=True)
    assert found == ids if isinstance(backend, RedisBackend) else sorted(found) == sorted(ids)
    assert shop.most("find") <= CALLS + 1000


async def test_failed_jobs_of_many_tasks(backend: Backend, shop: Shop) -> None:
    many = 3 * seeking.PAGE
    ids = await push(backend, [job(task=f"task-{number}") for number in range(many)])
    session = await backend.open_session(SessionInfo(name="one"))
    request, left = 0, many
    while left:
        request += 1
        ask = Claim(session=session, request=request, limit=many)
        leases = (await backend.claim(ask)).leases
        await backend.settle([Settlement(token=one.token, verdict=Failed()) for one in leases])
        left -= len(leases)
    failed = {"task": "task-*", "states": (JobState.FAILED,)}
    assert sorted(await listed(backend, limit=250, **failed)) == sorted(ids)
    assert shop.most("find") <= CALLS


async def test_jobs_by_many_ids(backend: Backend, shop: Shop) -> None:
    many = 3 * seeking.PAGE
    ids = await push(backend, [job() for _ in range(many)])
    page = await backend.find(Query(ids=(*ids, *ids, IDS.new()), limit=many, oldest_first=True))
    assert sorted(record.id for record in page.records) == sorted(ids)
    assert page.cursor is None
    assert shop.most("find") <= seeking.PAGE + 100
    assert shop.most("show") <= 2 * seeking.PAGE + 100


# ------------------------------------------------------------- while others go on


@pytest.fixture
async def crowded(shop: Shop) -> AsyncIterator[tuple[RedisBackend, list[str]]]:
    """A job in each of two times as many queues as one step looks at."""
    async with shop.backend() as backend:
        assert isinstance(backend, RedisBackend)
        jobs = [job(queue=f"q.{number:03}") for number in range(2 * seeking.PAGE)]
        yield backend, await push(backend, jobs)


async def test_none_is_passed_over_that_comes_meanwhile(
    crowded: tuple[RedisBackend, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second of two new jobs is in a queue that is looked at later."""
    backend, ids = crowded
    new = [job(queue="q.000"), job(queue="q.399")]
    meanwhile(backend, monkeypatch, lambda: push(backend, new))
    found = await listed(backend, limit=len(ids) - 1, oldest_first=True)
    assert found == [*ids, *(one.id for one in new)]


async def test_who_has_left_the_state_is_not_shown_in_it(
    crowded: tuple[RedisBackend, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend, ids = crowded
    session = await backend.open_session(SessionInfo(name="one"))
    ask = Claim(session=session, request=1, limit=1, queues=("q.000",))
    meanwhile(backend, monkeypatch, lambda: backend.claim(ask))
    found = await listed(backend, limit=100, states=(JobState.QUEUED,), oldest_first=True)
    assert found == ids[1:]


async def test_a_job_that_is_damaged_ends_no_list(
    shop: Shop, crowded: tuple[RedisBackend, list[str]]
) -> None:
    backend, ids = crowded
    broken = ids[3]
    server = client(shop.url)
    server.set(f"{{{shop.space}.0}}:j:".encode() + short(broken), b"none")
    server.close()
    ids.remove(broken)
    assert await listed(backend, limit=10, oldest_first=True) == ids
    assert await listed(backend, limit=10, queue="q.004") == [ids[3]]
