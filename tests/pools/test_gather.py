"""Waiting for many calls: lists, dicts, generators, mixed with the futures of others."""

from __future__ import annotations

import asyncio
import concurrent.futures
import random  # noqa: TID251 - seeded below
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from treadle import (
    CallCancelled,
    Future,
    InvalidCall,
    InvalidOption,
    Pool,
    UnknownOption,
    WaitTimeout,
    agather,
    as_completed,
    await_for,
    gather,
    wait,
)
from treadle.errors import Blocking
from treadle.pools.options import Mode
from treadle.testing.clock import eventually, settle


def double(number: int) -> int:
    return 2 * number


def fail(text: str) -> int:
    raise ValueError(text)


def pending(number: int) -> list[Future[Any]]:
    return [Future() for _ in range(number)]


def ended(value: Any = None, error: BaseException | None = None) -> Future[Any]:
    future: Future[Any] = Future()
    future.end(value, error)
    return future


class Bar:
    """Counts."""

    def __init__(self) -> None:
        self.total: int | None = None
        self.at = 0
        self.closed = False

    def update(self, n: int) -> None:
        assert not self.closed
        self.at += n

    def close(self) -> None:
        self.closed = True


class TestGather:
    def test_collections_in_collections(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            one, two, three, four = (pool.submit(double, number) for number in range(1, 5))
            nested = [one, [two, (three,)], {"a": four, "b": []}]
            assert gather(nested) == [2, [4, [6]], {"a": 8, "b": []}]
            assert gather({"x": [one], "y": {"z": two}}) == {"x": [2], "y": {"z": 4}}

    async def test_errors_in_collections(self) -> None:
        futures = [ended(1), [ended(error=ValueError("two"))], {"a": ended(3)}]
        got = await agather(futures, return_exceptions=True)
        assert (got[0], got[2]) == (1, {"a": 3})
        assert isinstance(got[1][0], ValueError)
        with pytest.raises(ValueError, match="two"):
            await agather(futures)
        with pytest.raises(InvalidCall, match="7 is no future"):
            gather([ended(1), [7]])

    def test_calls_of_a_pool(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert gather([pool.submit(double, one) for one in range(50)]) == [
                2 * one for one in range(50)
            ]
            assert gather({one: pool.submit(double, one) for one in range(5)}) == {
                one: 2 * one for one in range(5)
            }
            assert gather(pool.submit(double, one) for one in range(5)) == [0, 2, 4, 6, 8]

    async def test_awaited(self, mode: Mode) -> None:
        async with Pool(mode) as pool:
            assert await agather([pool.submit(double, one) for one in range(50)]) == [
                2 * one for one in range(50)
            ]
            assert await agather({"a": pool.submit(double, 1)}) == {"a": 2}

    async def test_nothing(self) -> None:
        assert gather([]) == []
        assert gather({}) == {}
        assert await agather(iter(())) == []
        assert wait([]) == ([], [])
        assert list(as_completed([])) == []

    def test_the_same_one_twice(self) -> None:
        future = ended(3)
        assert gather([future, future]) == [3, 3]

    @pytest.mark.parametrize("seed", range(20))
    def test_results_are_in_the_order_given_whatever_ends_first(self, seed: int) -> None:
        chance = random.Random(seed)
        futures = pending(50)
        threads = []
        for number, one in chance.sample(list(enumerate(futures)), 50):
            threads.append(threading.Thread(target=one.end, args=(number,)))
            threads[-1].start()
        assert gather(futures, timeout=30) == list(range(50))
        for thread in threads:
            thread.join(30)

    async def test_mixed_with_the_futures_of_others(self) -> None:
        loop = asyncio.get_running_loop()
        of_loop: asyncio.Future[str] = loop.create_future()
        of_executor: concurrent.futures.Future[str] = concurrent.futures.Future()
        ours: Future[str] = Future()
        task = asyncio.create_task(agather([of_loop, of_executor, ours, ended("d")]))
        await eventually(lambda: ours._callbacks)
        of_loop.set_result("a")
        of_executor.set_result("b")
        ours.end("c")
        assert await task == ["a", "b", "c", "d"]

    @pytest.mark.parametrize("wrong", [[1], [ended(), "x"], {"a": None}, 5])
    def test_what_is_no_future_is_refused(self, wrong: Any) -> None:
        with pytest.raises(InvalidCall, match=r"no future|no list"):
            gather(wrong)

    async def test_a_coroutine_is_refused_with_the_way_out(self) -> None:
        async def one() -> None: ...

        with pytest.raises(InvalidCall, match="create_task"):
            await agather([one()])  # type: ignore[list-item]

    async def test_in_a_loop_only_the_unfinished_blocks(self) -> None:
        assert gather([ended(1)]) == [1]
        assert wait([ended(1)]).pending == []
        one = pending(1)
        with pytest.raises(Blocking, match="agather"):
            gather(one)
        with pytest.raises(Blocking, match="await_for"):
            wait(one)
        with pytest.raises(Blocking):
            next(as_completed(one))
        assert not one[0]._callbacks

    def test_the_first_error_is_raised_at_once_and_the_others_go_on(self) -> None:
        futures = pending(3)
        futures[1].end(None, ValueError("first"))
        with pytest.raises(ValueError, match="first"):
            gather(futures)
        assert not futures[0].done()
        assert not futures[0]._callbacks
        futures[0].end(None, KeyError("second"))
        with pytest.raises(KeyError):
            gather(futures[:1])

    def test_errors_in_the_place_of_results(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            calls = {"a": pool.submit(double, 1), "b": pool.submit(fail, "no")}
            got = gather(calls, return_exceptions=True)
        assert got["a"] == 2
        assert isinstance(got["b"], ValueError)

    async def test_errors_in_the_place_of_results_awaited(self) -> None:
        cancelled: Future[Any] = Future()
        cancelled.cancel()
        got = await agather([ended(1), cancelled], return_exceptions=True)
        assert got[0] == 1
        assert isinstance(got[1], CallCancelled)

    async def test_out_of_time_the_calls_go_on(self) -> None:
        futures = [*pending(2), ended(1)]
        with pytest.raises(WaitTimeout, match=r"2 of 3 calls have not ended after 0\.001 s"):
            await agather(futures, timeout="1ms")

        def in_a_thread() -> None:
            with pytest.raises(WaitTimeout, match=r"2 of 3 calls have not ended after 0\.001 s"):
                gather(futures, timeout=0.001)

        await asyncio.to_thread(in_a_thread)
        assert not futures[0].done()
        assert not futures[0]._callbacks

    async def test_cancelled_while_awaited_it_cancels_the_calls(self) -> None:
        futures = [*pending(2), ended(1)]
        task = asyncio.create_task(agather(futures))
        await eventually(lambda: futures[0]._callbacks)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [one.cancelled() for one in futures] == [True, True, False]


class TestWait:
    def test_for_all(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            futures = [pool.submit(double, 1), pool.submit(fail, "no")]
            assert wait(futures) == (futures, [])

    async def test_for_the_first(self) -> None:
        futures = pending(3)
        task = asyncio.create_task(await_for(futures, return_when="FIRST_COMPLETED"))
        await eventually(lambda: futures[2]._callbacks)
        futures[1].end(None, ValueError("no"))
        assert await task == ([futures[1]], [futures[0], futures[2]])
        assert not futures[0]._callbacks

    def test_for_the_first_that_fails(self) -> None:
        futures = [ended(1), ended(error=ValueError()), *pending(1)]
        waited = wait(futures, return_when="FIRST_EXCEPTION")
        assert waited.done == futures[:2]
        assert waited.pending == futures[2:]
        calm = [ended(1), ended(2)]
        assert wait(calm, return_when="FIRST_EXCEPTION").done == calm

    async def test_out_of_time_it_tells_what_there_is(self) -> None:
        futures = [ended(1), *pending(1)]
        assert await await_for(futures, timeout=0.001) == (futures[:1], futures[1:])
        assert await asyncio.to_thread(wait, futures, timeout=0.001) == (futures[:1], futures[1:])

    def test_those_of_others_are_given_back_as_they_are(self) -> None:
        theirs: concurrent.futures.Future[int] = concurrent.futures.Future()
        assert wait([theirs], timeout=0).pending == [theirs]
        theirs.set_result(1)
        assert wait([theirs]).done == [theirs]

    async def test_waiting_again_and_again_leaves_nothing_behind(self) -> None:
        slow = pending(1)
        for _ in range(10):
            await await_for([*slow, ended()], return_when="FIRST_COMPLETED")
        assert not slow[0]._callbacks

    def test_a_word_that_does_not_exist_is_refused(self) -> None:
        with pytest.raises(InvalidOption, match="did you mean 'FIRST_COMPLETED'"):
            wait([ended()], return_when="FIRST_COMPLETE")  # type: ignore[arg-type]


class TestAsCompleted:
    def test_calls_of_a_pool(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            futures = [pool.submit(double, one) for one in range(20)]
            assert sorted(one.result() for one in as_completed(futures)) == list(range(0, 40, 2))

    @pytest.mark.parametrize("seed", range(5))
    async def test_they_come_in_the_order_in_which_they_end(self, seed: int) -> None:
        chance = random.Random(seed)
        futures = pending(20)
        order = chance.sample(futures, 20)
        completed = as_completed(futures)
        for one in order[:10]:
            one.end(None)
        came = [await anext(completed) for _ in range(10)]
        following = asyncio.create_task(anext(completed))  # type: ignore[arg-type]
        for one in order[10:]:
            one.end(None)
        came.append(await following)
        assert len(completed) == 9
        came.extend([one async for one in completed])
        assert came == order

    def test_of_a_dict_with_their_keys(self) -> None:
        futures = {"a": ended(1), "b": ended(2)}
        assert dict(as_completed(futures)) == futures

    def test_errors_are_looked_at_by_who_asks(self) -> None:
        (one,) = as_completed([ended(error=ValueError("no"))])
        with pytest.raises(ValueError, match="no"):
            one.result()

    async def test_out_of_time(self) -> None:
        futures = [ended(1), *pending(2)]
        completed = as_completed(futures, timeout=0.001)
        assert await anext(completed) is futures[0]
        with pytest.raises(WaitTimeout, match="2 calls have not ended in time"):
            await anext(completed)
        assert not futures[1]._callbacks
        assert [one async for one in completed] == []

        def in_a_thread() -> None:
            completed = as_completed(futures, timeout=0.001)
            assert next(completed) is futures[0]
            with pytest.raises(WaitTimeout):
                next(completed)

        await asyncio.to_thread(in_a_thread)

    async def test_who_does_not_wait_any_more_misses_nothing_for_others(self) -> None:
        futures = pending(1)
        completed = as_completed(futures)
        task = asyncio.create_task(anext(completed))  # type: ignore[arg-type]
        await eventually(lambda: completed._arrivals._asked)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        futures[0].end(1)
        assert [one async for one in completed] == futures

    def test_left_early_it_leaves_nothing_behind(self) -> None:
        futures = [ended(1), *pending(1)]
        for _ in as_completed(futures):
            break
        assert not futures[1]._callbacks


class TestProgress:
    async def test_a_bar_of_ones_own(self) -> None:
        bars = [Bar(), Bar(), Bar()]
        gather([ended(1)] * 3, progress=bars[0])
        await agather([ended(1)] * 3, progress=bars[1])
        list(as_completed([ended(1)] * 3, progress=bars[2]))
        assert [(bar.at, bar.total, bar.closed) for bar in bars] == [(3, 3, True)] * 3

    async def test_it_is_closed_when_waiting_ends_otherwise(self) -> None:
        bar = Bar()
        with pytest.raises(WaitTimeout):
            await agather([ended(1), *pending(1)], timeout=0.001, progress=bar)
        assert (bar.at, bar.closed) == (1, True)
        bar = Bar()
        completed = as_completed([ended(1), *pending(1)], progress=bar)
        next(completed)
        completed.close()
        assert (bar.at, bar.closed) == (1, True)

    @pytest.mark.parametrize(
        "progress", [True, {"description": "pages {x}", "unit": "[pages]", "transient": False}]
    )
    def test_one_is_drawn_on_standard_error(
        self, progress: Any, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert gather([ended(1)] * 3, progress=progress) == [1, 1, 1]
        said = capsys.readouterr()
        assert said.out == ""
        assert "3/3" in said.err
        if progress is not True:
            assert "pages {x}" in said.err
            assert "[pages]" in said.err

    @pytest.mark.parametrize("already", [True, False])
    async def test_one_that_raises_ends_no_waiting(self, already: bool) -> None:
        class Broken(Bar):
            def update(self, n: int) -> None:
                raise ZeroDivisionError

        futures = [ended(0)] * 3 if already else pending(3)
        waiting = asyncio.create_task(agather(futures, progress=Broken(), timeout=10))
        await settle()
        for one in futures:
            one.end(0)
        assert await waiting == [0, 0, 0]

    def test_a_transient_one_leaves_nothing(self, capsys: pytest.CaptureFixture[str]) -> None:
        gather([ended(1)] * 3, progress={"transient": True})
        assert capsys.readouterr().err.strip() == ""

    def test_what_is_no_bar_is_refused(self) -> None:
        with pytest.raises(UnknownOption, match=r"'desc' \(did you mean 'description'\?\)"):
            gather([ended(1)], progress={"desc": "x"})
        with pytest.raises(InvalidOption, match="update"):
            gather([ended(1)], progress=3)  # type: ignore[call-overload]


def test_a_thousand_waits_cost_a_thousand_steps() -> None:
    """Each call is looked at once when it ends; nobody goes through the others."""
    looked = 0

    class Looked(Future[int]):
        def done(self) -> bool:
            nonlocal looked
            looked += 1
            return super().done()

    futures = [Looked() for _ in range(1000)]

    def end_them() -> Iterator[int]:
        for one in as_completed(futures):
            yield one.result()

    for one in futures:
        one.end(1)
    assert sum(end_them()) == 1000
    assert gather(futures) == [1] * 1000
    assert looked == 0
