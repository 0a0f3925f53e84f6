"""Threads of a pool of functions take from one line; workers keep a line each."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

import treadle
from treadle import AttemptTimeout, CallCancelled, Pool, Worker, WorkerStopped, calling, gather
from treadle.testing.clock import eventually


def held() -> tuple[threading.Event, threading.Event, Callable[[], str]]:
    began, leave = threading.Event(), threading.Event()

    def hold() -> str:
        began.set()
        leave.wait(20)
        return "held"

    return began, leave, hold


def test_a_long_call_holds_up_none_of_the_others() -> None:
    began, leave, hold = held()
    with Pool("thread", max_workers=2) as pool:
        long = pool.submit(hold)
        assert began.wait(10)
        # All of them by the other thread, however many were submitted at once.
        assert gather([pool.submit(abs, -n) for n in range(100)], timeout=10) == list(range(100))
        assert not long.done()
        leave.set()
        assert long.result(10) == "held"
        assert pool.stats.total == 101
        assert sorted(one.total for one in pool.stats.workers) == [1, 100]


def test_a_line_for_each_thread_where_somebody_asks_for_it() -> None:
    began, leave, hold = held()
    with Pool("thread", max_workers=2, balancing="round_robin") as pool:
        long = pool.submit(hold)
        assert began.wait(10)
        calls = [pool.submit(abs, -n) for n in range(4)]
        assert [calls[0].result(10), calls[2].result(10)] == [0, 2]
        assert not calls[1].done()
        leave.set()
        assert gather([long, *calls]) == ["held", 0, 1, 2, 3]


def test_a_worker_has_a_line_of_its_own() -> None:
    class Model(Worker):
        def where(self) -> int:
            return self.index

    with Model.options(mode="thread", max_workers=2).init() as model:
        assert gather([model.where() for _ in range(4)]) == [0, 1, 0, 1]


def test_calls_of_tasks_share_a_line() -> None:
    began, leave, hold = held()
    task: Any = treadle.task(name="hold")(hold)
    quick: Any = treadle.task(name="quick")(same)
    try:
        long = task.submit()
        assert began.wait(10)
        assert gather([quick.submit(n) for n in range(20)], timeout=10) == list(range(20))
        leave.set()
        assert long.result(10) == "held"
    finally:
        calling._of_no_app.close()
        calling._of_no_app.reopen()


def same(number: int) -> int:
    return number


def test_what_waits_in_the_line_is_counted_cancelled_and_dropped() -> None:
    began, leave, hold = held()
    pool = Pool("thread", max_workers=1)
    long = pool.submit(hold)
    assert began.wait(10)
    waiting = [pool.submit(abs, -n) for n in range(3)]
    assert (pool.stats.queued, pool.stats.active) == (3, 1)
    assert waiting[1].cancel()
    with pytest.raises(CallCancelled):
        waiting[1].result(0)
    stopping = threading.Thread(target=lambda: pool.stop(drain=False))
    stopping.start()
    with pytest.raises(WorkerStopped):
        waiting[0].result(10)
    leave.set()
    assert long.result(10) == "held"
    stopping.join(10)
    assert not stopping.is_alive()


def test_a_drained_pool_carries_out_its_line_first() -> None:
    began, leave, hold = held()
    with Pool("thread", max_workers=2) as pool:
        calls = [pool.submit(hold), pool.submit(hold), *(pool.submit(abs, -n) for n in range(50))]
        assert began.wait(10)
        leave.set()
    assert [call.result(0) for call in calls[2:]] == list(range(50))


def test_a_call_in_the_line_runs_out_of_time() -> None:
    """The time of an attempt counts from when it begins, that of the call from its start."""
    began, leave, hold = held()
    timeout = treadle.Timeout(attempt=10, total=0.2)
    with Pool("thread", max_workers=1, timeout=timeout) as pool:
        long = pool.submit(hold)
        late = pool.submit(abs, -1)
        with pytest.raises(AttemptTimeout):
            late.result(10)
        leave.set()
        assert long.exception(10) is not None
        assert began.is_set()


@pytest.mark.parametrize("workers", [1, 3])
async def test_a_pool_that_changes_its_size_loses_no_call(workers: int) -> None:
    began, leave, hold = held()
    with Pool("thread", max_workers=2) as pool:
        calls = [pool.submit(hold) for _ in range(2)]
        assert began.wait(10)
        calls += [pool.submit(str, n) for n in range(20)]
        pool.resize(workers)
        leave.set()
        assert await treadle.agather(calls) == ["held", "held", *map(str, range(20))]
        await eventually(lambda: pool.stats.active == 0)
        assert pool.stats.total == 22
        assert await pool.submit(abs, -5) == 5
        await pool.astop()


def test_a_restart_between_calls_of_the_line() -> None:
    with Pool("thread", max_workers=2, restart_every=3) as pool:
        assert gather([pool.submit(abs, -n) for n in range(60)]) == list(range(60))
        assert pool.stats.restarts > 0
