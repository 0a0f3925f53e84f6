"""Limits that the calls of workers and pools take, in every mode."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.pools.limit_workers import Counting, given, value, visit
from treadle import LimitSet, Pool, Rate, Retry, Slots, Worker
from treadle.errors import (
    CallCancelled,
    InvalidCall,
    InvalidOption,
    LimitTimeout,
    WorkerStopped,
)
from treadle.pools.options import Mode
from treadle.testing.clock import ManualClock, eventually, settle


def tokens(cost: float = 0) -> Rate:
    return Rate(100, per=3600, key="tokens", cost=cost)


def used(limits: LimitSet, name: str) -> float:
    return round(limits.stats[name].used)


def test_a_call_holds_its_slots_while_it_runs(mode: Mode) -> None:
    limits = LimitSet(Slots(3, units=2), tokens(5))
    with Counting.options(mode=mode, limits=limits).init() as worker:
        assert worker.held().result() == 2
        assert used(limits, "slots") == 0
        assert worker.held("tokens").result() == pytest.approx(10, abs=0.1)
        assert used(limits, "tokens") == 10


def test_limits_as_a_list_are_one_set_of_the_pool(mode: Mode) -> None:
    builder = Counting.options(mode=mode, limits=[Slots(2), tokens(1)])
    with builder.init() as one, builder.init() as other:
        assert one.names().result() == ["slots", "tokens"]
        assert other.held("tokens").result() == pytest.approx(1, abs=0.1)
    with Counting.options(mode=mode, limits=Slots(1)).init() as worker:
        assert worker.names().result() == ["slots"]


def test_a_worker_without_limits_has_a_set_that_grants_at_once(mode: Mode) -> None:
    with Counting.options(mode=mode).init() as worker:
        assert worker.names().result() == []
        assert worker.more({}, {}).result() == {}


def test_code_takes_more_by_name_than_its_call_has(mode: Mode) -> None:
    limits = LimitSet(Slots(1), tokens())
    with Counting.options(mode=mode, limits=limits).init() as worker:
        # Its call has the only slot: a second one would be waited for without end.
        assert worker.more({"tokens": 30}, {"tokens": 20}).result() == {"tokens": 30}
        assert worker.more({}, {}).result() == {}
    assert used(limits, "tokens") == 20
    assert used(limits, "slots") == 0


def test_asynchronous_code_takes_more(later: Mode) -> None:
    limits = LimitSet(Slots(1), tokens())
    with Counting.options(mode=later, limits=limits).init() as worker:
        assert worker.amore({"tokens": 30}, {"tokens": 20}).result() == {"tokens": 30}
    assert used(limits, "tokens") == 20


def test_each_attempt_takes_limits_anew(mode: Mode) -> None:
    limits = LimitSet(Slots(1), tokens(1))
    retry = Retry(2, backoff=0)
    with Counting.options(mode=mode, limits=limits, retry=retry).init() as worker:
        assert worker.fail(2).result() == 3
    assert used(limits, "tokens") == 3
    assert used(limits, "slots") == 0


def test_a_call_that_fails_gives_its_slots_back(mode: Mode) -> None:
    limits = LimitSet(Slots(1))
    with Counting.options(mode=mode, limits=limits).init() as worker:
        with pytest.raises(ValueError, match="attempt 1"):
            worker.fail(1).result()
        assert used(limits, "slots") == 0
        assert worker.held().result() == 1


def test_one_set_for_several_pools(mode: Mode) -> None:
    limits = LimitSet(tokens(1))
    with (
        Counting.options(mode=mode, limits=limits).init() as worker,
        Pool(mode, limits=limits, max_workers=1) as pool,
    ):
        worker.names().result()
        pool.submit(value, 1).result()
    assert used(limits, "tokens") == 2


def test_a_function_is_given_the_set_where_it_asks_for_it(mode: Mode) -> None:
    with Pool(mode, limits=[Slots(1), tokens()], max_workers=1) as pool:
        assert pool.submit(given, 7).result() == (7, ["slots", "tokens"])
        assert pool.submit(given, 7, limits=LimitSet()).result() == (7, [])
        assert pool.submit(value, 7).result() == 7
    with Pool(mode, max_workers=1) as pool:
        assert pool.submit(given, 7).result() == (7, [])
    with Counting.options(mode=mode, limits=[Slots(1)]).init() as worker:
        assert worker.call(visit, 7).result() == (7, ["slots"])
    assert given(7) == (7, [])


def test_a_limit_for_each_value_of_an_argument(mode: Mode) -> None:
    limits = LimitSet(
        Slots(5, by="tenant"), Rate(100, per=3600, key="sizes", cost=lambda size: size)
    )
    with Counting.options(mode=mode, limits=limits).init() as worker:
        assert worker.size("acme", size=30).result() == 1
        assert worker.size("zeta").result() == 1
    assert used(limits, "sizes") == 31


def test_arguments_that_do_not_fit_are_an_error_of_the_call(mode: Mode) -> None:
    with Counting.options(mode=mode, limits=[Slots(5, by="tenant")]).init() as worker:
        with pytest.raises(InvalidCall, match="size: missing a required argument: 'tenant'"):
            worker.size().result()
        with pytest.raises(InvalidOption, match="by: held has no parameter 'tenant'; its"):
            worker.held().result()


class Rows(Worker):
    """Calls that last until they are told to end."""

    def __init__(self, gate: threading.Event) -> None:
        self.gate = gate

    def wait(self) -> int:
        self.gate.wait(10)
        return self.index

    async def stay(self) -> None:
        await asyncio.Event().wait()


def test_each_worker_has_a_limit_of_its_own() -> None:
    gate = threading.Event()
    limits = LimitSet(Slots(1, scope="worker"), Slots(3, key="all"))
    with Rows.options(mode="thread", max_workers=2, limits=limits).init(gate) as rows:
        futures = [rows.wait() for _ in range(4)]
        while sum(future.running() for future in futures) < 2:
            pass
        assert used(limits, "all") == 2
        gate.set()
        assert sorted(future.result(10) for future in futures) == [0, 0, 1, 1]
    assert used(limits, "all") == 0


async def test_calls_wait_for_a_rate_and_hold_no_worker() -> None:
    clock = ManualClock()
    limits = LimitSet(Rate(1, per=10), clock=clock)
    async with (
        Pool("asyncio", limits=limits) as limited,
        Pool("asyncio") as free,
    ):
        first, second = limited.submit(value, 1), limited.submit(value, 2)
        assert await first == 1
        await eventually(lambda: limits.stats["rate/10"].waiting == 1)
        assert await free.submit(value, 3) == 3
        assert not second.done()
        await clock.aadvance(10)
        assert await second == 2


async def test_calls_that_are_cancelled_in_line_leave_it() -> None:
    limits = LimitSet(Slots(1))
    async with Pool("asyncio", limits=limits) as pool:
        async with limits.aacquire():
            one, other = pool.submit(value, 1), pool.submit(value, 2)
            await eventually(lambda: limits.stats["slots"].waiting == 2)
            one.cancel()
            with pytest.raises(CallCancelled):
                await one
            assert limits.stats["slots"].waiting == 1
        assert await other == 2
    assert used(limits, "slots") == 0


async def test_a_call_that_is_cancelled_while_it_runs_gives_back() -> None:
    limits = LimitSet(Slots(1))
    async with Rows.options(mode="asyncio", limits=limits).init(threading.Event()) as rows:
        call = rows.stay()
        await eventually(call.running)
        assert used(limits, "slots") == 1
        call.cancel()
        with pytest.raises(CallCancelled):
            await call
        await settle()
        assert used(limits, "slots") == 0


def test_the_total_time_of_a_call_bounds_its_wait(mode: Mode) -> None:
    limits = LimitSet(Slots(1))
    from treadle import Timeout

    options: Any = {"mode": mode, "limits": limits, "timeout": Timeout(total=0.05)}
    with Counting.options(**options).init() as worker, limits.acquire():
        with pytest.raises(LimitTimeout, match=r"Counting\.names was not granted slots within"):
            worker.names().result()
        assert limits.stats["slots"].waiting == 0


def test_a_call_that_waits_ends_with_its_pool(later: Mode) -> None:
    limits = LimitSet(Slots(1))
    worker = Counting.options(mode=later, limits=limits).init()
    with limits.acquire():
        future = worker.names()
        while limits.stats["slots"].waiting == 0:
            pass
        worker.stop(drain=False)
        with pytest.raises((WorkerStopped, CallCancelled)):
            future.result(10)
    assert limits.stats["slots"].waiting == 0


@pytest.mark.parametrize("mode", ["sync", "thread", "asyncio"])
def test_a_fresh_rate_allows_its_whole_burst(mode: Mode) -> None:
    limits = LimitSet(Rate(120, per=60, burst=5), clock=ManualClock())
    with Counting.options(mode=mode, limits=limits).init() as one:
        assert [one.fail(0).result(5) for _ in range(5)] == [1, 2, 3, 4, 5]
    with pytest.raises(LimitTimeout), limits.acquire(timeout=0):
        pass
