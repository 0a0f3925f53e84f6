"""Where calls are made: plain code, running loops, the cell of a notebook, other workers."""

from __future__ import annotations

import asyncio
import threading
from contextvars import ContextVar
from typing import Any

import pytest

from treadle import Pool, Worker, agather, as_completed, gather, loopthread, wait
from treadle.errors import Blocking
from treadle.pools.options import Mode


def double(number: int) -> int:
    return 2 * number


async def double_later(number: int) -> int:
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
    return 2 * number


class Inner(Worker):
    def work(self, number: int) -> int:
        return 2 * number

    async def work_later(self, number: int) -> int:
        return 2 * number


def with_a_pool_inside(mode: Mode) -> list[int]:
    """Blocks, as code of a place may that is not in an event loop."""
    with Pool(mode, max_workers=1) as pool:
        return [
            *gather([pool.submit(double, 1), pool.submit(double_later, 2)]),
            *pool.map(double, [3, 4]),
        ]


async def with_a_pool_inside_later(mode: Mode) -> list[int]:
    async with Pool(mode, max_workers=1) as pool:
        return [
            *await agather([pool.submit(double, 1), pool.submit(double_later, 2)]),
            *await pool.map(double, [3, 4]),
        ]


_tenant: ContextVar[str] = ContextVar("tenant", default="nobody")


def tenant() -> str:
    return _tenant.get()


async def tenant_later() -> str:
    return _tenant.get()


def test_which_calls_see_the_context_variables_of_the_caller(mode: Mode) -> None:
    seen = {"sync": ("me", "me"), "asyncio": ("nobody", "me")}
    token = _tenant.set("me")
    try:
        with Pool(mode, max_workers=1) as pool:
            found = gather([pool.submit(tenant), pool.submit(tenant_later)])
    finally:
        _tenant.reset(token)
    assert tuple(found) == seen.get(mode, ("nobody", "nobody"))


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """This loop is that of a notebook, whose cells run inside it and may block it."""
    monkeypatch.setattr(loopthread, "_in_notebook", lambda: True)


class TestInsideOfOthers:
    @pytest.mark.parametrize("inside", ["sync", "thread", "asyncio"])
    def test_plain_code(self, mode: Mode, inside: Mode) -> None:
        with Pool(mode) as pool:
            assert pool.submit(with_a_pool_inside, inside).result(60) == [2, 4, 6, 8]

    @pytest.mark.parametrize("inside", ["thread", "asyncio"])
    def test_asynchronous_code(self, mode: Mode, inside: Mode) -> None:
        with Pool(mode) as pool:
            assert pool.submit(with_a_pool_inside_later, inside).result(60) == [2, 4, 6, 8]

    def test_a_child_process_may_have_children(self) -> None:
        with Pool("thread", max_workers=1) as pool:
            assert pool.submit(with_a_pool_inside, "process").result(60) == [2, 4, 6, 8]

    async def test_a_worker_that_waits_for_another(self, later: Mode) -> None:
        class Outer(Worker):
            def __init__(self, inner: Any) -> None:
                self.inner = inner

            def work(self, number: int) -> int:
                got: int = self.inner.work_later(number).result(30)
                return got

            async def work_later(self, number: int) -> int:
                got: int = await self.inner.work(number)
                return got

        async with (
            Inner.options(mode=later).init() as inner,
            Outer.options(mode="thread").init(inner) as plain,
            Outer.options(mode="asyncio").init(inner) as asynchronous,
        ):
            calls = [
                outer_call(number)
                for outer in (plain, asynchronous)
                for outer_call in (outer.work, outer.work_later)
                for number in range(20)
            ]
            assert await agather(calls, timeout=60) == [2 * number for number in range(20)] * 4

    def test_asynchronous_code_that_would_block_its_loop_is_told(self, later: Mode) -> None:
        never = threading.Event()

        async def blocks() -> None:
            with Pool("thread", max_workers=1) as pool:
                try:
                    pool.submit(never.wait).result()
                finally:
                    never.set()

        with Pool("asyncio") as pool, pytest.raises(Blocking, match="use 'await future'"):
            pool.submit(blocks).result(30)


class TestNotebooks:
    async def test_cells_may_block(self, notebook: None, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert pool.submit(double_later, 2).result() == 4
            assert gather([pool.submit(double_later, 1)], timeout=30) == [2]
            assert list(pool.map(double_later, range(3))) == [0, 2, 4]
            calls = [pool.submit(double, one) for one in range(3)]
            assert wait(calls).pending == []
            assert sorted(one.result() for one in as_completed(calls)) == [0, 2, 4]

    async def test_and_may_await(self, notebook: None, mode: Mode) -> None:
        async with Pool(mode) as pool:
            assert await pool.submit(double_later, 2) == 4
            assert await pool.map(double, range(3)) == [0, 2, 4]
            assert await agather([pool.submit(double, 1)]) == [2]
