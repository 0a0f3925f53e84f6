"""Pools for which no more threads or processes are to be had leave none behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.cancelling import cancelled_at
from treadle import Pool
from treadle.pools.options import Mode
from treadle.pools.places.make import Maker

MADE = Maker.__init__


@pytest.fixture
def at_most(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Has the machine give places for so many workers, in pools that are made from now on."""

    def allow(number: int) -> None:
        def made(self: Maker, *args: Any, **options: Any) -> None:
            MADE(self, *args, **options)
            make = self.make

            def make_one(plan: Any, index: int) -> Any:
                if index >= number:
                    raise RuntimeError("can't start new thread")
                return make(plan, index)

            self.make = make_one

        monkeypatch.setattr(Maker, "__init__", made)

    return allow


@pytest.mark.parametrize("mode", ["thread", "process"])
@pytest.mark.parametrize("asynchronous", [False, True], ids=["blocking", "in a loop"])
async def test_a_pool_that_cannot_have_all_its_workers_has_none(
    mode: Mode, asynchronous: bool, at_most: Callable[[int], None]
) -> None:
    at_most(2)
    if asynchronous:
        with pytest.raises(RuntimeError, match="new thread"):
            Pool(mode, max_workers=3)
        return

    def blocking() -> None:
        with pytest.raises(RuntimeError, match="new thread"):
            Pool(mode, max_workers=3)

    await asyncio.to_thread(blocking)


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_pool_that_cannot_have_more_workers_keeps_those_it_has(
    mode: Mode, at_most: Callable[[int], None]
) -> None:
    at_most(3)
    with Pool(mode, max_workers=2) as pool:
        with pytest.raises(RuntimeError, match="new thread"):
            pool.resize(4)
        assert len(pool.stats.workers) == 2
        assert pool.submit(len, [1, 2, 3]).result(timeout=30) == 3


@pytest.mark.parametrize("mode", ["thread", "asyncio", "process"])
async def test_a_pool_whose_entry_is_cancelled_leaves_nothing(mode: Mode) -> None:
    for step in range(50):
        pool = Pool(mode, max_workers=1)
        if not await cancelled_at(step, pool.__aenter__):
            break
    await pool.astop()
