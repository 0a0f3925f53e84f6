"""An app over RabbitMQ, as a user has it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest

from tests.backends.rabbitmq_support import namespace
from treadle import Context, Rate, RetryLater, Treadle
from treadle.cli.checks import examine
from treadle.cli.stores import Store
from treadle.context import CONTEXT
from treadle.errors import Unsupported

pytestmark = pytest.mark.server


@pytest.fixture
async def app(rabbitmq_url: str) -> AsyncIterator[Treadle]:
    async with namespace(rabbitmq_url) as name:
        app = Treadle(rabbitmq_url, namespace=name)
        yield app
        await app.aclose()


async def test_jobs_run_and_are_tried_again(app: Treadle) -> None:
    attempts: list[tuple[int, int]] = []
    over = asyncio.Event()

    @app.task(name="work", retry=2)
    async def work(number: int, ctx: Context = CONTEXT) -> None:
        attempts.append((number, ctx.attempt))
        if number == 2 and ctx.attempt == 1:
            raise RetryLater("not yet", delay=0.25)
        if sum(1 for one in attempts if one in {(1, 1), (2, 2), (3, 1)}) == 3:
            over.set()

    for number in (1, 2, 3):
        await work.aenqueue(number)
    async with app.foreman(concurrency=4) as foreman:
        async with asyncio.timeout(40):
            await over.wait()
        await foreman.stop()
    assert sorted(attempts) == [(1, 1), (2, 1), (2, 2), (3, 1)]
    backend = await app.core.ready()
    assert (await backend.probe())["jobs"] == 0


async def test_a_foreman_that_stops_gives_back_what_it_has(app: Treadle) -> None:
    begun = asyncio.Event()

    @app.task(name="work")
    async def work() -> None:
        begun.set()
        await asyncio.Event().wait()

    await work.aenqueue()
    async with app.foreman(concurrency=2, grace=0.1) as foreman:
        async with asyncio.timeout(40):
            await begun.wait()
        await foreman.stop()
    backend = await app.core.ready()
    facts = await backend.probe()
    assert (facts["jobs"], facts["dead_letters"]) == (1, 0)


async def test_urgent_jobs_come_first(app: Treadle) -> None:
    order: list[int] = []
    over = asyncio.Event()

    @app.task(name="work")
    async def work(priority: int) -> None:
        order.append(priority)
        if len(order) == 4:
            over.set()

    for priority in (0, -10, 20, 10):
        await work.options(priority=priority).aenqueue(priority)
    async with app.foreman(concurrency=1) as foreman:
        async with asyncio.timeout(40):
            await over.wait()
        await foreman.stop()
    assert order == [20, 10, 0, -10]


async def test_what_it_cannot_do_is_refused_when_the_app_opens(app: Treadle) -> None:
    @app.task(name="work", limits=[Rate(1, per=60)])
    async def work() -> None: ...

    with pytest.raises(Unsupported, match="keys"):
        await app.aopen()


async def test_a_job_has_no_record(app: Treadle) -> None:
    @app.task(name="work")
    async def work() -> int:
        return 1

    job = await work.aenqueue()
    with pytest.raises(Unsupported, match="records"):
        await job.aresult(timeout=1)


async def test_doctor(app: Treadle) -> None:
    @app.task(name="long", timeout=7200)
    async def long() -> None: ...

    @app.task(name="short", timeout=5)
    async def short() -> None: ...

    await short.aenqueue()
    backend = await app.core.ready()
    found = await examine(Store(backend, app.core), app.core.ready)
    says: list[dict[str, Any]] = json.loads(msgspec.json.encode(found))
    lines = [f"{one['check']}: {one['says']}" for one in says]
    assert "jobs: 1 queued in 1 queues" in lines
    warned = [line for line in lines if line.startswith("long jobs: task")]
    facts = await backend.probe()
    if "consumer_timeout" in facts:
        assert len(warned) == 1
        assert "long" in warned[0]
    else:
        assert warned == []
