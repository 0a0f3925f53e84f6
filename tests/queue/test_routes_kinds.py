"""Several backends of different kinds in one app, and the ways in which a process uses them."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.backends.postgres_support import empty
from tests.backends.rabbitmq_support import namespace as queues
from tests.backends.redis_server import namespace
from treadle import CONTEXT, Context, JobState, Treadle
from treadle.errors import Unsupported
from treadle.testing.clock import eventually


def declare(app: Treadle) -> None:
    @app.task(name="work", unique="{number}:{queue}")
    async def work(number: int, queue: str) -> int:
        return number

    @app.task(name="send")
    async def send(number: int) -> None:
        sent.append(number)

    @app.task(name="relay")
    async def relay(number: int, queue: str, ctx: Context = CONTEXT) -> int:
        ctx.enqueue(app.tasks["send"].options(queue=queue), number)
        return number


sent: list[int] = []


@pytest.fixture
async def app(
    redis_url: str, postgres_url: str, postgres_namespace: str, tmp_path: Path
) -> AsyncIterator[Treadle]:
    """Four kinds, one of them in parts itself."""
    sent.clear()
    empty(postgres_url, postgres_namespace)
    with namespace(redis_url), pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREADLE_NAMESPACE", postgres_namespace)
        app = Treadle(
            postgres_url,
            backends={
                "memory": "memory://",
                "sqlite": f"sqlite:///{tmp_path}/jobs.db",
                "redis": f"{redis_url}?shards=3",
            },
            routes={"memory": "memory", "sqlite": "sqlite", "redis": "redis"},
        )
        declare(app)
        yield app
        await app.aclose()


QUEUES = ("default", "memory", "sqlite.sub", "redis.sub")


async def test_jobs_of_all_kinds(app: Treadle) -> None:
    work = app.tasks["work"]
    async with app.foreman():
        jobs = await app.aenqueue_many(
            work.options(queue=queue).bind(number, queue) for number in range(5) for queue in QUEUES
        )
        results = [await job.aresult(timeout=30) for job in jobs]
        assert results == [number for number in range(5) for _ in QUEUES]
    page = await app.ajobs(counts=True, limit=3)
    assert {name: sum(one.values()) for name, one in page.counts.items()} == dict.fromkeys(
        QUEUES, 5
    )
    found = list(page.records)
    while page.cursor is not None:
        page = await app.ajobs(limit=3, cursor=page.cursor)
        found += page.records
    assert {one.id for one in found} == {job.id for job in jobs}
    assert len(found) == 20


@pytest.mark.parametrize("queue", QUEUES[1:])
async def test_follow_ups_to_all_kinds(app: Treadle, queue: str) -> None:
    async with app.foreman():
        job = await app.tasks["relay"].aenqueue(7, queue)
        assert await job.aresult(timeout=30) == 7
        back = await app.tasks["relay"].options(queue=queue).aenqueue(8, "default")
        assert await back.aresult(timeout=30) == 8
        await eventually(lambda: sorted(sent) == [7, 8])


async def test_beside_a_broker_that_keeps_no_records(rabbitmq_url: str, tmp_path: Path) -> None:
    sent.clear()
    async with queues(rabbitmq_url) as name:
        app = Treadle(
            f"sqlite:///{tmp_path}/jobs.db",
            namespace=name,
            backends={"bulk": rabbitmq_url},
            routes={"bulk": "bulk"},
        )
        declare(app)
        async with app:
            plain = await app.tasks["relay"].aenqueue(1, "bulk")
            far = await app.tasks["send"].options(queue="bulk").aenqueue(2)
            with pytest.raises(Unsupported, match=r"backend 'bulk'.*does not serve 'unique'"):
                await app.tasks["work"].options(queue="bulk").aenqueue(3, "bulk")
            async with app.foreman():
                assert await plain.aresult(timeout=30) == 1
                await eventually(lambda: sorted(sent) == [1, 2], patience=30)
            with pytest.raises(Unsupported, match="records"):
                await far.astate()
            assert await plain.astate() is JobState.SUCCEEDED
            assert [one.id for one in (await app.ajobs()).records] == [plain.id]


# ------------------------------------------------------------ processes and loops


def two_files(tmp_path: Path) -> Treadle:
    sent.clear()
    app = Treadle(
        f"sqlite:///{tmp_path}/a.db",
        backends={"other": f"sqlite:///{tmp_path}/b.db"},
        routes={"other": "other"},
    )
    declare(app)
    return app


def test_one_loop_after_the_other(tmp_path: Path) -> None:
    app = two_files(tmp_path)
    work = app.tasks["work"]

    async def again(number: int) -> int:
        async with app.foreman():
            near = await work.aenqueue(number, "default")
            far = await work.options(queue="other").aenqueue(number, "other")
            return int(await near.aresult(timeout=30)) + int(await far.aresult(timeout=30))

    assert [asyncio.run(again(number)) for number in (1, 2)] == [2, 4]
    assert len(app.jobs().records) == 4
    app.close()
    with app:
        assert len(app.jobs().records) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_has_its_own(tmp_path: Path) -> None:
    app = two_files(tmp_path)
    work = app.tasks["work"]
    work.options(queue="other").enqueue(1, "other")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            work.options(queue="other").enqueue(2, "other")
            work.enqueue(3, "default")
            status = 0
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    work.enqueue(4, "default")
    assert len(app.jobs().records) == 4
    app.close()
