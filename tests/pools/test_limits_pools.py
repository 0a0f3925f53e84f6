"""Several sets of limits, of which each call takes the one that has room."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import ExitStack
from typing import Any, Literal

import pytest

from tests.pools.limit_workers import Counting
from treadle import LimitPool, LimitSet, Rate, Slots
from treadle.errors import InvalidOption, LimitTimeout, UnknownOption
from treadle.pools.options import Mode
from treadle.testing.clock import ManualClock, settle


def regions(
    *slots: int, balancing: Literal["round_robin", "random", "least_used"] = "round_robin"
) -> LimitPool:
    sets = (LimitSet(Slots(n), config={"region": str(i)}) for i, n in enumerate(slots))
    return LimitPool(*sets, balancing=balancing)


def chosen(pool: LimitPool, times: int) -> str:
    """The regions of acquisitions that do not overlap."""
    found = ""
    for _ in range(times):
        with pool.acquire(timeout=0) as got:
            found += got.config["region"]
    return found


def used(pool: LimitPool) -> list[float]:
    return [stats["slots"].used for stats in pool.stats]


def test_sets_take_turns() -> None:
    assert chosen(regions(1, 1, 1), 7) == "0120120"


def test_a_set_without_room_is_passed_over() -> None:
    pool = regions(1, 2)
    with pool.acquire(), pool.acquire(), pool.acquire():
        assert used(pool) == [1, 2]
        assert [stats["slots"].waiting for stats in pool.stats] == [0, 0]
        with pytest.raises(LimitTimeout), pool.acquire(timeout=0):
            pass
    assert used(pool) == [0, 0]


def test_the_least_used_comes_first() -> None:
    pool = regions(4, 2, balancing="least_used")
    with ExitStack() as stack:
        order = [stack.enter_context(pool.acquire()).config["region"] for _ in range(5)]
    # By share: 0/4 and 0/2, 1/4 and 0/2, 1/4 and 1/2, 2/4 and 1/2, 3/4 and 1/2
    assert order == ["0", "1", "0", "0", "1"]


def test_the_least_used_of_rates() -> None:
    sets = [
        LimitSet(Rate(10, per=60, key="t"), config={"n": n}, clock=ManualClock()) for n in range(2)
    ]
    pool = LimitPool(*sets, balancing="least_used")
    with sets[0].acquire({"t": 5}), pool.acquire({"t": 6}) as got:
        assert got.config == {"n": 1}


def test_chance_reaches_all_of_them() -> None:
    assert set(chosen(regions(1, 1, 1, balancing="random"), 60)) == {"0", "1", "2"}


async def test_who_finds_no_room_stands_where_it_will_be_first() -> None:
    clock = ManualClock()
    slow = LimitSet(Rate(1, per=60), config={"n": "slow"}, clock=clock)
    fast = LimitSet(Rate(1, per=10), config={"n": "fast"}, clock=clock)
    pool = LimitPool(slow, fast)
    async with pool.aacquire(), pool.aacquire():
        pass
    found: list[Any] = []

    async def one() -> None:
        async with pool.aacquire() as got:
            found.append((got.config["n"], clock.monotonic()))

    task = asyncio.create_task(one())
    await settle(clock)
    assert fast.stats["rate/10"].waiting == 1
    assert slow.stats["rate/60"].waiting == 0
    await clock.aadvance(10)
    await task
    assert found == [("fast", pytest.approx(10))]


def test_a_request_that_is_too_large_for_one_goes_to_another() -> None:
    pool = regions(1, 4)
    for _ in range(2):
        with pool.acquire({"slots": 3}) as got:
            assert got.config["region"] == "1"
    with pytest.raises(InvalidOption, match="5 is not within the 4 slots"):
        pool.acquire({"slots": 5})
    with pytest.raises(UnknownOption, match="no limit 'slot'"):
        pool.acquire({"slot": 1})


def test_what_was_not_used_goes_back_to_the_set_it_came_from() -> None:
    clock = ManualClock()
    pool = LimitPool(*(LimitSet(Rate(10, per=60, key="t"), clock=clock) for _ in range(2)))
    with pool.acquire({"t": 10}), pool.acquire({"t": 10}) as got:
        got.update({"t": 4})
    assert [stats["t"].used for stats in pool.stats] == [10, 4]


def test_calls_of_workers_take_the_one_with_room(mode: Mode) -> None:
    pool = LimitPool(*(LimitSet(Slots(1), Rate(9, per=3600, key="t", cost=1)) for _ in range(3)))
    with Counting.options(mode=mode, limits=pool).init() as worker:
        assert [worker.fail(0).result() for _ in range(6)] == [1, 2, 3, 4, 5, 6]
        assert worker.more({"t": 2}, {}).result() == {"t": 2}
    assert [round(stats["t"].used) for stats in pool.stats] in ([3, 4, 2], [5, 2, 2])
    assert [stats["slots"].used for stats in pool.stats] == [0, 0, 0]


def test_sets_of_a_pool_travel_together() -> None:
    pool = regions(1, 1)
    other = pickle.loads(pickle.dumps(pool))
    with pool.acquire(), other.acquire():
        assert used(pool) == used(other) == [1, 1]


@pytest.mark.parametrize("sets", [(), (LimitSet(),), (Slots(1),)])
def test_pools_that_make_no_sense(sets: Any) -> None:
    with pytest.raises(InvalidOption, match="LimitSet"):
        LimitPool(*sets)
    with pytest.raises(InvalidOption, match=r"balancing: 'least' .*least_used"):
        LimitPool(LimitSet(Slots(1)), balancing="least")  # type: ignore[arg-type]
