"""Enqueues that wait for room in a queue at its bound."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.foreman.kit import advance_until
from tests.queue.shop import declare
from treadle.app import Treadle
from treadle.errors import BackendUnavailable
from treadle.testing import ManualClock
from treadle.testing.clock import eventually, settle


async def test_an_end_lets_the_next_in_without_the_clock_moving(url: str) -> None:
    async with Treadle(url, clock=ManualClock()) as app:
        add = declare(app).add.options(bound=1, on_full="wait")
        first = await add.aenqueue(1)
        second = asyncio.create_task(add.aenqueue(2))
        await settle()
        assert not second.done()
        assert await first.acancel()
        await eventually(second.done)
        assert (await second).created


async def test_all_get_in_one_after_the_other(app: Treadle) -> None:
    add = declare(app).add.options(bound=1, on_full="wait")
    tasks = [asyncio.create_task(add.aenqueue(one)) for one in range(20)]
    async with app.foreman():
        jobs = await asyncio.gather(*tasks)
        results = [await job.aresult(timeout=30) for job in jobs]
    assert results == [one + 2 for one in range(20)]


async def test_a_store_that_cannot_be_reached_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    async with Treadle("memory://", clock=clock) as app:
        add = declare(app).add.options(bound=1, on_full="wait")
        first = await add.aenqueue(1)
        backend = await app.core.ready()
        asked: list[Any] = []

        async def away(*args: Any) -> None:
            asked.append(args)
            raise BackendUnavailable("nobody there")

        monkeypatch.setattr(backend, "wait_for_room", away)
        second = asyncio.create_task(add.aenqueue(2))
        await advance_until(clock, lambda: len(asked) > 2)
        assert not second.done()
        assert await first.acancel()
        await advance_until(clock, second.done)
        assert (await second).created
    assert asked[0][:2] == ("default", 1)
