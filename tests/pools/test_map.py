"""One function over many items, in every mode."""

from __future__ import annotations

import asyncio
import gc
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import (
    CallCancelled,
    InvalidOption,
    Pool,
    PoolFull,
    UnknownOption,
    WaitTimeout,
    Worker,
)
from treadle.pools.options import Mode
from treadle.testing.clock import eventually


def double(number: int) -> int:
    return 2 * number


async def double_later(number: int) -> int:
    await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
    return 2 * number


def add(first: int, second: int) -> int:
    return first + second


def third_is_empty(number: int) -> int:
    if number == 3:
        next(iter(()))
    return number


def third_fails(number: int) -> int:
    if number == 3:
        raise ValueError("three")
    return number


class Adder(Worker):
    def __init__(self, more: int) -> None:
        self.more = more

    def add(self, number: int) -> int:
        return number + self.more

    async def add_later(self, number: int) -> int:
        return number + self.more

    def add_both(self, first: int, second: int) -> int:
        return first + second + self.more


def visit(adder: Adder, number: int) -> int:
    return adder.more * number


class Taken:
    """Items that say how many of them were taken."""

    def __init__(self, end: int | None = None) -> None:
        self.count = 0
        self._end = end

    def __iter__(self) -> Iterator[int]:
        for number in itertools.count():
            if number == self._end:
                return
            self.count += 1
            yield number


class Gate:
    """Calls that wait until they may end."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.began: list[int] = []

    def __call__(self, number: int) -> int:
        self.began.append(number)
        assert self.open.wait(30)
        return number


class TestResults:
    @pytest.mark.parametrize("fn", [double, double_later])
    def test_in_the_order_of_the_items(self, mode: Mode, fn: Any) -> None:
        with Pool(mode) as pool:
            assert list(pool.map(fn, range(30))) == list(range(0, 60, 2))

    async def test_async_for(self, later: Mode) -> None:
        async with Pool(later) as pool:
            assert [one async for one in pool.map(double_later, range(30))] == list(range(0, 60, 2))

    async def test_awaited_they_are_a_list(self, later: Mode) -> None:
        async with Pool(later) as pool:
            assert await pool.map(double, range(3)) == [0, 2, 4]

    def test_as_they_end(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert sorted(pool.map(double, range(30), ordered=False)) == list(range(0, 60, 2))

    async def test_as_they_end_awaited(self, later: Mode) -> None:
        async with Pool(later) as pool:
            results = pool.map(double_later, range(30), ordered=False)
            assert sorted(await results) == list(range(0, 60, 2))

    async def test_a_slow_one_does_not_hold_back_those_after_it(self) -> None:
        go_on = asyncio.Event()

        async def slow_first(number: int) -> int:
            if number == 0:
                await go_on.wait()
            return number

        async with Pool("asyncio") as pool:
            results = pool.map(slow_first, range(5), ordered=False)
            assert sorted([await anext(results) for _ in range(4)]) == [1, 2, 3, 4]
            go_on.set()
            assert await results == [0]

    def test_no_items_and_one(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert list(pool.map(double, [])) == []
            assert list(pool.map(double, [1])) == [2]
            assert list(pool.map(double)) == []

    def test_results_of_a_map_are_the_items_of_the_next(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert list(pool.map(double, pool.map(double, range(5)))) == [0, 4, 8, 12, 16]

    def test_futures_are_items_too(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            first = [pool.submit(double, one) for one in range(5)]
            assert list(pool.map(double, first)) == [0, 4, 8, 12, 16]


class TestItems:
    def test_several_iterables_side_by_side(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert list(pool.map(add, [1, 2, 3], [10, 20])) == [11, 22]
            results = pool.map(add, [1, 2, 3], [10, 20], strict=True)
            assert next(results) == 11
            assert next(results) == 22
            with pytest.raises(ValueError, match=r"zip\(\) argument 2 is shorter"):
                next(results)
            assert list(results) == []

    def test_arguments_of_each_call(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            assert list(pool.starmap(add, [(1, 2), [3, 4]])) == [3, 7]

    def test_what_the_items_raise_comes_after_those_before(self, mode: Mode) -> None:
        def items() -> Iterator[int]:
            yield 1
            yield 2
            raise LookupError("no more")

        with Pool(mode) as pool:
            results = pool.map(double, items())
            assert [next(results), next(results)] == [2, 4]
            with pytest.raises(LookupError, match="no more"):
                next(results)
            assert list(results) == []

    def test_no_more_are_taken_than_the_buffer_allows(self, later: Mode) -> None:
        items = Taken()
        with Pool(later) as pool:
            results = pool.map(double, items, buffer=5)
            assert items.count == 5
            assert list(itertools.islice(results, 10)) == list(range(0, 20, 2))
            assert items.count <= 15
            results.close()

    def test_endless_items_are_taken_a_thousand_ahead(self) -> None:
        items = Taken()
        with Pool("thread") as pool, pool.map(double, items) as results:
            assert items.count == 1000
            assert next(results) == 0
            assert items.count == 1001

    def test_in_the_mode_sync_one_after_another(self) -> None:
        items = Taken()
        with Pool("sync") as pool, pool.map(double, items) as results:
            assert next(results) == 0
            assert items.count == 2


class TestChunks:
    @pytest.mark.parametrize("fn", [double, double_later])
    @pytest.mark.parametrize("size", [2, 7, 30, 100])
    def test_results_are_the_same(self, mode: Mode, fn: Any, size: int) -> None:
        with Pool(mode) as pool:
            assert list(pool.map(fn, range(30), chunk=size)) == list(range(0, 60, 2))
            assert pool.stats.total == -(-30 // size)

    def test_an_error_is_that_of_its_item(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            results = pool.map(third_fails, range(6), chunk=6, return_exceptions=True)
            got = list(results)
            assert isinstance(got[3], ValueError)
            assert got[:3] + got[4:] == [0, 1, 2, 4, 5]

    def test_they_count_in_the_buffer(self, later: Mode) -> None:
        items = Taken()
        with Pool(later) as pool, pool.map(double, items, chunk=4, buffer=10) as results:
            assert items.count == 8
            assert next(results) == 0

    def test_of_workers(self, mode: Mode) -> None:
        with Adder.options(mode=mode).init(10) as adder:
            assert list(adder.map(Adder.add, range(5), chunk=2)) == [10, 11, 12, 13, 14]
            assert list(adder.map(Adder.add_later, range(5), chunk=2)) == [10, 11, 12, 13, 14]
            assert list(adder.map(visit, range(5), chunk=2)) == [0, 10, 20, 30, 40]

    def test_where_each_item_has_policies_they_are_refused(self) -> None:
        with (
            Pool("thread", retry=1) as pool,
            pytest.raises(InvalidOption, match="chunk=2 would have one attempt"),
        ):
            pool.map(double, [1], chunk=2)


class TestErrors:
    def test_one_is_raised_at_its_item_and_ends_it(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            results = pool.map(third_fails, range(10))
            assert [next(results) for _ in range(3)] == [0, 1, 2]
            with pytest.raises(ValueError, match="three"):
                next(results)
            assert list(results) == []

    def test_one_that_would_end_the_loop_is_none_of_its_end(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            with pytest.raises(RuntimeError, match=r"a call of a map raised StopIteration\(\)"):
                list(pool.map(third_is_empty, range(10)))
            got = list(pool.map(third_is_empty, range(5), return_exceptions=True))
        assert isinstance(got.pop(3), StopIteration)
        assert got == [0, 1, 2, 4]

    async def test_the_same_awaited(self, later: Mode) -> None:
        async with Pool(later) as pool:
            got = []
            with pytest.raises(ValueError, match="three"):  # noqa: PT012 - which come before it
                async for one in pool.map(third_fails, range(10)):
                    got.append(one)  # noqa: PERF401
            assert got == [0, 1, 2]
            with pytest.raises(ValueError, match="three"):
                await pool.map(third_fails, range(10))

    def test_in_the_place_of_results_they_do_not(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            got = list(pool.map(third_fails, range(5), return_exceptions=True))
        assert isinstance(got[3], ValueError)
        assert got[4] == 4

    def test_a_cancelled_call_is_an_error(self) -> None:
        gate = Gate()
        with Pool("thread", max_workers=1) as pool:
            results = pool.map(gate, range(2), return_exceptions=True)
            list(results._line)[1].cancel()
            gate.open.set()
            first, second = results
        assert first == 0
        assert isinstance(second, CallCancelled)

    def test_retries_are_those_of_each_item(self, mode: Mode, tmp_path: Path) -> None:
        def flaky(number: int) -> int:
            tried = tmp_path / str(number)
            if not tried.exists():
                tried.touch()
                raise ValueError(number)
            return number

        with Pool(mode, retry=1) as pool:
            assert list(pool.map(flaky, range(3))) == [0, 1, 2]


class TestLeaving:
    async def test_what_has_not_begun_never_begins(self) -> None:
        gate = Gate()
        async with Pool("thread", max_workers=1) as pool:
            results = pool.map(gate, range(50))
            await eventually(lambda: gate.began == [0])
            calls = list(results._line)
            results.close()
            assert all(one.cancelled() for one in calls)
            gate.open.set()
        assert gate.began == [0]
        assert await results == []
        results.close()

    def test_forgotten_results_are_closed(self) -> None:
        gate = Gate()
        with Pool("thread", max_workers=1) as pool:
            results = pool.map(gate, range(50))
            calls = list(results._line)
            del results
            gc.collect()
            assert all(one.cancelled() for one in calls)
            gate.open.set()
        assert gate.began in ([], [0])

    async def test_cancelled_while_awaited_coroutines_end(self) -> None:
        ended: list[int] = []

        async def forever(number: int) -> None:
            try:
                await asyncio.Event().wait()
            finally:
                ended.append(number)

        async with Pool("asyncio") as pool:
            task = asyncio.create_task(_all(pool.map(forever, range(3))))
            await eventually(lambda: pool.stats.active == 3)
            await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await eventually(lambda: sorted(ended) == [0, 1, 2])

    @pytest.mark.parametrize("ordered", [True, False])
    def test_out_of_time_as_a_whole(self, ordered: bool) -> None:
        gate = Gate()

        def slow_later(number: int) -> int:
            return gate(number) if number > 1 else number

        with Pool("thread", max_workers=1) as pool:
            results = pool.map(slow_later, range(10), timeout=0.2, ordered=ordered)
            assert [next(results), next(results)] == [0, 1]
            with pytest.raises(WaitTimeout, match=r"8 calls .* within the 0\.2 s of the whole"):
                next(results)
            assert list(results) == []
            gate.open.set()
        assert gate.began == [2]

    @pytest.mark.parametrize("ordered", [True, False])
    def test_out_of_time_nothing_more_is_begun(self, mode: Mode, ordered: bool) -> None:
        late = threading.Event()

        def items() -> Iterator[int]:
            yield 1
            late.wait(0.02)
            yield 2

        with Pool(mode) as pool:
            results = pool.map(double, items(), timeout="10ms", ordered=ordered, buffer=1)
            with pytest.raises(WaitTimeout, match=r"the 0\.01 s of the whole"):
                list(results)
            assert list(results) == []

    def test_items_that_end_late_are_no_error(self, mode: Mode) -> None:
        late = threading.Event()

        def items() -> Iterator[int]:
            yield 1
            late.wait(0.3)

        with Pool(mode) as pool:
            pool.submit(double, 1).result(60)
            results = pool.map(double, items(), timeout="250ms")
            assert list(results) == [2]

    async def test_out_of_time_awaited(self) -> None:
        async def forever(_: int) -> None:
            await asyncio.Event().wait()

        async with Pool("asyncio") as pool:
            with pytest.raises(WaitTimeout, match="2 calls"):
                await pool.map(forever, range(2), timeout="1ms")
            with pytest.raises(WaitTimeout, match="2 calls"):
                await pool.map(forever, range(2), timeout="1ms", ordered=False)

    def test_a_full_pool_is_waited_for(self, later: Mode) -> None:
        with Pool(later, max_queued_tasks=2, on_full="raise") as pool:
            assert list(pool.map(double, range(20))) == list(range(0, 40, 2))

    def test_a_pool_that_others_have_filled_says_so(self) -> None:
        gate = Gate()
        with Pool("thread", max_workers=1, max_queued_tasks=1, on_full="raise") as pool:
            pool.submit(gate, 0)
            with pytest.raises(PoolFull):
                pool.map(double, range(3))
            gate.open.set()


class TestBound:
    def test_called_and_mapped(self, mode: Mode) -> None:
        with Pool(mode) as pool:
            added = pool.bind(add)
            assert added.submit(1, second=2).result() == 3
            assert list(added.map([1, 2], [3, 4])) == [4, 6]
            assert list(added.starmap([(1, 2), (3, 4)])) == [3, 7]
            assert list(pool.bind(double_later).map(range(3))) == [0, 2, 4]

    def test_a_function_as_an_argument_is_an_argument(self, mode: Mode) -> None:
        def apply(fn: Any) -> Any:
            return fn(3)

        with Pool(mode) as pool:
            applied = pool.bind(apply)
            assert applied.submit(double).result() == 6
            assert list(applied.map([double])) == [6]


class TestWorkers:
    def test_methods_and_visitors(self, mode: Mode) -> None:
        with Adder.options(mode=mode).init(10) as adder:
            assert list(adder.map(Adder.add, range(3))) == [10, 11, 12]
            assert list(adder.map(Adder.add_later, range(3), ordered=False)) == [10, 11, 12]
            assert list(adder.map(visit, range(3))) == [0, 10, 20]
            assert list(adder.starmap(Adder.add_both, [(1, 2), (3, 4)])) == [13, 17]

    def test_the_names_are_taken(self) -> None:
        with pytest.raises(InvalidOption, match=r"Mapper\.map has the name of a method"):

            class Mapper(Worker):
                def map(self) -> None: ...


class TestOptions:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"chunk": 0}, {"buffer": 0}, {"chunk": "2"}, {"timeout": -1}, {"progress": 5},
            {"ordered": "no"}, {"strict": None}, {"return_exceptions": 0},
        ],
    )  # fmt: skip
    def test_values_that_cannot_work(self, wrong: Any) -> None:
        with Pool("sync") as pool, pytest.raises(InvalidOption, match=next(iter(wrong))):
            pool.map(double, [1], **wrong)

    def test_names_that_do_not_exist(self) -> None:
        with Pool("sync") as pool:
            with pytest.raises(UnknownOption, match="did you mean 'chunk'"):
                pool.map(double, [1], chunksize=3)  # type: ignore[call-overload]
            with pytest.raises(InvalidOption, match="starmap has one"):
                pool.starmap(add, [(1, 2)], strict=True)

    def test_a_bar(self, mode: Mode) -> None:
        class Bar:
            total: int | None = None
            at = 0
            closed = False

            def update(self, n: int) -> None:
                self.at += n

            def close(self) -> None:
                self.closed = True

        with Pool(mode) as pool:
            whole, part, endless = Bar(), Bar(), Bar()
            list(pool.map(double, range(5), progress=whole))
            assert (whole.total, whole.at, whole.closed) == (5, 5, True)
            results = pool.map(third_fails, range(5), progress=part)
            with pytest.raises(ValueError, match="three"):
                list(results)
            assert (part.at, part.closed) == (4, True)
            with pool.map(double, itertools.count(), progress=endless) as results:
                next(results)
            assert (endless.total, endless.at, endless.closed) == (None, 1, True)


async def _all(results: Any) -> Any:
    return await results
