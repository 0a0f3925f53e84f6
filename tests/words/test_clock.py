"""The clock of the machine."""

from __future__ import annotations

import asyncio
import threading
import time

from treadle.clock import Clock, SystemClock


def test_it_is_a_clock() -> None:
    assert isinstance(SystemClock(), Clock)


def test_it_reads_the_machine() -> None:
    clock = SystemClock()
    before = time.time()  # noqa: TID251  what it is compared with
    assert before <= clock.now() <= time.time() + 1  # noqa: TID251
    first = clock.monotonic()
    assert clock.monotonic() >= first


async def test_sleeping_takes_its_time() -> None:
    clock = SystemClock()
    before = clock.monotonic()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.009


async def test_a_callback_runs_later_unless_it_is_cancelled() -> None:
    clock = SystemClock()
    loop = asyncio.get_running_loop()
    ran: asyncio.Future[None] = loop.create_future()
    never: list[int] = []
    timer = clock.call_later(0.0, lambda: never.append(1))
    timer.cancel()
    clock.call_later(0.001, lambda: ran.set_result(None))
    await asyncio.wait_for(ran, 5)
    timer.cancel()  # harmless afterwards
    assert never == []


def test_waiting_ends_with_the_event_or_the_time() -> None:
    clock = SystemClock()
    event = threading.Event()
    assert clock.wait(event, 0.0) is False
    assert clock.wait(event, 0.001) is False
    event.set()
    assert clock.wait(event, 60) is True
    assert clock.wait(event, None) is True
