"""Processes of workers that are killed again and again, and pools that come and go."""

from __future__ import annotations

import gc
import os
import random  # noqa: TID251 - the seed is in the name
import resource
import signal
import subprocess
import sys
import threading
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.pools.processes import CLOCK, place_of, runs, until
from treadle import Pool, Worker
from treadle.errors import WorkerCrashed
from treadle.pools.footprint import resident_bytes
from treadle.pools.future import Future
from treadle.pools.handle import Handle

WORKERS = 3


class Held(Worker):
    """Holds its caller up, with memory of its own beside it."""

    def hold(self, sign: Path, data: bytes) -> int:
        sign.touch()
        signal.pause()
        return len(data)

    def pid(self) -> int:
        return os.getpid()


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names alone


def children(parent: int) -> set[int]:
    """Those that a process has, the dead that nobody has reaped as well."""
    threads = Path(f"/proc/{parent}/task").glob("*/children")
    return {int(pid) for one in threads for pid in one.read_text().split()}


@pytest.mark.parametrize("seed", [4, 5])
def test_fifty_kills_of_running_calls_at_random(tmp_path: Path, seed: int) -> None:
    kill_at_random(tmp_path, seed, kills=50)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", [6, 7, 8, 9])
def test_a_thousand_kills_of_running_calls_at_random(tmp_path: Path, seed: int) -> None:
    kill_at_random(tmp_path, seed, kills=250)


def kill_at_random(folder: Path, seed: int, kills: int) -> None:
    """Kill one of several workers while its call runs: that call ends, others do not."""
    chance = random.Random(seed)
    # Enough not to travel through the socket.
    data = bytes(1 << 20)
    options: dict[str, Any] = {"mode": "process", "max_workers": WORKERS, "preload": __name__}
    with Held.options(balancing="round_robin", **options).init() as held:
        for worker in range(WORKERS):
            recovered(held, worker)
        helper = parent_of(place_of(held).pid)
        before = descriptors()
        took: list[float] = []
        for kill in range(kills):
            signs = [folder / f"{kill} {worker}" for worker in range(WORKERS)]
            calls: list[Future[int]] = [held.hold(sign, data) for sign in signs]
            until(lambda signs=signs: all(sign.exists() for sign in signs))
            order = chance.sample(range(WORKERS), WORKERS)
            for left, worker in enumerate(order, 1):
                os.kill(place_of(held, worker).pid, signal.SIGKILL)
                began = CLOCK.monotonic()
                error = calls[worker].exception(20)
                assert isinstance(error, WorkerCrashed), f"{seed=} {kill=}"
                assert error.signal == signal.SIGKILL
                assert sum(call.done() for call in calls) == left, f"{seed=} {kill=}"
                recovered(held, worker)
                took.append(CLOCK.monotonic() - began)
        # Not the slowest one: that says what else the machine had to do just then.
        assert median(took) < 0.5, f"{seed=}"
        lived = {place_of(held, worker).pid for worker in range(WORKERS)}
        assert children(helper) == lived, "no dead child is kept, and none too many"
        assert descriptors() == before
        assert [place.active for place in held._crew.places] == [0] * WORKERS
        assert boards() == WORKERS


def boards() -> int:
    """Pages of memory that this process shares with children."""
    return Path("/proc/self/maps").read_text().count("memfd:treadle-board")


def recovered(held: Handle[Any], worker: int) -> None:
    """Return once a worker carries out calls."""
    place = place_of(held, worker)
    until(lambda: place.pid != 0 and place._life is not None and place._life.ready)
    assert runs(place.pid)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


# -- the parent -----------------------------------------------------------------------------------

PARENT = """
import subprocess, sys, threading
from treadle import Pool

def start():
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid

if __name__ == "__main__":
    pool = Pool("process", max_workers=2)
    print(*[pool.submit(start).result(20) for _ in range(4)], flush=True)
    threading.Event().wait()
"""


def test_what_children_have_started_ends_with_the_parent() -> None:
    with subprocess.Popen([sys.executable, "-"], stdin=-1, stdout=-1, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(PARENT)
        parent.stdin.close()
        grandchildren = [int(word) for word in parent.stdout.readline().split()]
        assert len(grandchildren) == 4
        assert all(runs(pid) for pid in grandchildren)
        parent.kill()
        parent.wait(20)
        began = CLOCK.monotonic()
        until(lambda: not any(runs(pid) for pid in grandchildren))
        assert CLOCK.monotonic() - began < 1


# -- memory ---------------------------------------------------------------------------------------


def test_a_call_that_gets_no_memory_fails_alone() -> None:
    with Pool("process", max_workers=1) as pool:
        pid = pool.submit(os.getpid).result(20)
        error = pool.submit(swell).exception(20)
        assert isinstance(error, MemoryError)
        assert pool.submit(os.getpid).result(20) == pid


def swell() -> int:
    bound = resident_bytes() + (1 << 33)
    resource.setrlimit(resource.RLIMIT_AS, (bound, resource.RLIM_INFINITY))
    return len(bytes(1 << 34))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_memory_does_not_grow_with_the_calls() -> None:
    with Pool("process", max_workers=2) as pool:
        for_calls(pool, 10_000)
        before = resident_bytes()
        for_calls(pool, 50_000)
        gc.collect()
        assert resident_bytes() - before < 3 << 20


def for_calls(pool: Pool, number: int) -> None:
    for _ in range(number // 1000):
        for future in [pool.submit(abs, -1) for _ in range(1000)]:
            assert future.result(20) == 1


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("mode", ["thread", "process"])
def test_hundreds_of_pools_leave_nothing_behind(mode: Any) -> None:
    with Pool(mode, max_workers=2) as kept:
        # One that stays, so that what all of them share stays as well.
        assert kept.submit(abs, -1).result(20) == 1
        before = descriptors(), threading.active_count(), len(children(os.getpid()))
        for _ in range(300):
            with Pool(mode, max_workers=2) as pool:
                assert pool.submit(abs, -1).result(20) == 1
        assert (descriptors(), threading.active_count(), len(children(os.getpid()))) == before
