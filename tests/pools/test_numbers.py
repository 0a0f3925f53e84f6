"""What pools say of their workers: state, age, process, memory, and the time spent in limits."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tests.pools.gates import Gate, wait_at
from tests.pools.processes import CLOCK, until
from treadle import Pool, Rate, Slots, Worker, WorkerNotStarted
from treadle.pools.options import Mode


class Guest(Worker):
    """Stands at a gate."""

    def wait(self, folder: Path) -> str:
        return wait_at(folder)

    def pid(self) -> int:
        return os.getpid()

    def hold(self) -> bytes:
        self.much = bytearray(b"x" * (64 << 20))
        return b""


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_a_worker_says_what_it_does_and_since_when(later: Mode, gate: Gate) -> None:
    before = CLOCK.now()
    with Guest.options(mode=later).init() as guest:
        [worker] = guest.stats.workers
        assert worker.state == "idle"
        assert worker.started is not None
        assert before <= worker.started <= CLOCK.now()
        held = guest.wait(gate.folder)
        gate.entered()
        assert guest.stats.workers[0].state == "busy"
        gate.open()
        held.result(20)
        guest.restart()
        again = guest.stats.workers[0]
        assert again.restarts == 1
        assert again.started is not None
        assert again.started > worker.started


def test_one_too_many_is_leaving_until_it_is_gone(several: Mode, gate: Gate) -> None:
    with Guest.options(mode=several, max_workers=2).init() as guests:
        held = [guests.wait(gate.folder), guests.pid()]
        gate.entered()
        guests.resize(1)
        until(lambda: len(guests.stats.workers) == 1)
        assert [worker.state for worker in guests.stats.workers] == ["busy"]
        gate.open()
        for future in held:
            future.result(20)


def test_a_child_names_its_process_and_the_memory_that_it_uses() -> None:
    with Guest.options(mode="process").init() as guest:
        [before] = guest.stats.workers
        assert before.pid == guest.pid().result(20) != os.getpid()
        guest.hold().result(20)
        [after] = guest.stats.workers
        if before.rss is None or after.rss is None:
            pytest.skip("this system does not tell how much memory a process uses")
        assert after.rss - before.rss > 48 << 20


@pytest.mark.parametrize("mode", ["sync", "thread", "asyncio"])
def test_a_worker_of_this_process_has_none_of_its_own(mode: Mode) -> None:
    with Guest.options(mode=mode).init() as guest:
        assert guest.pid().result(20) == os.getpid()
        [worker] = guest.stats.workers
        assert (worker.pid, worker.rss) == (None, None)


def test_the_time_spent_in_limits_is_added_up(mode: Mode) -> None:
    with Pool(mode, limits=[Rate(10, per=1, burst=1)]) as pool:
        assert pool.stats.waited == 0
        began = CLOCK.monotonic()
        for _ in range(3):
            pool.submit(int).result(30)
        assert 0 < pool.stats.waited <= CLOCK.monotonic() - began


def test_what_waits_for_nothing_has_spent_no_time(mode: Mode) -> None:
    with Pool(mode, limits=[Slots(4)]) as pool:
        pool.submit(int).result(30)
        assert pool.stats.waited == 0


async def test_a_worker_that_starts_is_away() -> None:
    go = asyncio.Event()

    class Slow(Worker):
        async def start(self) -> None:
            await go.wait()

    slow = Slow.options(mode="asyncio").init()
    [worker] = slow.stats.workers
    assert (worker.state, worker.started) == ("away", None)
    go.set()
    async with slow:
        assert slow.stats.workers[0].state == "idle"


def test_one_that_could_not_be_started_again_is_away() -> None:
    class Once(Worker):
        times = 0

        def start(self) -> None:
            type(self).times += 1
            if self.times > 1:
                raise OSError("gone")

    with Once.options(mode="thread").init() as once:
        with pytest.raises(WorkerNotStarted):
            once.restart()
        assert once.stats.workers[0].restarts == 0
