"""Which worker gets a call, how many may wait, and how many workers there are."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from tests.pools.processes import place_of
from treadle import InvalidOption, PoolFull, Retry, Worker, WorkerNotStarted, WorkerStopped
from treadle.pools.options import Mode

AT_ONCE = Retry(2, backoff=0.0)


class Seat(Worker):
    """Says which of several it is."""

    def __init__(self, file: Path | None = None) -> None:
        self.file = file
        self.served = 0

    def start(self) -> None:
        if self.file is not None:
            note(self.file, f"start {self.index}")

    def stop(self) -> None:
        if self.file is not None:
            note(self.file, f"stop {self.index}")

    def number(self) -> int:
        return self.index

    def serve(self) -> int:
        self.served += 1
        return self.served

    def wait(self, folder: Path) -> int:
        wait_at(folder)
        return self.index

    def fail(self) -> None:
        raise ValueError("no")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@contextmanager
def held(seats: Any, folder: Path) -> Iterator[Gate]:
    """A call that holds its worker for the block."""
    gate = Gate(folder)
    future = seats.wait(folder)
    gate.entered()
    try:
        yield gate
    finally:
        gate.open()
        future.result(10)


# --------------------------------------------------------------------- balancing


def test_calls_go_round(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=3).init() as seats:
        assert [seats.number().result() for _ in range(7)] == [0, 1, 2, 0, 1, 2, 0]


def test_the_worker_with_the_fewest_calls_under_way_is_next(several: Mode, tmp_path: Path) -> None:
    options = Seat.options(mode=several, max_workers=2, balancing="least_active")
    with options.init() as seats, held(seats, tmp_path / "one"):
        assert {seats.number().result() for _ in range(5)} == {1}


def test_the_worker_with_the_fewest_calls_so_far_is_next(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=3, balancing="least_total").init() as seats:
        numbers = Counter(seats.number().result() for _ in range(9))
        assert numbers == {0: 3, 1: 3, 2: 3}
        seats.resize(4)
        assert [seats.number().result() for _ in range(3)] == [3, 3, 3]


def test_chance_gives_every_worker_its_share(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=2, balancing="random").init() as seats:
        numbers = Counter(future.result() for future in [seats.number() for _ in range(400)])
    assert min(numbers.values()) > 100


def test_calls_of_one_key_go_to_one_worker(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=3, balancing="sticky").init() as seats:
        keys = [f"user-{number}" for number in range(30)]
        first = {key: seats.keyed(key).number().result() for key in keys}
        again = {key: seats.keyed(key).number().result() for key in keys}
    assert first == again
    assert set(first.values()) == {0, 1, 2}


def test_when_a_worker_comes_only_the_keys_move_that_it_gets(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=2, balancing="sticky").init() as seats:
        keys = [f"user-{number}" for number in range(30)]
        before = {key: seats.keyed(key).number().result() for key in keys}
        seats.resize(3)
        after = {key: seats.keyed(key).number().result() for key in keys}
    moved = {key for key in keys if before[key] != after[key]}
    assert moved
    assert {after[key] for key in moved} == {2}


# --------------------------------------------------------------------- as many as may wait


def test_what_exceeds_the_bound_is_refused(later: Mode, tmp_path: Path) -> None:
    options = Seat.options(mode=later, max_queued_tasks=2, on_full="raise")
    with options.init() as seats:
        with held(seats, tmp_path / "one"):
            waiting = seats.number()
            with pytest.raises(PoolFull, match="max_queued_tasks=2"):
                seats.number()
            assert not waiting.done()
        assert waiting.result() == 0
        assert seats.number().result() == 0, "there is room again"


def test_what_exceeds_the_bound_lines_up(later: Mode, tmp_path: Path) -> None:
    with Seat.options(mode=later, max_queued_tasks=1, on_full="queue").init() as seats:
        with held(seats, tmp_path / "one"):
            waiting = [seats.serve() for _ in range(10)]
            assert seats.stats.queued == 10
            assert seats.stats.active == 1
        assert [future.result() for future in waiting] == list(range(1, 11))


def test_who_exceeds_the_bound_waits_for_room(later: Mode, tmp_path: Path) -> None:
    with Seat.options(mode=later, max_queued_tasks=1).init() as seats:
        submitted = threading.Event()

        def submit() -> None:
            seats.number()
            submitted.set()

        with held(seats, tmp_path / "one"):
            thread = threading.Thread(target=submit)
            thread.start()
            thread.join(0.05)
            assert not submitted.is_set()
        thread.join()
        assert submitted.is_set()


async def test_in_a_loop_nothing_waits_for_room(later: Mode) -> None:
    async with Seat.options(mode=later, max_queued_tasks=1).init() as seats:
        futures = [seats.serve() for _ in range(20)]
        assert [await future for future in futures] == list(range(1, 21))


def test_who_waits_for_room_is_refused_when_the_pool_stops(later: Mode, tmp_path: Path) -> None:
    seats = Seat.options(mode=later, max_queued_tasks=1).init()
    refused: list[BaseException] = []
    gate = Gate(tmp_path / "one")
    running = seats.wait(gate.folder)
    gate.entered()

    def submit() -> None:
        try:
            seats.number()
        except WorkerStopped as error:
            refused.append(error)

    waiting = threading.Thread(target=submit)
    waiting.start()
    stopping = threading.Thread(target=seats.stop)
    stopping.start()
    waiting.join()
    assert len(refused) == 1
    gate.open()
    stopping.join()
    assert running.result() == 0


def test_a_stop_carries_out_what_lines_up(later: Mode, tmp_path: Path) -> None:
    seats = Seat.options(mode=later, max_queued_tasks=1, on_full="queue").init()
    with held(seats, tmp_path / "one"):
        waiting = [seats.serve() for _ in range(5)]
        stopping = threading.Thread(target=seats.stop)
        stopping.start()
    stopping.join()
    assert [future.result() for future in waiting] == [1, 2, 3, 4, 5]


def test_a_stop_without_draining_ends_what_lines_up(later: Mode, tmp_path: Path) -> None:
    seats = Seat.options(mode=later, max_queued_tasks=1, on_full="queue").init()
    with held(seats, tmp_path / "one"):
        waiting = [seats.serve() for _ in range(5)]
        stopping = threading.Thread(target=seats.stop, kwargs={"drain": False})
        stopping.start()
        for future in waiting:
            with pytest.raises(WorkerStopped):
                future.result(10)
    stopping.join()


def test_the_calls_of_a_full_workers_key_hold_up_no_others(several: Mode, tmp_path: Path) -> None:
    options = Seat.options(
        mode=several, max_workers=2, balancing="sticky", max_queued_tasks=1, on_full="queue"
    )
    with options.init() as seats:
        homes = {key: seats.keyed(key).number().result() for key in range(20)}
        mine = next(key for key in homes if homes[key] == 0)
        other = next(key for key in homes if homes[key] == 1)
        with held(seats.keyed(mine), tmp_path / "one"):
            stuck = [seats.keyed(mine).number() for _ in range(3)]
            assert [seats.keyed(other).number().result(10) for _ in range(3)] == [1, 1, 1]
            assert not any(future.done() for future in stuck)
        assert [future.result(10) for future in stuck] == [0, 0, 0]


def test_no_worker_has_more_than_the_bound(several: Mode, tmp_path: Path) -> None:
    options = Seat.options(mode=several, max_workers=2, max_queued_tasks=1, on_full="queue")
    with options.init() as seats, held(seats, tmp_path / "one"):
        assert [seats.number().result(10) for _ in range(6)] == [1] * 6


def test_further_attempts_do_not_count_against_the_bound(later: Mode) -> None:
    options = Seat.options(mode=later, max_queued_tasks=1, on_full="queue", retry=AT_ONCE)
    with options.init() as seats:
        failing = [seats.fail() for _ in range(4)]
        assert all(isinstance(future.exception(10), ValueError) for future in failing)
        assert seats.stats.total == 12


def test_many_threads_share_a_full_pool(later: Mode) -> None:
    with Seat.options(mode=later, max_queued_tasks=2).init() as seats:
        results: list[int] = []

        def submit() -> None:
            results.extend(seats.serve().result(30) for _ in range(25))

        threads = [threading.Thread(target=submit) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(results) == list(range(1, 151))


# --------------------------------------------------------------------- how many there are


def test_resizing_loses_no_call(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=1).init() as seats:
        futures = []
        for size in (4, 1, 3, 2, 1):
            futures += [seats.number() for _ in range(20)]
            seats.resize(size)
            assert len(seats.stats.workers) == size
        futures += [seats.number() for _ in range(20)]
        assert all(future.result(10) in range(4) for future in futures)
        assert seats.stats.total == 120


def test_those_too_many_end_what_they_were_given(several: Mode, file: Path, tmp_path: Path) -> None:
    with Seat.options(mode=several, max_workers=2).init(file) as seats:
        seats.number().result()
        with held(seats, tmp_path / "one"):  # in the second
            seats.resize(1)
            assert seats.number().result(10) == 0
            assert "stop 1" not in notes(file)
        while "stop 1" not in notes(file):
            pass
        assert seats.stats.left.total == 1


def test_many_threads_call_while_the_pool_is_resized(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=2).init() as seats:
        done: list[int] = []
        calling = threading.Event()

        def call() -> None:
            for _ in range(100):
                done.append(seats.number().result(30))
                calling.set()

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        calling.wait()
        for size in (1, 3, 1, 2, 1, 4, 1):
            seats.resize(size)
        for thread in threads:
            thread.join()
    assert len(done) == 300


def test_a_pool_without_workers_is_refused(several: Mode) -> None:
    with Seat.options(mode=several).init() as seats:
        with pytest.raises(InvalidOption, match="max_workers=0"):
            seats.resize(0)
        assert seats.number().result() == 0


def test_one_event_loop_has_one_worker() -> None:
    with (
        Seat.options(mode="asyncio").init() as seats,
        pytest.raises(InvalidOption, match="max_workers=2"),
    ):
        seats.resize(2)


class Fragile(Worker):
    def start(self) -> None:
        if self.index > 0:
            raise OSError("only one")

    def number(self) -> int:
        return self.index


def test_when_a_new_worker_cannot_start_there_are_as_many_as_before(several: Mode) -> None:
    with Fragile.options(mode=several).init() as fragile:
        with pytest.raises(WorkerNotStarted, match="only one"):
            fragile.resize(3)
        assert {fragile.number().result() for _ in range(5)} == {0}


# --------------------------------------------------------------------- a worker for each call


def test_each_call_has_a_worker_of_its_own(several: Mode, file: Path) -> None:
    with Seat.options(mode=several, on_demand=True, max_workers=2).init(file) as seats:
        assert notes(file) == [], "none before the first call"
        assert [seats.serve().result() for _ in range(3)] == [1, 1, 1]
    assert [line.split()[0] for line in notes(file)].count("stop") == 3


@pytest.mark.parametrize("bound", [2, 0])
def test_there_are_no_more_workers_than_allowed(
    several: Mode, file: Path, tmp_path: Path, bound: int
) -> None:
    options = Seat.options(mode=several, on_demand=True, max_workers=bound)
    with options.init(file) as seats, held(seats, tmp_path / "1"), held(seats, tmp_path / "2"):
        third = seats.serve()
        if bound == 0:
            assert third.result(10) == 1
        else:
            assert not third.done()
            assert "start 2" not in notes(file)
    assert third.result(10) == 1


def test_a_worker_on_demand_that_cannot_start_fails_its_call(several: Mode) -> None:
    with Broken.options(mode=several, on_demand=True).init() as broken:
        for _ in range(3):
            with pytest.raises(WorkerNotStarted, match="no such file"):
                broken.go().result(10)


class Broken(Worker):
    def __init__(self) -> None:
        raise OSError("no such file")

    def go(self) -> None: ...


def test_blocking_workers_on_demand_give_results(several: Mode) -> None:
    with Seat.options(mode=several, on_demand=True, blocking=True).init() as seats:
        assert [seats.serve() for _ in range(3)] == [1, 1, 1]


def test_a_stop_without_draining_ends_calls_that_have_no_worker_yet(
    several: Mode, tmp_path: Path
) -> None:
    seats = Seat.options(mode=several, on_demand=True).init()
    with held(seats, tmp_path / "one"):
        waiting = [seats.serve() for _ in range(3)]
        stopping = threading.Thread(target=seats.stop, kwargs={"drain": False})
        stopping.start()
        for future in waiting:
            with pytest.raises(WorkerStopped):
                future.result(10)
    stopping.join()


# --------------------------------------------------------------------- numbers


def test_the_numbers_say_what_was_done(mode: Mode) -> None:
    with Seat.options(mode=mode).init() as seats:
        for _ in range(5):
            seats.serve().result()
        for _ in range(2):
            seats.fail().exception()
        # A future ends a moment before its worker has it counted.
        while (stats := seats.stats).active:
            pass
        assert (stats.total, stats.ended, stats.failed, stats.queued) == (7, 7, 2, 0)
        assert stats.busy > 0
        assert [one.index for one in stats.workers] == [0]


def test_nobody_has_been_busy_for_less_than_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report may come at the moment in which a call is given that is counted from then on."""
    with Seat.options(mode="process").init() as seats:
        seats.serve().result()
        place = place_of(seats)
        lock = place._lock

        class AfterAnother:
            def __enter__(self) -> None:
                lock.acquire()
                place._since = place._now()

            def __exit__(self, *error: object) -> None:
                lock.release()

        before = seats.stats.busy
        monkeypatch.setattr(place, "_lock", AfterAnother())
        for _ in range(20):
            seats.serve().result()
        assert seats.stats.busy >= before


def test_the_numbers_of_workers_that_left_are_kept(several: Mode) -> None:
    with Seat.options(mode=several, max_workers=3).init() as seats:
        for _ in range(9):
            seats.serve().result()
        seats.resize(1)
        while seats.stats.left.total < 6 or seats.stats.active:
            pass
        assert seats.stats.total == 9
        assert seats.stats.workers[0].total == 3
