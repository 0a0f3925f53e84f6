"""How many calls of tasks run at a time, and where."""

from __future__ import annotations

import os
import threading
from typing import Any

import pytest

import treadle
from treadle import InvalidOption, Treadle, UnknownOption, WaitTimeout, Worker

PATIENCE = 30.0


pytestmark = pytest.mark.usefixtures("no_background_loop_left")


class Meeting:
    """Calls that end once so many of them run at the same time; how many ever did."""

    def __init__(self, together: int) -> None:
        self.most = 0
        self._now = 0
        self._lock = threading.Lock()
        self._barrier = threading.Barrier(together)

    def attend(self, number: int) -> int:
        with self._lock:
            self._now += 1
            self.most = max(self.most, self._now)
        self._barrier.wait(PATIENCE)
        with self._lock:
            self._now -= 1
        return number


def pid(_: int) -> int:
    return os.getpid()


class Browser(Worker):
    """A worker, which has a number of its own."""


def test_a_task_says_how_many_of_its_calls_run_at_a_time() -> None:
    meeting = Meeting(5)
    task = treadle.task(mode="thread", max_workers=5)(function_of(meeting))
    assert list(task.map(range(20), buffer=20)) == list(range(20))
    assert meeting.most == 5


def function_of(meeting: Meeting) -> Any:
    def attend(number: int) -> int:
        return meeting.attend(number)

    attend.__qualname__ = "attend"
    return attend


def test_a_configured_number_holds_for_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_WORKERS__THREAD__MAX_WORKERS", "6")
    # These are the business of each task.
    monkeypatch.setenv("TREADLE_WORKERS__THREAD__TIMEOUT", "1ms")
    monkeypatch.setenv("TREADLE_WORKERS__MAX_QUEUED_TASKS", "1")
    common, own = Meeting(6), Meeting(3)
    with Treadle("memory://") as app:
        many = app.task(name="many")(function_of(common))
        few = app.task(name="few", max_workers=3)(function_of(own))
        assert list(many.map(range(12), buffer=12)) == list(range(12))
        assert list(few.map(range(12), buffer=12)) == list(range(12))
    assert (common.most, own.most) == (6, 3)


def test_its_calls_are_in_the_way_of_no_other_task() -> None:
    gate = threading.Event()
    with Treadle("memory://") as app:
        held = app.task(name="held", max_workers=1)(lambda: gate.wait(PATIENCE))
        other = app.task(name="other", max_workers=1)(lambda: "other")
        shared = app.task(name="shared")(lambda: "shared")
        waiting = [held.submit(), held.submit()]
        assert other.submit().result(PATIENCE) == "other"
        assert shared.submit().result(PATIENCE) == "shared"
        # Copies are the same task.
        with pytest.raises(WaitTimeout):
            held.options(retry=1).submit().wait(0.05)
        gate.set()
        assert [one.result(PATIENCE) for one in waiting] == [True, True]


def test_child_processes() -> None:
    with Treadle("memory://") as app:
        alone = app.task(mode="process", max_workers=1)(pid)
        assert len(set(alone.map(range(20)))) == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"max_workers": 0}, "max_workers=0 is not a whole number from 1"),
        ({"mode": "asyncio", "max_workers": 2}, r"limits=\[Slots\(…\)\] bounds them"),
        ({"worker": Browser, "max_workers": 2}, r"worker=Browser.options\(max_workers=…\)"),
    ],
    ids=["none", "a loop", "a worker"],
)
def test_a_number_that_cannot_be(options: dict[str, Any], says: str) -> None:
    app = Treadle("memory://")
    with pytest.raises(InvalidOption, match=says):
        app.task(name="task", **options)(pid)


def test_it_is_not_set_for_one_call() -> None:
    task: Any = treadle.task(pid)
    with pytest.raises(UnknownOption, match="where it is declared"):
        task.options(max_workers=3)
