"""Calls that are asked to end: cancelled, or too late."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable
from pathlib import Path
from typing import Any

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from treadle import AttemptTimeout, CallCancelled, Retry, Worker, stopping
from treadle.pools.crew import Crew
from treadle.pools.handle import Handle
from treadle.pools.options import Mode, read_pool_options
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission
from treadle.testing.clock import ManualClock, settle


class Slow(Worker):
    def __init__(self, file: Path) -> None:
        self.file = file
        self.calls = 0

    def stop(self) -> None:
        note(self.file, "stop")

    def wait(self, folder: Path) -> str:
        return wait_at(folder)

    async def sleep(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note(self.file, "cancelled")
            raise

    def halves(self, folder: Path) -> Awaitable[None]:
        """Plain code first, and then a coroutine."""
        wait_at(folder)
        return self.sleep()

    async def refuse(self, folder: Path) -> str:
        """Does not hear that it is cancelled."""
        (folder / "here").write_bytes(b"")
        going = asyncio.Event()
        while not (folder / "enough").exists():
            try:
                await asyncio.wait_for(going.wait(), 0.01)
            except (TimeoutError, asyncio.CancelledError):
                continue
        return "at last"

    def watch(self, folder: Path) -> None:
        """Plain code that asks whether it is to end."""
        (folder / "here").write_bytes(b"")
        while not stopping():
            pass
        note(self.file, "noticed")

    def count(self) -> int:
        self.calls += 1
        return self.calls


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_a_call_that_has_not_begun_never_begins(later: Mode, file: Path, gate: Gate) -> None:
    with Slow.options(mode=later).init(file) as slow:
        held = slow.wait(gate.folder)
        gate.entered()
        waiting = slow.count()
        assert waiting.cancel() is True
        with pytest.raises(CallCancelled):
            waiting.result(10)
        gate.open()
        assert held.result(10) == "through"
        assert slow.count().result(10) == 1


def test_a_coroutine_is_cancelled_and_the_worker_goes_on(later: Mode, file: Path) -> None:
    with Slow.options(mode=later).init(file) as slow:
        assert slow.count().result(10) == 1
        sleeping = slow.sleep()
        while not sleeping.running():
            pass
        assert sleeping.cancel() is True
        with pytest.raises(CallCancelled):
            sleeping.result(10)
        assert slow.count().result(10) == 2
        assert slow.stats.abandoned == 0


def test_a_coroutine_that_begins_after_it_was_cancelled(
    later: Mode, file: Path, gate: Gate
) -> None:
    with Slow.options(mode=later).init(file) as slow:
        assert slow.count().result(10) == 1
        halves = slow.halves(gate.folder)
        gate.entered()
        halves.cancel()
        with pytest.raises(CallCancelled):
            halves.result(10)
        gate.open()
        assert slow.count().result(10) == 2, "the same worker"
    assert notes(file)[-1] == "stop"


def test_plain_code_can_notice_that_it_is_to_end(later: Mode, file: Path, gate: Gate) -> None:
    with Slow.options(mode=later).init(file) as slow:
        assert slow.count().result(10) == 1
        watching = slow.watch(gate.folder)
        gate.entered()
        watching.cancel()
        with pytest.raises(CallCancelled):
            watching.result(10)
        assert slow.count().result(10) == 2, "the same worker"
        assert slow.stats.abandoned == 0
    assert notes(file) == ["noticed", "stop"]


def test_outside_of_a_call_nothing_is_to_end() -> None:
    assert stopping() is False


def test_a_thread_that_does_not_come_back_is_replaced_with_a_fresh_worker(
    file: Path, gate: Gate
) -> None:
    with Slow.options(mode="thread", patience=0.01).init(file) as slow:
        assert slow.count().result(10) == 1
        held = slow.wait(gate.folder)
        gate.entered()
        waiting = slow.count()
        held.cancel()
        with pytest.raises(CallCancelled):
            held.result(0)
        assert waiting.result(10) == 1, "by a fresh worker"
        assert slow.stats.abandoned == 1
        gate.open()
    while notes(file).count("stop") < 2:  # the abandoned worker is stopped when it comes back
        pass


def test_plain_code_beside_a_loop_that_does_not_come_back_loses_its_thread(
    file: Path, gate: Gate
) -> None:
    with Slow.options(mode="asyncio", patience=0.01).init(file) as slow:
        held = slow.wait(gate.folder)
        gate.entered()
        waiting = slow.count()
        held.cancel()
        assert waiting.result(10) == 1
        assert slow.stats.abandoned == 1
        gate.open()
    assert notes(file) == ["stop"]


def test_a_coroutine_that_does_not_hear_is_left_alone(file: Path, gate: Gate) -> None:
    with Slow.options(mode="asyncio", patience=0.01).init(file) as slow:
        deaf = slow.refuse(gate.folder)
        gate.entered()
        deaf.cancel()
        with pytest.raises(CallCancelled):
            deaf.result(10)
        assert slow.stats.abandoned == 1
        assert slow.count().result(10) == 1
        (gate.folder / "enough").touch()


# --------------------------------------------------------------------- too late


def test_an_attempt_that_takes_too_long_ends(later: Mode, file: Path) -> None:
    with Slow.options(mode=later, timeout=0.05).init(file) as slow:
        with pytest.raises(AttemptTimeout, match=r"sleep ran longer than 0\.05 s"):
            slow.sleep().result(10)
        assert slow.count().result(10) == 1


def test_plain_code_that_takes_too_long_ends_as_the_mode_can(
    later: Mode, file: Path, gate: Gate
) -> None:
    with Slow.options(mode=later, timeout=0.5, patience=0.05).init(file) as slow:
        late = slow.wait(gate.folder)
        gate.entered()
        with pytest.raises(AttemptTimeout):
            late.result(20)
        assert slow.count().result(20) == 1
        if later in ("thread", "asyncio"):
            gate.open()


def test_in_the_caller_a_late_end_is_told_afterwards(file: Path) -> None:
    with Slow.options(mode="sync", timeout=0.001).init(file) as slow:
        late = slow.call(_busy)
        with pytest.raises(AttemptTimeout):
            late.result()


def _busy(_: Slow) -> None:
    threading.Event().wait(0.01)


def test_an_attempt_that_was_too_late_is_followed_by_another(later: Mode, file: Path) -> None:
    options = Slow.options(mode=later, timeout=0.05, retry=Retry(1, backoff=0))
    with options.init(file) as slow, pytest.raises(AttemptTimeout):
        slow.sleep().result(20)
    assert notes(file).count("cancelled") == 2


async def test_the_time_of_an_attempt_begins_with_its_code(
    later: Mode, file: Path, gate: Gate
) -> None:
    """What waits in the line of its worker is not late yet."""
    clock = ManualClock()
    read = read_pool_options({"mode": later, "timeout": 10})
    crew = Crew(Plan(cls=Slow, args=(file,), name="Slow"), read, clock=clock)
    crew.start()
    slow = Handle(crew, Slow)
    # Its own time is over, but plain code that nobody interrupts yet holds the worker.
    held = Submission(Kind.METHOD, "wait", (gate.folder,))
    crew.give(held)
    await asyncio.to_thread(gate.entered)
    waiting = slow.count()
    await settle()
    clock.advance(30)
    await settle()
    assert not waiting.done()
    await asyncio.to_thread(gate.open)
    assert await waiting == 1
    await slow.astop()


class Early(Slow):
    """Its coroutine is made by plain code, which can be held."""

    def sleep_after(self, folder: Path) -> Any:
        wait_at(folder)
        return self.sleep()


def test_a_coroutine_that_begins_after_it_was_asked_to_end_is_cancelled(
    file: Path, gate: Gate
) -> None:
    with Early.options(mode="thread").init(file) as early:
        assert early.count().result(10) == 1
        sleeping = early.sleep_after(gate.folder)
        gate.entered()
        sleeping.cancel()
        gate.open()
        with pytest.raises(CallCancelled):
            sleeping.result(10)
        assert early.count().result(4) == 2, "the same worker, before its patience was over"
