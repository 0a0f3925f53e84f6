"""An app over shards, as a user has it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.backends.redis_server import namespace
from treadle import Breaker, Context, Slots, Treadle
from treadle.context import CONTEXT
from treadle.errors import InvalidOption, Unsupported
from treadle.job import Job


@pytest_asyncio.fixture
async def app(redis_url: str) -> AsyncIterator[Treadle]:
    with namespace(redis_url) as name:
        app = Treadle(f"{redis_url}?shards=3", namespace=name)
        yield app
        await app.aclose()


async def test_whatever_a_job_names_who_has_it_gets_its_result(app: Treadle) -> None:
    @app.task(name="plain")
    async def plain(n: int) -> int:
        return n

    @app.task(name="keyed", key="user:{n}")
    async def keyed(n: int) -> int:
        return n

    @app.task(name="unique", unique="u:{n}")
    async def unique(n: int) -> int:
        return n

    @app.task(name="limited", limits=[Slots(2)])
    async def limited(n: int) -> int:
        return n

    async with app.foreman(concurrency=10), asyncio.timeout(60):
        jobs: list[Job[int]] = []
        for n in range(8):
            jobs += [await task.aenqueue(n) for task in (plain, keyed, unique, limited)]
        jobs += await keyed.aenqueue_many([(n,) for n in range(8)])
        assert [await job.aresult() for job in jobs] == [
            *(n for n in range(8) for _ in range(4)),
            *range(8),
        ]


async def test_a_tree_of_follow_ups_over_all_shards_ends(app: Treadle) -> None:
    seen: list[int] = []
    over = asyncio.Event()

    @app.task(name="branch")
    async def branch(n: int, ctx: Context = CONTEXT) -> None:
        seen.append(n)
        for child in (2 * n, 2 * n + 1):
            if child < 64:
                ctx.enqueue(branch, child)
        if len(seen) == 63:
            over.set()

    await branch.aenqueue(1)
    async with app.foreman(concurrency=10, burst=True) as foreman:
        async with asyncio.timeout(60):
            await over.wait()
            await foreman.join()
    assert sorted(seen) == list(range(1, 64))


async def test_jobs_wait_for_those_of_other_shards(app: Treadle) -> None:
    order: list[str] = []

    @app.task(name="step")
    async def step(name: str) -> None:
        order.append(name)

    first = [await step.aenqueue(f"first {n}") for n in range(6)]
    last = await step.options(after=first).aenqueue("last")
    async with app.foreman(concurrency=4), asyncio.timeout(60):
        await last.aresult()
    assert (len(order), order[-1]) == (7, "last")


async def test_what_cannot_be_kept_is_refused_when_it_is_enqueued(app: Treadle) -> None:
    @app.task(name="bounded", bound=5)
    async def bounded() -> None: ...

    @app.task(name="apart", key="{a}", unique="{b}")
    async def apart(a: str, b: str) -> None: ...

    @app.task(name="broken", breaker=Breaker(5), queue="broken")
    async def broken() -> None: ...

    for task in (bounded, broken):
        with pytest.raises(Unsupported, match="does not serve 'bounds'"):
            await task.aenqueue()
    with pytest.raises(InvalidOption, match="in different shards"):
        await apart.aenqueue_many([("a", f"b{n}") for n in range(20)])
    job = await apart.aenqueue("acme#a", "acme#b")
    assert await job.astate() == "queued"
