"""What becomes of calls when the process of their worker dies."""

from __future__ import annotations

import ctypes
import os
import random  # noqa: TID251 - the seed is in the name
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pools.processes import CLOCK, lines, place_of, runs, until
from treadle import Pool, Worker
from treadle.errors import WorkerCrashed, WorkerNotStarted
from treadle.pools.future import Future
from treadle.pools.handle import Handle


class Mortal(Worker):
    """Dies in many ways, and notes what it does in a file."""

    def __init__(self, notes: Path | None = None) -> None:
        self.notes = notes
        self.calls = 0

    def start(self) -> None:
        if self.notes is not None:
            self.note(f"start {os.getpid()}")

    def note(self, text: str) -> str:
        """One write: it is there whole, whatever comes after."""
        assert self.notes is not None
        file = os.open(self.notes, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        os.write(file, f"{text}\n".encode())
        os.close(file)
        return text

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def pid(self) -> int:
        return os.getpid()

    def leave(self, status: int) -> None:
        os._exit(status)

    def fault(self) -> None:
        ctypes.string_at(0)

    def abort(self) -> None:
        os.abort()

    def hang(self) -> None:
        self.note("hang")
        signal.pause()


@pytest.mark.parametrize(
    ("die", "exit_code", "number"),
    [
        (lambda mortal: mortal.leave(0), 0, None),
        (lambda mortal: mortal.leave(3), 3, None),
        (lambda mortal: mortal.fault(), None, signal.SIGSEGV),
        (lambda mortal: mortal.abort(), None, signal.SIGABRT),
    ],
    ids=["exit 0", "exit 3", "segmentation fault", "abort"],
)
def test_a_death_ends_the_call_that_ran_and_says_how(
    die: Callable[[Any], Future[None]], exit_code: int | None, number: int | None
) -> None:
    with Mortal.options(mode="process").init() as mortal:
        assert mortal.count().result(10) == 1
        began = CLOCK.monotonic()
        error = die(mortal).exception(10)
        assert isinstance(error, WorkerCrashed)
        assert (error.exit_code, error.signal) == (exit_code, number)
        assert error.worker == "Mortal"
        # Another child, with a fresh worker.
        assert mortal.count().result(10) == 1
        assert CLOCK.monotonic() - began < 1


def test_a_kill_from_outside_ends_the_call_that_runs(tmp_path: Path) -> None:
    with Mortal.options(mode="process").init(tmp_path / "notes") as mortal:
        hanging = mortal.hang()
        until(lambda: "hang" in lines(tmp_path / "notes"))
        began = CLOCK.monotonic()
        kill(mortal)
        error = hanging.exception(10)
        assert CLOCK.monotonic() - began < 1
        assert isinstance(error, WorkerCrashed)
        assert (error.signal, error.oom) == (signal.SIGKILL, False)


def test_what_had_not_begun_is_carried_out_once_by_a_fresh_worker(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Mortal.options(mode="process").init(notes) as mortal:
        before = [mortal.note(f"before {number}") for number in range(5)]
        dying = mortal.leave(9)
        after = [mortal.note(f"after {number}") for number in range(300)]
        assert [one.result(10) for one in before] == [f"before {number}" for number in range(5)]
        assert isinstance(dying.exception(10), WorkerCrashed)
        assert [one.result(10) for one in after] == [f"after {number}" for number in range(300)]
    noted = lines(notes)
    assert [line for line in noted if line.startswith("after")] == [
        f"after {number}" for number in range(300)
    ]
    # The start hook ran again.
    assert sum(line.startswith("start") for line in noted) == 2


def test_the_dead_are_reaped() -> None:
    with Mortal.options(mode="process").init() as mortal:
        dead = mortal.pid().result(10)
        mortal.leave(0).exception(10)
        assert not Path(f"/proc/{dead}").exists()


def test_what_a_worker_has_started_dies_with_it(tmp_path: Path) -> None:
    with Pool("process", max_workers=1) as pool:
        grandchild = pool.submit(spawned).result(10)
        assert Path(f"/proc/{grandchild}").exists()
        assert isinstance(pool.submit(os._exit, 1).exception(10), WorkerCrashed)
        until(lambda: not runs(grandchild))


def spawned() -> int:
    return subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]).pid


def test_a_fork_that_comes_back_from_its_call_is_no_second_worker() -> None:
    with Pool("process", max_workers=1) as pool:
        assert pool.submit(doubled).result(10) == "once"
        assert pool.submit(len, "four").result(10) == 4


def doubled() -> str:
    pid = os.fork()
    if pid:
        os.waitpid(pid, 0)
    return "once"


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_nothing_is_done_twice_or_lost_when_children_die_at_random_moments(
    tmp_path: Path, seed: int
) -> None:
    stream_with_kills(tmp_path / "notes", seed, kills=8)


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("seed", range(4, 14))
def test_a_thousand_deaths(tmp_path: Path, seed: int) -> None:
    stream_with_kills(tmp_path / "notes", seed, kills=100)


def stream_with_kills(notes: Path, seed: int, kills: int) -> None:
    """A stream of calls whose worker is killed while it carries out one of them."""
    chance = random.Random(seed)
    calls: dict[str, Future[str]] = {}
    with Mortal.options(mode="process", preload=__name__).init(notes) as mortal:
        place = place_of(mortal)
        for kill in range(kills):
            names = [f"{kill}.{number}" for number in range(chance.randrange(20, 200))]
            fresh = {name: mortal.note(name) for name in names}
            calls |= fresh
            fresh[chance.choice(names)].exception(30)
            victim = place.pid
            if victim and not fresh[names[-1]].done():
                os.kill(victim, signal.SIGKILL)
        ends = {name: one.exception(30) for name, one in calls.items()}
    done = Counter(lines(notes))
    crashed = [name for name, error in ends.items() if error is not None]
    assert all(isinstance(ends[name], WorkerCrashed) for name in crashed), f"{seed=}"
    assert all(done[name] == 1 for name in calls if ends[name] is None), f"{seed=}"
    assert all(done[name] <= 1 for name in crashed), f"{seed=}"
    assert len(crashed) <= kills


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("quarter", range(4))
def test_a_thousand_kills_while_a_call_runs(tmp_path: Path, quarter: int) -> None:
    kill_while_running(tmp_path / f"notes {quarter}", 250)


def test_kills_while_a_call_runs(tmp_path: Path) -> None:
    kill_while_running(tmp_path / "notes", 10)


def kill_while_running(notes: Path, kills: int) -> None:
    with Mortal.options(mode="process", preload=__name__).init(notes) as mortal:
        for number in range(1, kills + 1):
            hanging, following = mortal.hang(), mortal.note(f"after {number}")
            until(lambda number=number: lines(notes).count("hang") == number)
            kill(mortal)
            assert isinstance(hanging.exception(10), WorkerCrashed)
            assert following.result(10) == f"after {number}"


def kill(handle: Handle[Any]) -> None:
    place = place_of(handle)
    until(lambda: place.pid != 0)
    os.kill(place.pid, signal.SIGKILL)


# -- starting ------------------------------------------------------------------------------------


class Unborn(Worker):
    """Dies while it is made, once a file is there."""

    def __init__(self, sign: Path) -> None:
        if sign.exists():
            sign.write_text(sign.read_text() + "x")
            os._exit(5)

    def leave(self) -> None:
        os._exit(6)

    def here(self) -> bool:
        return True


def test_a_worker_that_dies_while_it_is_made_is_an_error_of_making_it(tmp_path: Path) -> None:
    sign = tmp_path / "sign"
    sign.touch()
    with pytest.raises(WorkerNotStarted, match="exit status 5") as caught:
        Unborn.options(mode="process").init(sign)
    assert isinstance(caught.value.__cause__, WorkerCrashed)


def test_a_worker_that_cannot_be_made_again_is_tried_with_pauses_and_given_up(
    tmp_path: Path,
) -> None:
    sign = tmp_path / "sign"
    with Unborn.options(mode="process", preload=__name__).init(sign) as unborn:
        assert unborn.here().result(10)
        sign.touch()
        dying, waiting = unborn.leave(), unborn.here()
        assert isinstance(dying.exception(10), WorkerCrashed)
        began = CLOCK.monotonic()
        assert isinstance(waiting.exception(20), WorkerNotStarted)
        # 0.1, 0.2 and 0.4 seconds between the tries.
        assert CLOCK.monotonic() - began > 0.6
        tries = sign.read_text()
        assert len(tries) == 5
        # Whoever comes next is worth one more.
        assert isinstance(unborn.here().exception(20), WorkerNotStarted)
        sign.unlink()
        assert unborn.here().result(10)


class Failing(Worker):
    """Raises in its start hook."""

    def start(self) -> None:
        raise ConnectionRefusedError("no such host")


def test_an_error_in_the_start_hook_is_told_with_its_cause() -> None:
    with pytest.raises(WorkerNotStarted, match="no such host") as caught:
        Failing.options(mode="process").init()
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)
