"""Actors that die: each end is told, nothing is done twice, and the worker lives on."""

from __future__ import annotations

import asyncio
import os
import random  # noqa: TID251 - the seed is in the name of the test
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from treadle import CallCancelled, Pool, Worker, WorkerCrashed, WorkerNotStarted
from treadle.testing.clock import eventually

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.leaves("socket:*")]


class Diary(Worker):
    """Writes down what is done, where the test can read it."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def start(self) -> None:
        note(self.file, "start")

    def write(self, text: str) -> str:
        note(self.file, text)
        return text

    def pid(self) -> int:
        return os.getpid()

    def wait(self, folder: Path) -> str:
        return wait_at(folder)

    def die_before(self, text: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)
        note(self.file, text)

    def die_after(self, text: str) -> None:
        note(self.file, text)
        os.kill(os.getpid(), signal.SIGKILL)

    def leave(self, status: int) -> None:
        os._exit(status)

    def hold(self, folder: Path) -> None:
        wait_at(folder)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


def diary(file: Path, **options: Any) -> Any:
    return Diary.options(mode="ray", **options).init(file)


@pytest.mark.parametrize(("death", "effects"), [("die_before", 0), ("die_after", 1)])
def test_a_death_is_reported_and_the_call_is_not_repeated(
    file: Path, death: str, effects: int
) -> None:
    with diary(file) as worker:
        with pytest.raises(WorkerCrashed, match=f"died while it carried out {death}"):
            getattr(worker, death)("effect").result(60)
        assert worker.write("after").result(60) == "after"
    assert notes(file).count("effect") == effects
    assert notes(file).count("start") == 2, "a fresh worker was started"


def test_of_many_calls_only_the_one_that_ran_is_blamed(file: Path) -> None:
    with diary(file) as worker:
        before = [worker.write(f"before {n}") for n in range(50)]
        fatal = worker.leave(0)
        after = [worker.write(f"after {n}") for n in range(50)]
        assert [one.result(60) for one in before] == [f"before {n}" for n in range(50)]
        assert isinstance(fatal.exception(60), WorkerCrashed)
        assert [one.result(60) for one in after] == [f"after {n}" for n in range(50)]
    written = [line for line in notes(file) if line != "start"]
    assert written == [*(f"before {n}" for n in range(50)), *(f"after {n}" for n in range(50))]


def test_an_actor_that_is_killed_from_outside_between_calls_is_replaced(file: Path) -> None:
    with diary(file) as worker:
        pid = worker.pid().result(60)
        os.kill(pid, signal.SIGKILL)
        # Whether the death is known yet or not: the call is carried out once.
        assert worker.write("once").result(60) == "once"
        assert worker.pid().result(60) != pid
    assert notes(file) == ["start", "start", "once"]


def test_an_actor_that_is_killed_while_it_waits_ends_its_call(file: Path, tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with diary(file) as worker:
        pid = worker.pid().result(60)
        held = worker.wait(gate.folder)
        behind = worker.write("behind")
        gate.entered()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            held.result(60)
        assert behind.result(60) == "behind"
    assert notes(file).count("behind") == 1


@pytest.mark.parametrize("seed", [11])
def test_deaths_at_random_lose_nothing_and_double_nothing(file: Path, seed: int) -> None:
    chance = random.Random(seed)
    fatal = {n for n in range(120) if chance.random() < 0.05}
    with diary(file) as worker:
        calls = [
            worker.die_after(str(n)) if n in fatal else worker.write(str(n)) for n in range(120)
        ]
        crashed = {n for n, call in enumerate(calls) if call.exception(100) is not None}
    assert crashed == fatal
    assert [line for line in notes(file) if line != "start"] == [str(n) for n in range(120)]


class Stillborn(Worker):
    """Dies when it is started, as often as its file says."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def start(self) -> None:
        note(self.file, "start")
        if len(notes(self.file)) != 2:
            os._exit(3)

    def ping(self) -> str:
        return "here"

    def die(self) -> None:
        os._exit(3)


def test_a_worker_that_dies_when_it_is_started_is_told_to_who_made_it(file: Path) -> None:
    with pytest.raises(WorkerNotStarted, match="could not be started: its actor has died"):
        Stillborn.options(mode="ray").init(file)
    assert notes(file) == ["start"]


def test_a_worker_that_cannot_be_replaced_ends_what_waits_for_it(file: Path) -> None:
    note(file, "not there yet")
    with Stillborn.options(mode="ray").init(file) as worker:
        fatal, waiting = worker.die(), worker.ping()
        assert isinstance(fatal.exception(60), WorkerCrashed)
        assert isinstance(waiting.exception(60), WorkerNotStarted)


def test_code_that_does_not_end_when_asked_is_ended_with_its_actor(
    file: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    with diary(file, patience=0.1) as worker:
        pid = worker.pid().result(60)
        held, behind = worker.hold(gate.folder), worker.write("behind")
        gate.entered()
        assert held.cancel()
        with pytest.raises(CallCancelled):
            held.result(60)
        assert behind.result(60) == "behind"
        assert worker.pid().result(60) != pid


def test_a_cancelled_call_that_waits_leaves_the_one_that_runs_alone(
    file: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    with diary(file, patience=0.1) as worker:
        pid = worker.pid().result(60)
        held, waiting = worker.wait(gate.folder), worker.write("never")
        gate.entered()
        assert waiting.cancel()
        with pytest.raises(CallCancelled):
            waiting.result(60)
        gate.open()
        assert held.result(60) == "through"
        assert worker.pid().result(60) == pid
    assert "never" not in notes(file)


def test_a_call_that_was_cancelled_just_before_a_death_is_not_carried_out(
    file: Path, tmp_path: Path
) -> None:
    gate = Gate(tmp_path / "gate")
    with diary(file) as worker:
        pid = worker.pid().result(60)
        held, waiting = worker.wait(gate.folder), worker.write("never")
        gate.entered()
        # It cannot answer any more.
        os.kill(pid, signal.SIGSTOP)
        assert waiting.cancel()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            held.result(60)
        with pytest.raises(CallCancelled):
            waiting.result(60)
        assert worker.write("after").result(60) == "after"
    assert "never" not in notes(file)


def test_nothing_is_left_of_an_actor_that_was_stopped(file: Path) -> None:
    with diary(file) as worker:
        pid = worker.pid().result(60)
        journals = list(Path("/dev/shm").glob(f"treadle-journal-{pid}-*"))
        assert len(journals) == 1
    asyncio.run(eventually(lambda: not Path(f"/proc/{pid}").exists()))
    assert not journals[0].exists()


def test_a_pool_of_functions_survives_too() -> None:
    with Pool("ray", max_workers=1) as pool:
        with pytest.raises(WorkerCrashed):
            pool.submit(os._exit, 7).result(60)
        assert pool.submit(len, "four").result(60) == 4


def test_after_a_shutdown_of_ray_nothing_hangs(file: Path) -> None:
    """In a process of its own: the cluster of the tests has to live on."""
    script = f"""
import ray
from pathlib import Path
from tests.pools.test_ray_deaths import Diary
from tests.pools.gates import Gate
gate = Gate(Path({str(file.parent / "gate")!r}))
worker = Diary.options(mode="ray").init(Path({str(file)!r}))
held = worker.wait(gate.folder)
gate.entered()
ray.shutdown()
print(type(held.exception(30)).__name__)
worker.stop(timeout=5)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.stdout.split()[-1:] == ["WorkerCrashed"], done.stderr
    assert done.returncode == 0, done.stderr
