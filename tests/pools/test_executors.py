"""Pools as executors of the standard library, and its futures as arguments of calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import pytest

from tests.pools.processes import until
from treadle import CallCancelled, Pool, WorkerStopped, gather
from treadle.pools.options import Mode


def double(number: int) -> int:
    return 2 * number


async def double_later(number: int) -> int:
    return 2 * number


def fail() -> int:
    raise ValueError("no")


def same(*values: Any, **named: Any) -> Any:
    return values, named


class TestExecutor:
    def test_it_gives_futures_of_the_standard_library(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            executor = pool.executor()
            futures = [executor.submit(double, n) for n in range(5)]
            assert all(isinstance(one, concurrent.futures.Future) for one in futures)
            done, pending = concurrent.futures.wait(futures, timeout=30)
            assert (len(done), len(pending)) == (5, 0)
            assert [one.result() for one in futures] == [0, 2, 4, 6, 8]
            assert executor.submit(double_later, 3).result(30) == 6

    def test_it_maps(self, mode: Mode) -> None:
        with Pool(mode) as pool, pool.executor() as executor:
            assert list(executor.map(double, range(5), timeout=30)) == [0, 2, 4, 6, 8]

    def test_an_error_is_that_of_the_call(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            future = pool.executor().submit(fail)
            with pytest.raises(ValueError, match="no"):
                future.result(30)
            assert next(concurrent.futures.as_completed([future], timeout=30)) is future

    def test_keywords_go_to_the_function(self) -> None:
        with Pool("thread") as pool:
            assert pool.executor().submit(same, 1, fn=2).result(10) == ((1,), {"fn": 2})

    @pytest.mark.parametrize("mode", ["thread", "process"])
    async def test_an_event_loop_runs_functions_in_it(self, mode: Mode) -> None:
        loop = asyncio.get_running_loop()
        async with Pool(mode, max_workers=2) as pool:
            executor = pool.executor()
            numbers = (loop.run_in_executor(executor, double, n) for n in range(5))
            assert await asyncio.gather(*numbers) == [0, 2, 4, 6, 8]
            with pytest.raises(ValueError, match="no"):
                await loop.run_in_executor(executor, fail)

    def test_what_has_not_begun_is_cancelled_and_what_runs_is_left_alone(self) -> None:
        gate = threading.Event()
        with Pool("thread", max_workers=1) as pool:
            executor = pool.executor()
            running = executor.submit(gate.wait)
            until(running.running)
            waiting = executor.submit(double, 1)
            assert not waiting.running()
            assert waiting.cancel()
            assert waiting.cancelled()
            assert not running.cancel()
            with pytest.raises(concurrent.futures.CancelledError):
                waiting.result()
            assert concurrent.futures.wait([waiting], timeout=10).done == {waiting}
            gate.set()
            assert running.result(10) is True
            assert not running.cancel()

    def test_its_shutdown_ends_what_is_its_own_and_leaves_the_pool(self) -> None:
        gate = threading.Event()
        with Pool("thread", max_workers=1) as pool:
            executor = pool.executor()
            running = executor.submit(gate.wait)
            until(running.running)
            waiting = executor.submit(double, 1)
            other = pool.submit(double, 2)
            executor.shutdown(wait=False, cancel_futures=True)
            assert waiting.cancelled()
            with pytest.raises(WorkerStopped, match="shut down"):
                executor.submit(double, 1)
            gate.set()
            executor.shutdown()
            assert running.done()
            assert other.result(10) == 4

    def test_after_the_end_of_the_pool_it_takes_nothing(self) -> None:
        with Pool("thread") as pool:
            executor = pool.executor()
        with pytest.raises(WorkerStopped):
            executor.submit(double, 1)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass
class Box:
    inside: Any


class TestTheirsAsArguments:
    def test_futures_of_other_executors(self, mode: Mode) -> None:
        with concurrent.futures.ThreadPoolExecutor(2) as other, Pool(mode) as pool:
            one, two = other.submit(double, 1), other.submit(double, 2)
            call = pool.submit(same, one, [two, {"a": (one,)}], named=two)
            assert call.result(30) == ((2, [4, {"a": (2,)}]), {"named": 4})

    def test_those_of_an_executor_over_a_pool(self) -> None:
        with Pool("thread") as pool:
            assert pool.submit(double, pool.executor().submit(double, 1)).result(10) == 4

    @pytest.mark.parametrize("mode", ["thread", "process", "asyncio"])
    async def test_those_of_asyncio(self, mode: Mode) -> None:
        loop = asyncio.get_running_loop()
        async with Pool(mode) as pool:
            plain: asyncio.Future[int] = loop.create_future()
            task = asyncio.ensure_future(double_later(2))
            several = asyncio.gather(double_later(3), double_later(4))
            call = pool.submit(same, plain, task, several)
            loop.call_soon(plain.set_result, 1)
            assert await call == ((1, 4, [6, 8]), {})

    def test_nothing_waits_for_one_that_has_not_ended(self) -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        with Pool("thread", max_workers=1) as pool:
            call = pool.submit(double, theirs)
            assert pool.submit(double, 1).result(10) == 2
            assert not call.done()
            theirs.set_result(3)
            assert call.result(10) == 6

    def test_one_that_fails_or_is_cancelled_ends_the_call(self) -> None:
        failed: concurrent.futures.Future[int] = concurrent.futures.Future()
        failed.set_exception(LookupError("lost"))
        cancelled: concurrent.futures.Future[int] = concurrent.futures.Future()
        cancelled.cancel()
        with Pool("thread") as pool:
            with pytest.raises(LookupError, match="lost"):
                pool.submit(double, failed).result(10)
            with pytest.raises(CallCancelled):
                pool.submit(double, cancelled).result(10)

    def test_named_tuples_and_dataclasses_are_not_looked_into(self) -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        pair, box = Pair(theirs, 1), Box(theirs)
        with Pool("thread") as pool:
            (values, _) = pool.submit(same, pair, box).result(10)
        assert values == (pair, box)

    def test_left_as_they_are_by_choice(self) -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        with Pool("thread", unwrap_futures=False) as pool:
            assert pool.submit(same, theirs).result(10) == ((theirs,), {})

    def test_gather_takes_all_of_them(self) -> None:
        with concurrent.futures.ThreadPoolExecutor(1) as other, Pool("thread") as pool:
            mixed = [other.submit(double, 1), pool.submit(double, 2), pool.executor().submit(fail)]
            results = gather(mixed, return_exceptions=True)
        assert results[:2] == [2, 4]
        assert isinstance(results[2], ValueError)
