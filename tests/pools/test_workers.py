"""Calls of workers: the same in every mode."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from treadle import CallCancelled, Pool, Worker, WorkerStopped
from treadle.errors import Blocking, InvalidCall
from treadle.pools.options import Mode


class Counter(Worker):
    """Keeps a number."""

    def __init__(self, start: int = 0, *, step: int = 1) -> None:
        self.value = start
        self.step = step

    def add(self, times: int = 1) -> int:
        self.value += times * self.step
        return self.value

    async def add_later(self, times: int = 1) -> int:
        await asyncio.sleep(0)  # noqa: TID251 - a turn of the loop
        return self.add(times)

    def fail(self, text: str) -> None:
        raise ValueError(text)

    async def fail_later(self, text: str) -> None:
        raise KeyError(text)

    def give_up(self) -> None:
        raise SystemExit(3)

    def bare(self) -> None:
        """Gives nothing."""

    @classmethod
    def kind(cls, more: str) -> str:
        return cls.__name__ + more

    def run_out(self) -> None:
        raise StopIteration(3)

    def cancel_itself(self) -> None:
        raise CallCancelled("enough")

    async def be_cancelled(self) -> None:
        raise asyncio.CancelledError


def double(number: int) -> int:
    return 2 * number


async def double_later(number: int) -> int:
    return 2 * number


def look(counter: Counter, more: int) -> int:
    return counter.value + more


def test_a_method_gives_a_future_of_its_result(mode: Mode) -> None:
    with Counter.options(mode=mode).init(10) as counter:
        future = counter.add(5)
        assert future.result() == 15
        assert future.done()
        assert not future.cancelled()
        assert future.exception() is None


def test_the_worker_keeps_its_state_between_calls(mode: Mode) -> None:
    with Counter.options(mode=mode).init(1, step=2) as counter:
        values = [counter.add().result() for _ in range(4)]
    assert values == [3, 5, 7, 9]


def test_two_handles_have_a_state_each(mode: Mode) -> None:
    builder = Counter.options(mode=mode)
    with builder.init() as one, builder.init(100) as other:
        assert one.add().result() == 1
        assert other.add().result() == 101
        assert one.add().result() == 2


def test_asynchronous_methods_are_run_to_their_end(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        assert counter.add_later(3).result() == 3
        assert counter.add(1).result() == 4
        assert counter.add_later(times=2).result() == 6


def test_a_call_without_a_result_gives_none(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        assert counter.bare().result() is None


@pytest.mark.parametrize(("method", "kind"), [("fail", ValueError), ("fail_later", KeyError)])
def test_errors_are_raised_where_the_result_is_asked_for(
    mode: Mode, method: str, kind: type[Exception]
) -> None:
    with Counter.options(mode=mode).init() as counter:
        future = getattr(counter, method)("no such thing")
        with pytest.raises(kind, match="no such thing"):
            future.result()
        assert isinstance(future.exception(), kind)
        assert counter.add().result() == 1, "the worker goes on"


def test_wrong_arguments_are_an_error_of_the_call(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        with pytest.raises(TypeError, match="unexpected keyword"):
            counter.add(number=1).result()
        assert counter.add().result() == 1


def test_a_method_that_does_not_exist_is_refused_at_once(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        with pytest.raises(AttributeError, match="Counter has no method 'ad'"):
            counter.ad()
        with pytest.raises(AttributeError, match="_private"):
            counter._private()


def test_calls_of_one_thread_are_carried_out_in_order(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        futures = [counter.add() for _ in range(200)]
        assert [future.result() for future in futures] == list(range(1, 201))


def test_any_function_can_visit_the_worker(mode: Mode) -> None:
    with Counter.options(mode=mode).init(7) as counter:
        assert counter.call(look, 3).result() == 10
        assert counter.call(Counter.add, 2).result() == 9
        assert counter.call(Counter.add_later, times=2).result() == 11


class Tally(Counter):
    """Has a class method from its base."""


def test_a_class_method_is_called_by_its_name_and_by_that_of_the_class(mode: Mode) -> None:
    with Tally.options(mode=mode).init() as tally:
        assert tally.kind("!").result() == "Tally!"
        by_class: Any = tally.call
        assert by_class(Tally.kind, "!").result() == "Tally!"
        assert by_class(Counter.kind, more="?").result() == "Tally?"


def test_a_call_whose_code_says_that_it_is_cancelled_is(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        for future in (counter.cancel_itself(), counter.be_cancelled()):
            with pytest.raises(CallCancelled):
                future.result()
            assert future.cancelled()
        tended = Counter.options(mode=mode, restart_every=100).init()
        with tended, pytest.raises(CallCancelled, match="enough"):
            tended.cancel_itself().result()


@pytest.mark.parametrize("options", [{}, {"retry": 1}, {"max_queued_tasks": 5}])
def test_a_stop_of_an_iteration_is_an_error_like_others(
    mode: Mode, options: dict[str, Any]
) -> None:
    """Which Python puts another one in the place of, where a coroutine raises it."""
    with Counter.options(mode=mode, **options).init() as counter:
        error = counter.run_out().exception()
        assert isinstance(error, StopIteration)
        assert error.value == 3


async def test_a_coroutine_that_would_block_the_loop_is_refused_with_the_way_out() -> None:
    with Counter.options(mode="sync").init() as counter:
        assert counter.add().result() == 1
        with pytest.raises(Blocking, match=r"add_later\(\) is asynchronous.* mode='asyncio'"):
            counter.add_later().result()


def test_blocking_workers_give_results(mode: Mode) -> None:
    with Counter.options(mode=mode, blocking=True).init() as counter:
        assert counter.add(2) == 2
        with pytest.raises(ValueError, match="no"):
            counter.fail("no")
        assert counter.add_later(2) == 4


def test_after_a_stop_calls_are_refused(mode: Mode) -> None:
    counter = Counter.options(mode=mode, name="till").init()
    counter.add().result()
    counter.stop()
    counter.stop()
    with pytest.raises(WorkerStopped, match="till is stopped"):
        counter.add()


def test_an_error_in_the_block_stops_the_worker_all_the_same(mode: Mode) -> None:
    with pytest.raises(RuntimeError, match="ours"), Counter.options(mode=mode).init() as counter:
        raise RuntimeError("ours")
    with pytest.raises(WorkerStopped):
        counter.add()


async def test_futures_are_awaited_in_a_loop(later: Mode) -> None:
    async with Counter.options(mode=later).init() as counter:
        assert await counter.add(5) == 5
        assert await counter.add_later(5) == 10
        with pytest.raises(ValueError, match="no"):
            await counter.fail("no")
        results = await asyncio.gather(*(_awaited(counter.add) for _ in range(20)))
    assert sorted(results) == list(range(11, 31))


async def _awaited(method: Callable[..., Any]) -> Any:
    return await method()


def test_what_leaves_the_interpreter_ends_the_call_and_not_the_worker(later: Mode) -> None:
    with Counter.options(mode=later).init() as counter:
        with pytest.raises(SystemExit):
            counter.give_up().result()
        assert counter.add().result() == 1


def test_a_pool_runs_any_function(mode: Mode) -> None:
    with Pool(mode) as pool:
        assert pool.submit(double, 4).result() == 8
        assert pool.submit(double_later, number=5).result() == 10
        with pytest.raises(TypeError):
            pool.submit(double).result()
    with pytest.raises(WorkerStopped):
        pool.submit(double, 1)


def test_a_future_among_the_arguments_is_replaced_by_its_result(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        first = counter.add(2)
        assert counter.add(first).result() == 4
        with pytest.raises(ValueError, match="no"):
            counter.add(counter.fail("no")).result()


def test_cancelling_a_call_that_has_ended_changes_nothing(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        future = counter.add()
        assert future.result() == 1
        assert future.cancel() is False
        assert future.result() == 1


class Sleeper(Worker):
    """Waits until it is told otherwise, or cancelled."""

    async def wait(self) -> None:
        await asyncio.Event().wait()

    def ping(self) -> str:
        return "here"


def test_a_coroutine_that_waits_is_cancelled(later: Mode) -> None:
    with Sleeper.options(mode=later).init() as sleeper:
        future = sleeper.wait()
        assert future.cancel() is True
        with pytest.raises(CallCancelled):
            future.result(10)
        assert future.cancelled()
        assert sleeper.ping().result(10) == "here"


def test_leaving_the_block_carries_out_what_was_submitted(mode: Mode) -> None:
    with Counter.options(mode=mode).init() as counter:
        futures = [counter.add() for _ in range(50)]
    assert [future.result() for future in futures] == list(range(1, 51))


@pytest.mark.parametrize("verb", ["submit", "bind", "map", "starmap"])
async def test_what_is_no_function_is_refused_where_it_is_given(verb: str) -> None:
    with Pool("thread", max_workers=1) as pool:
        for given in (double(1), double_later(1), "double"):
            with pytest.raises(InvalidCall, match=rf"write pool.{verb}\(work, 1\)"):
                getattr(pool, verb)(given, *([] if verb == "bind" else [[1]]))
