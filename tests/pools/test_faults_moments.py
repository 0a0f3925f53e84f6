"""What is asked of the process of a worker in the worst moment."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pools.gates import Gate, wait_at
from tests.pools.processes import place_of
from treadle import Pool, Worker
from treadle.errors import CallCancelled, NotEncodable, WorkerCrashed, WorkerStopped
from treadle.pools.places.process.board import Board
from treadle.pools.places.process.errand import Errand, packed_call
from treadle.pools.places.process.line import Line
from treadle.pools.submission import Kind, Submission


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


class Late(Worker):
    """Its second life begins at a gate."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def start(self) -> None:
        sign = self.folder / "lived"
        if sign.exists():
            wait_at(self.folder)
        sign.touch()

    def leave(self) -> None:
        os._exit(1)

    def give(self, number: int) -> int:
        return number


def test_a_call_that_is_cancelled_between_two_children_takes_no_other_with_it(gate: Gate) -> None:
    with Late.options(mode="process", preload=__name__).init(gate.folder) as late:
        dying = late.leave()
        waiting = [late.give(number) for number in range(5)]
        assert isinstance(dying.exception(20), WorkerCrashed)
        gate.entered()
        assert waiting[1].cancel()
        gate.open()
        others = [waiting[0], *waiting[2:]]
        assert [one.result(20) for one in others] == [0, 2, 3, 4]
        assert waiting[1].cancelled()
        assert place_of(late).active == 0


# -- the line, beside a board on which the test is the child --------------------------------------


@pytest.fixture
def board() -> Iterator[Board]:
    one = Board()
    yield one
    one.close()


def sent(line: Line, number: int) -> list[Errand]:
    """So many calls, which the child was sent."""
    for _ in range(number):
        call = Submission(Kind.FUNCTION, int)
        line.add(Errand(call, packed_call(call)))
    found = [line.next() for _ in range(number)]
    return [one for one in found if one is not None]


def test_a_call_that_is_taken_back_in_the_moment_in_which_it_begins_is_not_lost(
    board: Board,
) -> None:
    line = Line()
    (errand,) = sent(line, 1)
    # The child says that it begins, and looks whether it may once we were told that it has.
    board._words[0] = errand.number
    assert not line.withdraw(errand, board)
    assert not board.begin(errand.number)
    line.reported(skipped=True)
    assert line.next() is errand


def test_a_call_that_has_begun_is_not_recalled_for_a_step_of_the_workers_life(
    board: Board,
) -> None:
    line = Line()
    first, second, third = sent(line, 3)
    # The report of the first is on its way while the second runs.
    board.begin(first.number)
    board.begin(second.number)
    step = Submission(Kind.LIFE, "restart")
    line.hasten(Errand(step, packed_call(step)), board)
    line.reported(skipped=False)
    assert line.bereaved(board.begun) is second, "it was carried out, and is not again"
    assert [line.next(), line.next()][1] is third


def test_a_call_that_was_recalled_once_is_blamed_for_the_death_of_the_next_child(
    board: Board,
) -> None:
    line = Line()
    first, second = sent(line, 2)
    board.begin(first.number)
    step = Submission(Kind.LIFE, "healthy")
    urgent = Errand(step, packed_call(step))
    line.hasten(urgent, board)
    assert line.bereaved(board.begun) is first
    assert [line.next(), line.next()] == [urgent, second]
    line.reported(skipped=False)
    assert line.bereaved(begun=second.number) is second


def test_what_was_recalled_can_be_taken_back_while_it_waits(board: Board) -> None:
    line = Line()
    first, second = sent(line, 2)
    board.begin(first.number)
    step = Submission(Kind.LIFE, "restart")
    line.hasten(Errand(step, packed_call(step)), board)
    line.reported(skipped=False)
    assert not board.begin(second.number)
    line.reported(skipped=True)
    assert line.withdraw(second, board)
    # Another call that has the number of that one, once around the board, is not passed over.
    board.unskip(second.number)
    assert board.begin(second.number)


# -- the place ------------------------------------------------------------------------------------


def test_a_call_that_is_cancelled_on_its_way_to_the_place_never_runs(tmp_path: Path) -> None:
    with Pool("process", max_workers=1) as pool:
        place = place_of(pool)
        call = Submission(Kind.FUNCTION, os.mkdir, (str(tmp_path / "made"),))
        assert place.interrupt(call)
        assert isinstance(call.future.failure, CallCancelled)
        assert not place.interrupt(call)
        place.total += 1
        place.submit(call)
        assert pool.submit(len, "four").result(20) == 4
        assert place.active == 0
    assert not (tmp_path / "made").exists()


def test_calls_that_cannot_travel_are_counted_once() -> None:
    with Pool("process", max_workers=1) as pool:
        lock = threading.Lock()
        assert isinstance(pool.submit(id, lock).exception(20), NotEncodable)
        assert place_of(pool).active == 0


def test_without_draining_what_was_recalled_for_a_restart_is_ended(gate: Gate) -> None:
    late = Late.options(mode="process", preload=__name__).init(gate.folder)
    place = place_of(late)
    restarting = Submission(Kind.LIFE, "restart")
    held = late.call(at_gate, gate.folder)
    gate.entered()
    waiting = [late.give(number) for number in range(5)]
    place.hasten(restarting)
    gate.open()
    assert held.result(20) == "through"
    # The restart itself is at the gate now.
    gate.entered()
    late._crew.ending.begin(drain=False)
    gate.open()
    assert all(isinstance(one.exception(20), WorkerStopped) for one in waiting)
    late.stop()


def at_gate(late: Late, folder: Path) -> str:
    return wait_at(folder)
