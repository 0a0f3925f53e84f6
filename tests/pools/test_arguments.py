"""Futures as arguments: their results go in their place, in every mode."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest

from treadle import CallCancelled, Future, NotEncodable, Pool, PoolFull, Worker
from treadle.pools import arguments
from treadle.pools.options import Mode
from treadle.testing.clock import eventually


def same(*values: Any, **named: Any) -> Any:
    return values, named


async def double_later(number: int) -> int:
    return 2 * number


def fail() -> int:
    raise ValueError("no")


class Adder(Worker):
    def __init__(self, more: int) -> None:
        self.more = more

    def add(self, number: int) -> int:
        return number + self.more

    async def add_later(self, number: int) -> int:
        return number + self.more


class Pair(NamedTuple):
    first: Any
    second: Any


def ended(value: Any) -> Future[Any]:
    future: Future[Any] = Future()
    future.end(value)
    return future


class TestPlaces:
    def test_by_position_and_by_name(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            call = pool.submit(same, ended(1), 2, third=ended(3))
            assert call.result() == ((1, 2), {"third": 3})

    def test_within_collections_however_deep(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            first, second = pool.submit(double_later, 1), pool.submit(double_later, 2)
            given = {
                "a": [first, (second, {"b": [[first]]})],
                "c": {second},
                "d": frozenset([first]),
            }
            (values, _) = pool.submit(same, given, [], (), {}, None).result()
            assert values == (
                {"a": [2, (4, {"b": [[2]]})], "c": {4}, "d": frozenset([2])},
                [],
                (),
                {},
                None,
            )

    def test_a_hundred_levels_and_more(self) -> None:
        given: Any = ended(3)
        for _ in range(300):
            given = [given]
        with Pool("thread") as pool:
            ((value,), _) = pool.submit(same, given).result()
        for _ in range(300):
            (value,) = value
        assert value == 3

    def test_what_is_held_twice_or_holds_itself(self) -> None:
        shared: list[Any] = [ended(1)]
        for _ in range(60):
            shared = [shared, shared]
        itself: list[Any] = [1]
        itself.append(itself)
        with Pool("thread") as pool:
            ((got, loop), _) = pool.submit(same, shared, itself).result(30)
        for _ in range(60):
            assert got[0] is got[1]
            got = got[0]
        assert got == [1]
        assert loop[0] == 1

    def test_other_containers_are_left_alone(self) -> None:
        inside = ended(1)
        given = (Pair(inside, 2), collections.deque([inside]), collections.OrderedDict(a=inside))
        with Pool("thread") as pool:
            (values, _) = pool.submit(same, *given).result()
        assert values == given

    def test_nothing_is_copied_where_there_is_none(self) -> None:
        given = [[1], {"a": (2,)}]
        with Pool("thread") as pool:
            ((value,), _) = pool.submit(same, given).result()
        assert value is given

    def test_a_call_without_collections_is_not_searched(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(_: Any) -> Iterator[Any]:
            raise AssertionError("searched")

        monkeypatch.setattr(arguments, "_futures_in", never)
        with Pool("sync") as pool:
            assert pool.submit(same, 1, "text", b=None).result() == ((1, "text"), {"b": None})
            with pytest.raises(AssertionError, match="searched"):
                pool.submit(same, [])

    def test_left_as_they_are_by_choice(self) -> None:
        future = ended(1)
        with Pool("thread", unwrap_futures=False) as pool:
            assert pool.submit(same, future, [future]).result() == ((future, [future]), {})


class TestChains:
    def test_in_one_worker(self, mode: Mode) -> None:
        with Adder.options(mode=mode).init(1) as adder:
            future = adder.add(0)
            for _ in range(200):
                future = adder.add(future)
            assert future.result(30) == 201

    def test_from_worker_to_worker(self, mode: Mode, later: Mode) -> None:
        with Adder.options(mode=mode).init(1) as one, Adder.options(mode=later).init(10) as other:
            assert one.add_later(other.add(one.add(other.add_later(0)))).result(30) == 22

    def test_a_line_of_one_is_long_enough(self, later: Mode) -> None:
        """Each link comes when the one before it ends, from the thread of that one's worker."""
        with Adder.options(mode=later, max_queued_tasks=1).init(1) as adder:
            future: Any = Future()
            first = future
            calls = []

            def links() -> None:
                nonlocal future
                for _ in range(20):
                    future = adder.add(future)
                    calls.append(future)

            links()
            first.end(0)
            assert [one.result(30) for one in calls] == list(range(1, 21))

    async def test_a_call_waits_and_holds_nobody_up(self) -> None:
        first: Future[int] = Future()
        async with Adder.options(mode="asyncio").init(1) as adder:
            waits = adder.add_later(first)
            assert await adder.add_later(5) == 6
            assert not waits.done()
            first.end(1)
            assert await waits == 2


class TestErrors:
    def test_one_that_fails_fails_the_call(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            with pytest.raises(ValueError, match="no"):
                pool.submit(same, [pool.submit(fail)]).result()
            waiting: Future[int] = Future()
            call = pool.submit(same, waiting, Future())
            waiting.end(None, KeyError("early"))
            with pytest.raises(KeyError):
                call.result(30)

    def test_one_that_is_cancelled_too(self, mode: Mode) -> None:
        waiting: Future[int] = Future()
        with Pool(mode) as pool:
            call = pool.submit(same, waiting)
            waiting.cancel()
            with pytest.raises(CallCancelled):
                call.result(30)

    def test_a_call_that_waits_can_be_cancelled(self, mode: Mode) -> None:
        waiting: Future[int] = Future()
        with Pool(mode) as pool:
            call = pool.submit(same, waiting)
            assert call.cancel()
            assert call.cancelled()
            waiting.end(1)
            assert pool.stats.total == 0

    @pytest.mark.parametrize("early", [True, False])
    def test_a_result_that_a_set_cannot_hold(self, early: bool) -> None:
        waiting: Future[Any] = Future()
        if early:
            waiting.end([1])
        with Pool("thread") as pool:
            call = pool.submit(same, {waiting})
            waiting.end([1])
            with pytest.raises(TypeError, match="unhashable"):
                call.result(30)

    async def test_a_pool_that_is_full_by_then_is_its_end(self) -> None:
        waiting: Future[int] = Future()
        go_on = asyncio.Event()
        async with Pool("asyncio", max_queued_tasks=1, on_full="raise") as pool:
            late = pool.submit(same, waiting)
            busy = pool.submit(go_on.wait)
            await eventually(lambda: pool.stats.active == 1)
            waiting.end(1)
            with pytest.raises(PoolFull):
                await late
            with pytest.raises(PoolFull):
                pool.submit(same, ended(1))
            go_on.set()
            assert await busy


def test_a_handle_or_a_pool_stays_where_it_is() -> None:
    with (
        Pool("thread") as other,
        Pool("process", max_workers=1) as pool,
        pytest.raises(NotEncodable, match=r"Pool thread .* stays in the process"),
    ):
        pool.submit(id, other).result(60)
