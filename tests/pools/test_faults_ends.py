"""Ends of pools whose workers come and go."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from treadle import Retry, Worker
from treadle.pools.future import Future
from treadle.pools.options import Mode


class Guest(Worker):
    """Says when it has left."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def stop(self) -> None:
        note(self.file, f"stop {self.index}")

    def healthy(self) -> bool:
        note(self.file, f"healthy {self.index}")
        return False

    def wait(self, folder: Path) -> str:
        wait_at(folder)
        raise LookupError("nothing there")


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


def test_a_stop_waits_for_workers_that_were_too_many(
    several: Mode, tmp_path: Path, gate: Gate
) -> None:
    file = tmp_path / "notes"
    guests = Guest.options(mode=several, max_workers=2, balancing="round_robin").init(file)
    guests.call(index_of).result(60)
    held = guests.wait(gate.folder)
    gate.entered()
    guests.resize(1)
    stopping = threading.Thread(target=guests.stop)
    stopping.start()
    ended = guests._crew.ending.future
    while "stop 0" not in notes(file):
        pass
    assert not ended.done()
    gate.open()
    stopping.join()
    assert isinstance(held.failure, LookupError), "it had ended when the stop had"
    assert sorted(one for one in notes(file) if one.startswith("stop")) == ["stop 0", "stop 1"]
    assert "healthy 1" not in notes(file), "nobody asks who is about to leave"
    assert guests.stats.left.total == 1


def index_of(guest: Guest) -> int:
    return guest.index


def test_a_call_whose_loop_was_closed_can_be_cancelled(tmp_path: Path, gate: Gate) -> None:
    guests = Guest.options(mode="thread", retry=Retry(2)).init(tmp_path / "notes")
    loop = asyncio.new_event_loop()

    async def begin() -> Future[str]:
        future = guests.wait(gate.folder)
        await asyncio.to_thread(gate.entered)
        return future

    held = loop.run_until_complete(begin())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert held.cancel()
    assert held.cancelled()
    gate.open()
    guests.stop()
