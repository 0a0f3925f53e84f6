"""Calls that wait behind a long one move to a worker that has nothing to do."""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251 - the seed is in the name
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import treadle
from tests.pools.gates import Gate, note, notes, wait_at
from tests.pools.processes import place_of, until
from treadle import Pool, Slots, Worker, WorkerCrashed, WorkerStopped, calling, gather
from treadle.errors import CallCancelled
from treadle.pools.future import Future
from treadle.pools.handle import Handle
from treadle.pools.options import Mode
from treadle.pools.places.process.board import Board
from treadle.pools.places.process.errand import Errand, packed_call
from treadle.pools.places.process.line import Line
from treadle.pools.submission import Kind, Submission


class Clerk(Worker):
    """Does what it is given, and notes what that was."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file

    def number(self) -> int:
        return self.index

    def hold(self, folder: Path) -> str:
        return wait_at(folder)

    async def meet(self, number: int) -> int:
        await asyncio.sleep(0)  # noqa: TID251 - code of a user
        return number

    def write(self, text: str) -> None:
        assert self.file is not None
        note(self.file, text)

    def pause(self) -> None:
        signal.pause()

    def labour(self, text: str, rounds: int) -> str:
        self.write(text)
        sum(range(rounds))
        return text


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


@contextmanager
def held(gate: Gate, hold: Callable[[Path], Future[str]]) -> Iterator[Future[str]]:
    """A call that holds its worker for the block."""
    long = hold(gate.folder)
    gate.entered()
    try:
        yield long
    finally:
        gate.open()
        assert long.result(20) == "through"


# --------------------------------------------------------------------- what moves


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_long_call_of_a_function_holds_up_none_of_the_others(mode: Mode, gate: Gate) -> None:
    with (
        Pool(mode, max_workers=2) as pool,
        held(gate, lambda folder: pool.submit(wait_at, folder)) as long,
    ):
        assert gather([pool.submit(abs, -n) for n in range(20)], timeout=20) == list(range(20))
        assert not long.done()
        until(lambda: pool.stats.active == 1)
        assert [one.total for one in pool.stats.workers] in ([1, 20], [20, 1])


def test_a_long_call_of_a_worker_holds_up_none_of_the_others(gate: Gate) -> None:
    with (
        Clerk.options(mode="process", max_workers=2).init() as clerks,
        held(gate, clerks.hold) as long,
    ):
        assert gather([clerks.number() for _ in range(20)], timeout=20) == [1] * 20
        assert not long.done()
        until(lambda: clerks.stats.active == 1)
        assert [one.total for one in clerks.stats.workers] == [1, 20]


def test_coroutines_that_overlap_do_not_wait_for_a_child_that_is_held(gate: Gate) -> None:
    with (
        Clerk.options(mode="process", max_workers=2, slots=2).init() as clerks,
        held(gate, clerks.hold),
    ):
        # What counts as begun beside the one that holds its loop stays with it.
        calls = [clerks.meet(n) for n in range(40)]
        until(lambda: sum(call.done() for call in calls) >= 39)


def test_calls_of_tasks_do_not_wait_for_a_child_that_is_held(gate: Gate) -> None:
    long: Any = treadle.task(mode="process", name="long")(wait_at)
    quick: Any = treadle.task(mode="process", name="quick")(same)
    try:
        with held(gate, long.submit):
            assert gather([quick.submit(n) for n in range(20)], timeout=20) == list(range(20))
    finally:
        calling._of_no_app.close()
        calling._of_no_app.reopen()


def same(number: int) -> int:
    return number


def test_what_moves_is_what_it_was_when_it_was_submitted(gate: Gate) -> None:
    with (
        Pool("process", max_workers=2) as pool,
        held(gate, lambda folder: pool.submit(wait_at, folder)),
    ):
        before = len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - the names alone
        texts = [bytearray(b"a" * (1 << 19)) for _ in range(12)]
        counts = [pool.submit(bytes.count, bytes(text), b"a") for text in texts]
        lists = [[number] for number in range(12)]
        sums = [pool.submit(sum, one) for one in lists]
        for one in lists:
            one.append(1000)
        assert gather(counts, timeout=20) == [1 << 19] * 12
        assert gather(sums, timeout=20) == list(range(12))
        # The memory in which they travelled is given back.
        until(lambda: len(os.listdir("/proc/self/fd")) <= before)  # noqa: PTH208


def test_an_argument_that_moves_is_a_copy_of_the_callers(gate: Gate) -> None:
    with (
        Pool("process", max_workers=2) as pool,
        held(gate, lambda folder: pool.submit(wait_at, folder)),
    ):
        texts = [bytearray(b"a" * (1 << 19)) for _ in range(8)]
        counts = [pool.submit(bytearray.count, text, b"a") for text in texts]
        for text in texts:
            text[:] = b"b" * len(text)
        assert gather(counts, timeout=20) == [1 << 19] * 8


def test_a_call_counts_for_the_worker_that_carried_it_out(gate: Gate) -> None:
    options = Clerk.options(mode="process", max_workers=2, restart_every=15)
    with options.init() as clerks, held(gate, clerks.hold):
        assert gather([clerks.number() for _ in range(20)], timeout=20) == [1] * 20
        until(lambda: [one.restarts for one in clerks.stats.workers] == [0, 1])


class Asking:
    """An argument that has calls carried out while it is packed."""

    def __init__(self, ask: Callable[[], None]) -> None:
        self.ask = ask

    def __reduce__(self) -> tuple[type[list[Any]], tuple[()]]:
        self.ask()
        return list, ()


def kind(value: object) -> str:
    return type(value).__name__


def test_who_gives_a_call_is_not_waited_for(gate: Gate) -> None:
    """A look that comes due meanwhile would keep everybody from hearing of any end."""
    with (
        Pool("process", max_workers=2) as pool,
        held(gate, lambda folder: pool.submit(wait_at, folder)),
    ):
        waiting: list[Future[int]] = []

        def ask() -> None:
            waiting.extend(pool.submit(abs, -n) for n in range(10))
            # The other worker has none left but the one that is packed: it gets all that come now.
            until(lambda: pool.stats.workers[1].active == 1)
            assert sum(call.done() for call in waiting) >= 5
            for number in range(40):
                assert pool.submit(abs, -number).result(20) == number

        assert pool.submit(kind, Asking(ask)).result(20) == "list"
        assert sum(gather(waiting, timeout=20)) % 45 == 0


# --------------------------------------------------------------------- what stays


@pytest.mark.parametrize(
    "options",
    [
        {"balancing": "round_robin"},
        {"balancing": "sticky"},
        {"max_queued_tasks": 50},
        {"limits": [Slots(50, scope="worker")]},
    ],
    ids=["round_robin", "sticky", "max_queued_tasks", "limits"],
)
def test_who_asks_for_a_line_for_each_worker_has_it(options: dict[str, Any], gate: Gate) -> None:
    with Clerk.options(mode="process", max_workers=2, **options).init() as clerks:
        first: Any = clerks
        if options.get("balancing") == "sticky":
            lines = map(clerks.keyed, range(40))
            first = next(line for line in lines if line.number().result(20) == 0)
        with held(gate, first.hold):
            calls = [clerks.number() for _ in range(10)]
            until(lambda: sum(call.done() for call in calls) == 5)
            # The other one is idle between each of these, and takes nothing over.
            for _ in range(20):
                until(lambda one=clerks.number(), two=clerks.number(): one.done() or two.done())
            assert sum(call.done() for call in calls) == 5
        assert Counter(gather(calls, timeout=20)) == {0: 5, 1: 5}


def test_adopted_workers_keep_their_calls(gate: Gate) -> None:
    with Clerk.options(mode="process").adopt(Clerk(), Clerk()) as clerks, held(gate, clerks.hold):
        calls = [clerks.number() for _ in range(10)]
        until(lambda: sum(call.done() for call in calls) == 5)
        until(lambda: clerks.stats.workers[1].active == 0)
    assert Counter(gather(calls)) == {0: 5, 1: 5}


# --------------------------------------------------------------------- ends


def test_a_call_that_was_moved_and_is_cancelled_never_runs(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    first, second, third = (Gate(tmp_path / name) for name in ("one", "two", "three"))
    with Clerk.options(mode="process", max_workers=2).init(file) as clerks:
        with held(first, clerks.hold):
            other = clerks.hold(second.folder)
            second.entered()
            # Every other one of these waits behind the first gate, the others behind the second.
            calls = [clerks.hold(third.folder), *(clerks.write(f"{n}") for n in range(9))]
            second.open()
            assert other.result(20) == "through"
            # The other worker has done with its own, and stands at the gate of what it took over.
            third.entered()
            until(lambda: clerks.stats.workers[1].total > 1 + 5)
            waiting = [call for call in calls[1:] if not call.done()]
            moved = clerks.stats.workers[1].active - 1
            assert moved >= 1
            assert all(call.cancel() for call in waiting)
            third.open()
            assert calls[0].result(20) == "through"
        assert clerks.number().result(20) in (0, 1)
        for call in waiting:
            with pytest.raises(CallCancelled):
                call.result(0)
        done = [number for number, call in enumerate(calls[1:]) if call not in waiting]
    assert sorted(notes(file)) == [f"{number}" for number in done]


def test_a_stop_without_draining_ends_what_was_moved(tmp_path: Path) -> None:
    file = tmp_path / "ledger"
    first, second = Gate(tmp_path / "one"), Gate(tmp_path / "two")
    clerks = Clerk.options(mode="process", max_workers=2).init(file)
    held_up = [clerks.hold(first.folder)]
    first.entered()
    held_up += [clerks.hold(second.folder) for _ in range(6)]
    second.entered()
    calls = [clerks.write(f"{n}") for n in range(10)]
    clerks.stop(drain=False, timeout=0)
    for call in calls:
        with pytest.raises(WorkerStopped):
            call.result(20)
    assert all(isinstance(one.exception(20), WorkerStopped) for one in held_up)
    assert notes(file) == []


# --------------------------------------------------------------------- deaths


@pytest.mark.parametrize("seed", range(3))
def test_children_that_are_killed_while_calls_move(tmp_path: Path, seed: int) -> None:
    strike(tmp_path, seed, calls=400, kills=12)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(3, 7))
def test_children_that_are_killed_again_and_again_while_calls_move(
    tmp_path: Path, seed: int
) -> None:
    strike(tmp_path, seed, calls=3000, kills=100)


def strike(folder: Path, seed: int, calls: int, kills: int) -> None:
    """Kill children while others take over what waits there: each call ends once, and runs once."""
    chance = random.Random(seed)
    file = folder / "ledger"
    options: dict[str, Any] = {"mode": "process", "max_workers": 3, "preload": __name__}
    ends: Counter[int] = Counter()
    with Clerk.options(**options).init(file) as clerks:
        # A third of all calls is submitted behind this one.
        endless, crashes = clerks.pause(), 1
        futures: list[Future[str]] = []
        for number in range(calls):
            rounds = 300_000 if chance.random() < 0.2 else 3_000
            future = clerks.labour(f"{number}", rounds)
            future.add_done_callback(partial(ended, ends, number))
            futures.append(future)
            if number % (calls // kills) == 0:
                kill_child(clerks, chance.randint(1, 2))
                crashes += 1
            if chance.random() < 0.05:
                futures[chance.randrange(len(futures))].cancel()
        for future in futures:
            until(future.done, 60)
        assert not endless.done()
        kill_child(clerks, 0)
        assert isinstance(endless.exception(20), WorkerCrashed)
        until(lambda: clerks.stats.active == 0 and len(ends) == calls)
        assert clerks.stats.total == calls + 1, f"{seed=}"
    assert set(ends.values()) == {1}, f"{seed=}"
    check(futures, Counter(notes(file)), crashes, f"{seed=}")


def ended(ends: Counter[int], number: int, _: object) -> None:
    ends[number] += 1


def kill_child(clerks: Handle[Clerk], worker: int) -> None:
    place = place_of(clerks, worker)
    until(lambda: place._life is not None and place._life.ready)
    if (life := place._life) is not None:
        life.kill()


def check(futures: list[Future[str]], ran: Counter[str], crashes: int, seed: str) -> None:
    """No call ran twice, and none that was carried out or killed is told as anything else."""
    assert not {text: times for text, times in ran.items() if times > 1}, f"{seed}: ran twice"
    failures = [future.failure for future in futures]
    for number, failure in enumerate(failures):
        if failure is None:
            assert (futures[number].result(), ran[f"{number}"]) == (f"{number}", 1), seed
    others = [one for one in failures if one is not None and not isinstance(one, CallCancelled)]
    assert all(isinstance(one, WorkerCrashed) for one in others), f"{seed}: {others}"
    assert len(others) <= crashes, seed


# --------------------------------------------------------------------- the line
# Beside a board on which the test is the child.


@pytest.fixture
def board() -> Iterator[Board]:
    one = Board()
    yield one
    one.close()


def filled(line: Line, sent: int, waiting: int = 0) -> list[Errand]:
    """So many calls, of which the child was sent some."""
    for _ in range(sent + waiting):
        call = Submission(Kind.FUNCTION, int)
        line.add(Errand(call, packed_call(call)))
    for _ in range(sent):
        line.next()
    return list(line.open.values())


def test_the_oldest_calls_that_have_not_begun_move(board: Board) -> None:
    line = Line()
    errands = filled(line, sent=3, waiting=3)
    board.begin(errands[0].number)
    moved = line.give_up(3, board)
    assert [one.call for one in moved] == [one.call for one in errands[1:4]]
    assert list(line.open) == [errands[0].call, *(one.call for one in errands[4:])]
    # The child passes over those that it was sent.
    assert [board.begin(errand.number) for errand in errands[1:3]] == [False, False]
    assert all(one.number == 0 and not one.over for one in moved)


def test_a_call_that_begins_in_the_moment_in_which_it_is_to_move_stays(board: Board) -> None:
    line = Line()
    first, second, third = filled(line, sent=3)
    board.begin(first.number)
    board.begin(second.number)
    assert [one.call for one in line.give_up(3, board)] == [third.call]
    assert second.call in line.open


def test_a_child_that_dies_leaves_nothing_of_what_has_moved(board: Board) -> None:
    line, other = Line(), Line()
    first, second, third = filled(line, sent=3)
    board.begin(first.number)
    (moved,) = line.give_up(1, board)
    other.add(moved)
    # It passes the second over, and dies before it can say so.
    line.reported(skipped=False)
    assert not board.begin(second.number)
    assert line.bereaved(board.begun) is None, "nobody is blamed"
    assert line.next() is third
    assert line.next() is None
    assert other.next() is moved


def test_what_has_moved_is_not_done_again_when_the_child_passes_it_over(board: Board) -> None:
    line = Line()
    first, second = filled(line, sent=2)
    board.begin(first.number)
    assert len(line.give_up(1, board)) == 1
    assert line.reported(skipped=False) is first
    assert line.reported(skipped=True) is second
    assert line.next() is None
    assert not line.sent


def test_steps_of_the_workers_life_stay(board: Board) -> None:
    line = Line()
    errands = filled(line, sent=1, waiting=1)
    step = Submission(Kind.LIFE, "stop")
    line.add(Errand(step, packed_call(step)))
    assert [one.call for one in line.give_up(5, board)] == [errands[1].call]
    line.reported(skipped=False)
    stop = line.next()
    assert stop is not None
    assert stop.call is step
