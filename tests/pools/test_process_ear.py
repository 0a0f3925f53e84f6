"""Children that are heard in the event loop of who waits for them."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import threading
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pools.gates import Gate, wait_at
from tests.pools.processes import until
from treadle.errors import WorkerCrashed
from treadle.pools.places.place import life
from treadle.pools.places.process.board import Board
from treadle.pools.places.process.hub import hub, leave
from treadle.pools.places.process.place import ProcessPlace
from treadle.pools.resident import Plan
from treadle.pools.submission import Kind, Submission

BIG = bytes(1 << 22)


@contextmanager
def a_place(loop: asyncio.AbstractEventLoop) -> Iterator[ProcessPlace]:
    place = ProcessPlace(Plan(cls=dict, name="dict"), loop=loop)
    try:
        yield place
    finally:
        place.kill(WorkerCrashed("over"))


def called(place: ProcessPlace, fn: Any, *args: Any) -> Submission:
    call = Submission(Kind.FUNCTION, fn, args)
    place.total += 1
    place.submit(call)
    return call


async def test_what_a_child_says_is_heard_in_the_loop_and_nowhere_else() -> None:
    threads: list[int] = []
    with a_place(asyncio.get_running_loop()) as place:
        await life(place, "start")
        call = called(place, len, "four")
        call.future.add_done_callback(lambda _: threads.append(threading.get_ident()))
        assert await call.future == 4
        assert threads == [threading.get_ident()]
        assert place.here
    assert await asyncio.to_thread(place.join, 20)


async def test_more_than_a_socket_holds_goes_there_and_back() -> None:
    with a_place(asyncio.get_running_loop()) as place:
        await life(place, "start")
        calls = [called(place, bytes.upper, BIG[: 1 << 17]) for _ in range(40)]
        assert [len(await call.future) for call in calls] == [1 << 17] * 40
    assert await asyncio.to_thread(place.join, 20)


async def test_a_death_is_told_in_the_loop_and_another_child_goes_on() -> None:
    with a_place(asyncio.get_running_loop()) as place:
        await life(place, "start")
        dying, waiting = called(place, os._exit, 3), called(place, len, "four")
        with pytest.raises(WorkerCrashed) as caught:
            await dying.future
        assert caught.value.exit_code == 3
        assert await waiting.future == 4
    assert await asyncio.to_thread(place.join, 20)


def test_who_closes_its_loop_leaves_nothing_behind() -> None:
    loop = asyncio.new_event_loop()
    with a_place(loop) as place:
        loop.run_until_complete(_started(place))
        loop.close()
        running = called(place, signal.pause)
        until(lambda: place._life is not None and place._life.board.begun > 0)
    # What its loop can no more hear is told by the thread that hears of deaths.
    assert place.join(20)
    assert isinstance(running.future.exception(20), WorkerCrashed)


async def _started(place: ProcessPlace) -> None:
    await life(place, "start")


def test_the_hub_keeps_nothing_of_what_it_heard_last() -> None:
    """Until it hears more, which may be never."""
    used = hub()
    here, there = socket.socketpair()

    class Hearer:
        def heard(self) -> None:
            used.forget(there)

    hearer = Hearer()
    gone = weakref.ref(hearer)
    try:
        used.watch(there, hearer.heard)
        here.send(b"\0")
        until(lambda: there.fileno() < 0)
        del hearer
        until(lambda: gone() is None)
    finally:
        here.close()
        leave(used)


async def test_patience_with_a_call_is_no_end_of_another_when_the_loop_is_held_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(tmp_path / "gate")
    killed: list[int] = []
    with a_place(asyncio.get_running_loop()) as place:
        await life(place, "start")
        first, second = called(place, len, "four"), called(place, wait_at, gate.folder)
        # The report of the first waits to be heard while the second runs.
        gate.entered()
        child, errand = place._life, place._line.open[first]
        assert child is not None
        with monkeypatch.context() as patch:
            patch.setattr(child, "kill", lambda: killed.append(1))
            place._insist(child, errand)
            place._kill(child, errand)
        assert not child.retiring
        assert not killed
        gate.open()
        assert await second.future == "through"
        assert await first.future == 4
    assert await asyncio.to_thread(place.join, 20)


async def test_a_child_whose_call_is_interrupted_begins_no_other(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with a_place(asyncio.get_running_loop()) as place:
        await life(place, "start")
        before = place.pid
        first, second = called(place, wait_at, gate.folder), called(place, os.getpid)
        await asyncio.to_thread(gate.entered)
        assert place._life is not None
        place._insist(place._life, place._line.open[first])
        gate.open()
        await first.future
        assert await second.future != before
    assert await asyncio.to_thread(place.join, 20)


async def test_calls_are_taken_back_from_the_end_and_none_before_one_that_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(tmp_path / "gate")
    asked: list[int] = []

    def skip(board: Board, number: int) -> bool:
        asked.append(number)
        return len(asked) < 2 and real(board, number)

    with a_place(asyncio.get_running_loop()) as place:
        await life(place, "start")
        first, *others = (
            called(place, wait_at, gate.folder),
            *[called(place, len, "four") for _ in range(3)],
        )
        await asyncio.to_thread(gate.entered)
        numbers = [place._line.open[one].number for one in others]
        real = Board.skip
        monkeypatch.setattr(Board, "skip", skip)
        assert place.take_back(others) == others[2:]
        assert asked == [numbers[2], numbers[1]]
        gate.open()
        await first.future
        assert [await one.future for one in others[:2]] == [4, 4]
    assert await asyncio.to_thread(place.join, 20)
