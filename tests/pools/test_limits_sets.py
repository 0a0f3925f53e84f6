"""Sets of limits that code takes from: in this process, plain and asynchronous."""

from __future__ import annotations

import asyncio
import copy
import math
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest

from treadle import LIMITS, LimitSet, Rate, Slots
from treadle.clock import SystemClock
from treadle.errors import Blocking, InvalidOption, LimitTimeout, NotOpen, UnknownOption
from treadle.testing.clock import ManualClock, eventually, settle


def used(limits: LimitSet) -> dict[str, float]:
    return {name: one.used for name, one in limits.stats.items()}


def waiting(limits: LimitSet) -> int:
    return max(one.waiting for one in limits.stats.values())


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another thread does."""
    clock, never = SystemClock(), threading.Event()
    deadline = clock.monotonic() + 10
    while not condition():
        assert clock.monotonic() < deadline
        clock.wait(never, 0.001)


@contextmanager
def thread(target: Callable[[], object]) -> Iterator[threading.Thread]:
    one = threading.Thread(target=target)
    one.start()
    yield one
    one.join(10)
    assert not one.is_alive()


# ------------------------------------------------------------- what is said of what cannot be


@pytest.mark.parametrize("amounts", [3, "tokens", ["tokens"], 0])
def test_amounts_that_are_no_dict_are_refused(amounts: Any) -> None:
    limits = LimitSet(Rate(10, per=60, key="tokens"))
    with pytest.raises(InvalidOption, match=r"a dict from their keys, such as \{'tokens': 500\}"):
        limits.acquire(amounts)
    with limits.acquire() as got, pytest.raises(InvalidOption, match="a dict from their keys"):
        got.update(amounts)


def test_a_limit_by_an_argument_says_how_a_block_gives_it() -> None:
    limits = LimitSet(Slots(1, by="tenant"))
    with pytest.raises(InvalidOption, match=r"acquire\(…, arguments=\{'tenant': …\}\)"):
        limits.acquire()
    with limits.acquire(arguments={"tenant": "acme"}) as got:
        assert got.amounts == {"slots:tenant": 1}


def test_a_number_that_is_too_large_to_count_with_is_refused() -> None:
    with pytest.raises(InvalidOption, match="is not a number above 0"):
        Rate(10**400, per=1)


# ------------------------------------------------------------- what is taken


def test_all_limits_are_taken_and_slots_come_back() -> None:
    limits = LimitSet(Slots(4, key="connections"), Rate(100, per=60, key="tokens", cost=10))
    with limits.acquire() as got:
        assert got.amounts == {"connections": 1, "tokens": 10}
        assert used(limits) == {"connections": 1, "tokens": pytest.approx(10, abs=0.1)}
    assert used(limits) == {"connections": 0, "tokens": pytest.approx(10, abs=0.1)}


def test_amounts_by_name_and_defaults_for_the_rest() -> None:
    limits = LimitSet(
        Slots(4), Rate(100, per=60, key="tokens"), Rate(9, per=1), clock=ManualClock()
    )
    with limits.acquire({"tokens": 50, "rate/1": 0}) as got:
        assert got.amounts == {"slots": 1, "tokens": 50}
    with limits.acquire({"slots": 0, "tokens": 0, "rate/1": 0}) as got:
        assert got.amounts == {}


def test_a_limit_without_a_cost_is_only_taken_by_name() -> None:
    limits = LimitSet(Rate(100, per=60, key="tokens", cost=0), Slots(2, units=0))
    with limits.acquire() as got:
        assert got.amounts == {}
    with limits.acquire({"tokens": 3, "slots": 2}) as got:
        assert got.amounts == {"tokens": 3, "slots": 2}


def test_limits_by_value_read_the_arguments() -> None:
    limits = LimitSet(
        Slots(1, by="tenant"), Rate(100, per=60, key="size", cost=lambda size: size / 2)
    )
    acme = {"tenant": "acme", "size": 20}
    with limits.acquire(arguments=acme) as got:
        assert got.amounts == {"slots:tenant": 1, "size": 10}
        with limits.acquire(arguments={"tenant": "zeta", "size": 2}):
            assert limits.stats_of(acme)["slots:tenant"].used == 1
        with pytest.raises(LimitTimeout), limits.acquire(arguments=acme, timeout=0):
            pass
    assert limits.stats_of(acme)["slots:tenant"].used == 0


@pytest.mark.parametrize(
    ("requested", "error", "match"),
    [
        ({"token": 1}, UnknownOption, r"no limit 'token' .*did you mean 'tokens'.*tokens, slots"),
        ({"tokens": 11}, InvalidOption, "11.* is not within the 10 units"),
        ({"slots": 3}, InvalidOption, "3 is not within the 2 slots"),
        ({"tokens": -1}, InvalidOption, "tokens: -1 is not a number from 0"),
        ({"tokens": math.nan}, InvalidOption, "tokens: nan is not a number from 0"),
        ({"tokens": "5"}, InvalidOption, "tokens: '5' is not a number"),
        ({"slots": 1.5}, InvalidOption, "slots: 1.5 is not a whole number"),
    ],
)
def test_what_can_never_be_granted_is_refused(requested: Any, error: Any, match: str) -> None:
    limits = LimitSet(Rate(10, per=1, key="tokens"), Slots(2))
    with pytest.raises(error, match=match):
        limits.acquire(requested)
    with pytest.raises(error, match=match):
        limits.aacquire(requested)


async def test_a_set_without_limits_grants_at_once() -> None:
    async with LIMITS.aacquire(timeout=0) as got:
        assert got.amounts == {}
    assert LIMITS.stats == {}


async def test_a_set_without_limits_grants_whatever_is_named() -> None:
    async with LIMITS.aacquire({"tokens": 10**9}) as got:
        got.update({"tokens": 1})
        assert got.amounts == {}
        with pytest.raises(UnknownOption, match="'token' was not acquired here"):
            got.update({"token": 1})
    async with LimitSet().inside(None).aacquire({"tokens": 1}) as got:
        got.update({"tokens": 2})


# ------------------------------------------------------------- settling


def test_what_was_not_used_is_given_back() -> None:
    limits = LimitSet(Rate(10, per=60, key="tokens"), clock=ManualClock())
    with limits.acquire({"tokens": 10}) as got:
        got.update({"tokens": 7})
        got.update({"tokens": 1})  # the last word counts
    assert used(limits) == {"tokens": 1}
    with limits.acquire({"tokens": 5}, timeout=0):
        pass
    assert used(limits) == {"tokens": 6}


def test_what_was_used_beyond_becomes_debt() -> None:
    clock = ManualClock()
    limits = LimitSet(Rate(10, per=10, key="tokens"), clock=clock)
    with limits.acquire({"tokens": 5}) as got:
        got.update({"tokens": 25})
    clock.advance(15.9)
    with pytest.raises(LimitTimeout), limits.acquire({"tokens": 1}, timeout=0):
        pass
    clock.advance(0.2)
    with limits.acquire({"tokens": 1}, timeout=0):
        pass


def test_without_a_word_the_whole_of_it_was_used() -> None:
    limits = LimitSet(Rate(10, per=60, key="tokens"), clock=ManualClock())
    with limits.acquire({"tokens": 4}):
        pass
    assert used(limits) == {"tokens": 4}


def test_the_error_of_the_block_comes_out_and_everything_is_settled() -> None:
    limits = LimitSet(Rate(10, per=60, key="tokens"), Slots(1), clock=ManualClock())
    error = ZeroDivisionError("mine")

    def fail() -> None:
        with limits.acquire({"tokens": 8}) as got:
            got.update({"tokens": 2})
            raise error

    with pytest.raises(ZeroDivisionError) as caught:
        fail()
    assert caught.value is error
    assert caught.value.__context__ is None
    assert used(limits) == {"tokens": 2, "slots": 0}


def test_updates_that_make_no_sense() -> None:
    limits = LimitSet(Rate(10, per=60, key="tokens"), Rate(5, per=60, key="calls"), Slots(1))
    with limits.acquire({"tokens": 3, "calls": 0}) as got:
        with pytest.raises(UnknownOption, match=r"'token' was not acquired.*did you mean 'tokens'"):
            got.update({"token": 1})
        with pytest.raises(UnknownOption, match="'calls' was not acquired here"):
            got.update({"calls": 1})
        with pytest.raises(InvalidOption, match="'slots' are slots"):
            got.update({"slots": 1})
        with pytest.raises(InvalidOption, match="tokens: -1 is not a number from 0"):
            got.update({"tokens": -1})
    with pytest.raises(NotOpen, match="after the end of the block"):
        got.update({"tokens": 1})


def test_blocks_within_blocks() -> None:
    limits = LimitSet(Slots(3))
    with limits.acquire(), limits.acquire({"slots": 2}):
        assert used(limits) == {"slots": 3}
        with pytest.raises(LimitTimeout), limits.acquire(timeout=0):
            pass
    assert used(limits) == {"slots": 0}


def test_an_acquisition_is_for_one_block() -> None:
    limits = LimitSet(Slots(2))
    once = limits.acquire()
    with once:
        pass
    with pytest.raises(NotOpen, match="one block"), once:
        pass
    assert used(limits) == {"slots": 0}


# ------------------------------------------------------------- waiting


def test_a_timeout_names_the_limits_and_leaves_the_line() -> None:
    clock = ManualClock()
    limits = LimitSet(Slots(1), Rate(1, per=60, key="calls"), clock=clock)
    errors: list[BaseException] = []

    def late() -> None:
        try:
            with limits.acquire(timeout="5s"):
                pass
        except LimitTimeout as error:
            errors.append(error)

    with limits.acquire(), thread(late):
        until(lambda: clock.next_due is not None)
        clock.advance(5)
    assert isinstance(errors[0], LimitTimeout)
    assert "was not granted slots, calls within the 5 s" in str(errors[0])
    assert errors[0].keys == ("slots", "calls")
    assert isinstance(errors[0], TimeoutError)
    assert waiting(limits) == 0


async def test_a_rate_is_waited_for_to_the_instant() -> None:
    clock = ManualClock()
    limits = LimitSet(Rate(2, per=10), clock=clock)
    granted: list[float] = []

    async def one() -> None:
        async with limits.aacquire():
            granted.append(clock.monotonic())

    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(one())
        await settle(clock)
        await clock.aadvance(20)
    assert granted == pytest.approx([0, 0, 5, 10, 15])


@pytest.mark.parametrize(
    ("algorithm", "granted"),
    [
        ("leaky_bucket", [0, 5, 10, 15, 20]),
        ("token_bucket", [0, 0, 5, 10, 15]),
        ("gcra", [0, 0, 5, 10, 15]),
        ("fixed", [0, 0, 10, 10, 20]),
        ("sliding", [0, 0, 15, 20, 30]),
    ],
)
async def test_a_rate_goes_on_at_its_pace_however_often_it_is_asked(
    algorithm: str, granted: list[float]
) -> None:
    clock = ManualClock()
    limits = LimitSet(Rate(2, per=10, algorithm=algorithm), clock=clock)
    seen: list[float] = []
    while len(seen) < 5:
        try:
            async with limits.aacquire(timeout=0):
                seen.append(clock.monotonic())
        except LimitTimeout:
            clock.advance(0.25)
    assert seen == pytest.approx(granted, abs=0.25)


def test_threads_are_served_in_the_order_in_which_they_came() -> None:
    limits = LimitSet(Slots(2))
    served: list[int] = []

    def one(number: int, units: int) -> None:
        with limits.acquire({"slots": units}):
            served.append(number)

    with ThreadPoolExecutor(8) as pool, limits.acquire({"slots": 2}):
        for number in range(8):
            pool.submit(one, number, 2)
            until(lambda: waiting(limits) == number + 1)  # noqa: B023 - called at once
    assert served == list(range(8))
    assert used(limits) == {"slots": 0}


async def test_tasks_are_served_in_order_and_a_large_one_is_not_starved() -> None:
    limits = LimitSet(Slots(2))
    served: list[str] = []
    gate = asyncio.Event()

    async def one(name: str, units: int) -> None:
        async with limits.aacquire({"slots": units}):
            served.append(name)
            await gate.wait()

    async with asyncio.TaskGroup() as group:
        for name, units in [("first", 1), ("large", 2), ("small", 1), ("last", 1)]:
            group.create_task(one(name, units))
            await settle()
        assert served == ["first"]
        gate.set()
    assert served == ["first", "large", "small", "last"]


async def test_a_task_that_is_cancelled_leaves_the_line() -> None:
    limits = LimitSet(Slots(1))

    async def one() -> None:
        async with limits.aacquire():
            pass

    async with limits.aacquire():
        first, second = asyncio.create_task(one()), asyncio.create_task(one())
        await settle()
        assert waiting(limits) == 2
        first.cancel()
        await settle()
        assert waiting(limits) == 1
    await second
    assert used(limits) == {"slots": 0}


async def test_cancelling_just_when_it_is_granted_gives_it_back() -> None:
    limits = LimitSet(Slots(1))
    tasks: list[asyncio.Task[None]] = []

    async def one() -> None:
        async with limits.aacquire():
            pass

    async with limits.aacquire():
        tasks += [asyncio.create_task(one()) for _ in range(3)]
        await settle()
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert used(limits) == {"slots": 0}
    assert waiting(limits) == 0


async def test_threads_and_loops_share_one_line() -> None:
    limits = LimitSet(Slots(1))
    served: list[str] = []

    async def task(name: str) -> None:
        async with limits.aacquire():
            served.append(name)

    def plain() -> None:
        with limits.acquire():
            served.append("thread")

    def other_loop() -> None:
        asyncio.run(task("other loop"))

    async with limits.aacquire():
        running: list[Any] = []
        for start in (
            lambda: asyncio.create_task(task("task")),
            lambda: asyncio.create_task(asyncio.to_thread(plain)),
            lambda: asyncio.create_task(asyncio.to_thread(other_loop)),
        ):
            running.append(start())
            await eventually(lambda: waiting(limits) == len(running))
    await asyncio.gather(*running)
    assert served == ["task", "thread", "other loop"]


async def test_a_waiter_whose_loop_is_gone_stops_nobody() -> None:
    limits = LimitSet(Slots(1))

    async def stuck() -> None:
        async with limits.aacquire():
            pass

    loop = asyncio.new_event_loop()
    async with limits.aacquire():
        task = loop.create_task(stuck())
        with ThreadPoolExecutor(1) as pool:
            pool.submit(loop.run_until_complete, asyncio.wait([task], timeout=0.01)).result()
        assert waiting(limits) == 1
        loop.close()
    async with limits.aacquire(timeout=5):
        assert waiting(limits) == 0
    task.get_coro().close()  # type: ignore[union-attr]
    task._log_destroy_pending = False  # type: ignore[attr-defined]


async def test_a_plain_acquire_in_an_event_loop_names_the_way() -> None:
    limits = LimitSet(Slots(1))
    with pytest.raises(Blocking, match=r"async with limits\.aacquire\(\)"), limits.acquire():
        pass


# ------------------------------------------------------------- sets as values


def test_a_set_is_equal_to_what_shares_it() -> None:
    limits = LimitSet(Slots(1))
    assert limits == limits.inside(3)
    assert limits != LimitSet(Slots(1))
    assert copy.deepcopy(limits) is limits
    assert copy.copy(limits) is limits
    assert LimitSet() == LimitSet()
    assert repr(limits) == "LimitSet(Slots(slots=1))"


def test_a_forked_child_counts_for_itself() -> None:
    limits = LimitSet(Slots(1), Rate(1, per=3600))
    with limits.acquire():
        child = os.fork()
        if child == 0:
            status = 1
            try:
                with limits.acquire(timeout=0):
                    status = 0
            finally:
                os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        assert used(limits)["slots"] == 1


def test_never_more_than_there_is_under_many_threads() -> None:
    limits = LimitSet(Slots(3, key="s"), Slots(5, key="t"))
    inside = {"s": 0, "t": 0}
    most = {"s": 0, "t": 0}
    lock = threading.Lock()

    def work(number: int) -> None:
        units = {"s": 1 + number % 3, "t": 1 + number % 5}
        for _ in range(150):
            with limits.acquire(units):
                with lock:
                    for key, n in units.items():
                        inside[key] += n
                        most[key] = max(most[key], inside[key])
                with lock:
                    for key, n in units.items():
                        inside[key] -= n

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, number) for number in range(8)]:
            done.result(60)
    assert most["s"] <= 3
    assert most["t"] <= 5
    assert used(limits) == {"s": 0, "t": 0}
    assert waiting(limits) == 0
