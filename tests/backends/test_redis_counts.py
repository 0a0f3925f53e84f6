"""Who counts the jobs of many queues keeps the server from nobody: a step looks at some of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.backends.redis_server import namespace
from tests.servers import redis_url
from treadle.backends.redis import RedisBackend, connect, seeking
from treadle.ids import SystemIds
from treadle.ports import Claim, Query, Settlement
from treadle.records import JobState, NewJob, SessionInfo
from treadle.verdicts import Failed

__all__ = ["redis_url"]

IDS = SystemIds()
MANY = 20_000
BATCH = 1000


@pytest.fixture
def space(redis_url: str) -> Iterator[str]:
    with namespace(redis_url) as name:
        yield name


class Shop:
    """A store, and what its steps have answered."""

    def __init__(self, backend: RedisBackend, monkeypatch: pytest.MonkeyPatch) -> None:
        self.backend = backend
        # For each step the things that it has looked at.
        self.looked: dict[str, list[int]] = {}
        run = backend._store.run

        async def counted(name: str, *args: Any) -> Any:
            answer = await run(name, *args)
            if isinstance(answer, list):
                self.looked.setdefault(name, []).append(len(answer))
            return answer

        monkeypatch.setattr(backend._store, "run", counted)

    async def push(self, jobs: list[NewJob]) -> None:
        for start in range(0, len(jobs), BATCH):
            await self.backend.push(jobs[start : start + BATCH])


@pytest.fixture
async def shop(redis_url: str, space: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    backend = connect(redis_url, namespace=space)
    assert isinstance(backend, RedisBackend)
    await backend.open()
    yield Shop(backend, monkeypatch)
    await backend.aclose()
    backend.close()


def job(**details: Any) -> NewJob:
    return NewJob(**{"id": IDS.new(), "task": "t", "payload": b"p", **details})


async def test_twenty_thousand_queues_are_counted_some_at_a_time(shop: Shop) -> None:
    names = [f"mail.tenant-{number}" for number in range(MANY)]
    await shop.push([job(queue=name) for name in names])
    await shop.push([job(queue=name) for name in ("mail", "mailbox", "post.a", "post.a")])
    shop.looked.clear()

    page = await shop.backend.find(Query(limit=0, counts=True))
    one = {JobState.QUEUED: 1}
    others = {"mail": one, "mailbox": one, "post.a": {JobState.QUEUED: 2}}
    assert page.counts == {**dict.fromkeys(names, one), **others}
    assert max(shop.looked["counts"]) <= seeking.PAGE + 2
    assert len(shop.looked["counts"]) == (MANY + 3) // seeking.PAGE + 1
    # Nor does it look for jobs, which would go through all queues as well.
    assert "find" not in shop.looked

    page = await shop.backend.find(Query(queue="mail", limit=0, counts=True))
    assert page.counts == {**dict.fromkeys(names, one), "mail": one}
    page = await shop.backend.find(Query(queue="post", limit=0, counts=True))
    assert page.counts == {"post.a": {JobState.QUEUED: 2}}


async def test_so_are_tasks_with_failed_jobs(shop: Shop) -> None:
    many = 10 * seeking.PAGE
    tasks = [f"task-{number}" for number in range(many)]
    await shop.push([job(task=task) for task in tasks])
    session = await shop.backend.open_session(SessionInfo(name="one"))
    claimed = await shop.backend.claim(Claim(session=session, request=1, limit=many))
    await shop.backend.settle(
        [Settlement(token=lease.token, verdict=Failed()) for lease in claimed.leases]
    )
    shop.looked.clear()

    page = await shop.backend.find(Query(limit=0, counts=True))
    assert page.failures == dict.fromkeys(tasks, 1)
    # How many come at a time is the server's to say, in this order of magnitude.
    assert max(shop.looked["failures"]) <= 2 * seeking.PAGE
    page = await shop.backend.find(Query(task="task-1?", limit=0, counts=True))
    assert page.failures == {f"task-1{digit}": 1 for digit in range(10)}


async def test_one_page_is_one_step(shop: Shop) -> None:
    await shop.push([job(queue=f"mail.{number}") for number in range(seeking.PAGE - 1)])
    shop.looked.clear()
    page = await shop.backend.find(Query(limit=0, counts=True))
    assert len(page.counts) == seeking.PAGE - 1
    assert [len(steps) for steps in shop.looked.values()] == [1, 1]


async def test_a_page_that_is_just_full_is_not_the_last(shop: Shop) -> None:
    await shop.push([job(queue=f"mail.{number}") for number in range(seeking.PAGE)])
    assert len((await shop.backend.find(Query(limit=0, counts=True))).counts) == seeking.PAGE
