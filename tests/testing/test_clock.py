"""ManualClock: time stands still until it is moved, in every loop and thread."""

from __future__ import annotations

import asyncio
import threading

import pytest

from treadle.clock import Clock
from treadle.testing.clock import START, ManualClock, eventually, settle


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


def test_is_a_clock_that_stands_still(clock: ManualClock) -> None:
    assert isinstance(clock, Clock)
    assert (clock.now(), clock.monotonic()) == (START, 0.0)


def test_advance_moves_both_readings_and_jump_only_the_calendar(clock: ManualClock) -> None:
    clock.advance(5)
    assert (clock.now(), clock.monotonic()) == (START + 5, 5.0)
    clock.jump(-3600)
    assert (clock.now(), clock.monotonic()) == (START + 5 - 3600, 5.0)


def test_time_does_not_go_back(clock: ManualClock) -> None:
    with pytest.raises(ValueError, match="jump"):
        clock.advance(-1)


@pytest.mark.parametrize("seconds", [0.1, 0.3, 1 / 3, 29.7, 86400.1])
def test_what_was_due_in_n_seconds_is_due_after_them(clock: ManualClock, seconds: float) -> None:
    for _ in range(50):
        due = clock.now() + seconds
        clock.advance(seconds)
        assert due <= clock.now() < due + 2e-6


async def test_sleepers_wake_in_order_of_their_instants(clock: ManualClock) -> None:
    woken: list[tuple[str, float]] = []

    async def sleeper(name: str, seconds: float) -> None:
        await clock.sleep(seconds)
        woken.append((name, clock.monotonic()))

    tasks = [asyncio.create_task(sleeper(n, s)) for n, s in (("c", 3), ("a", 1), ("b", 2))]
    await clock.aadvance(2.5)
    assert woken == [("a", 1.0), ("b", 2.0)]
    await clock.aadvance(0.5)
    await asyncio.gather(*tasks)
    assert woken[-1] == ("c", 3.0)


async def test_a_sleep_of_nothing_still_gives_way(clock: ManualClock) -> None:
    ran: list[int] = []
    asyncio.get_running_loop().call_soon(ran.append, 1)
    await clock.sleep(0)
    assert ran == [1]


async def test_a_timer_that_sets_itself_again_fires_each_time(clock: ManualClock) -> None:
    fired: list[float] = []

    def tick() -> None:
        fired.append(clock.monotonic())
        clock.call_later(1, tick)

    clock.call_later(1, tick)
    await clock.aadvance(10)
    assert fired == [float(n) for n in range(1, 11)]


async def test_a_cancelled_timer_does_not_fire(clock: ManualClock) -> None:
    fired: list[int] = []
    timer = clock.call_later(1, lambda: fired.append(1))
    late = clock.call_later(2, lambda: fired.append(2))
    timer.cancel()
    clock.advance(3)
    late.cancel()  # due, and not yet run by the loop
    await settle()
    assert fired == []
    assert clock.next_due is None


async def test_a_cancelled_sleep_leaves_no_timer(clock: ManualClock) -> None:
    task = asyncio.create_task(clock.sleep(10))
    await settle()
    assert clock.next_due == 10
    task.cancel()
    await settle()
    assert clock.next_due is None


def test_one_advance_wakes_sleepers_of_two_loops(clock: ManualClock) -> None:
    woken: list[str] = []

    async def sleeper(name: str) -> None:
        await clock.sleep(60)
        woken.append(name)

    async def main() -> None:
        thread = threading.Thread(target=lambda: asyncio.run(sleeper("there")))
        thread.start()
        here = asyncio.create_task(sleeper("here"))
        await eventually(lambda: len(clock._alarms) == 2)
        clock.advance(60)
        await here
        await asyncio.to_thread(thread.join)

    asyncio.run(main())
    assert sorted(woken) == ["here", "there"]


async def test_a_thread_that_waits_is_woken_by_time_or_by_its_event(clock: ManualClock) -> None:
    stop = threading.Event()
    beats: list[float] = []

    def heartbeat() -> None:
        while not clock.wait(stop, 10):
            beats.append(clock.monotonic())

    thread = threading.Thread(target=heartbeat)
    thread.start()
    await eventually(lambda: clock.next_due == 10)
    await clock.aadvance(35)
    assert beats == [10.0, 20.0, 30.0]
    stop.set()
    thread.join(5)
    assert not thread.is_alive()


async def test_settle_runs_chains_of_callbacks_to_the_end() -> None:
    loop = asyncio.get_running_loop()
    seen: list[int] = []

    def chain(left: int) -> None:
        seen.append(left)
        if left:
            loop.call_soon(chain, left - 1)

    loop.call_soon(chain, 200)
    await settle()
    assert seen[-1] == 0


async def test_eventually_says_what_did_not_happen() -> None:
    with pytest.raises(AssertionError, match="did not become true"):
        await eventually(lambda: False, patience=0.01)
