"""Workers restarted: when asked, after so many calls, when they are not well."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from tests.pools.processes import until
from treadle import InvalidOption, Worker, WorkerNotStarted, WorkerStopped
from treadle.errors import Blocking
from treadle.pools.crew import Crew
from treadle.pools.future import Future
from treadle.pools.handle import Handle
from treadle.pools.options import Mode, read_pool_options
from treadle.pools.resident import Plan
from treadle.testing.clock import ManualClock, eventually


class Patient(Worker):
    """Gets worse with each failure."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.calls = 0
        self.ill = False

    def start(self) -> None:
        note(self.file, f"start {self.index}")
        if (self.file.parent / "broken").exists():
            raise OSError("out of order")

    def stop(self) -> None:
        note(self.file, f"stop {self.index}")

    async def healthy(self) -> bool:
        note(self.file, f"asked {self.index}")
        return not self.ill

    def count(self) -> int:
        self.calls += 1
        return self.calls

    def number(self) -> int:
        return self.index

    def fall_ill(self) -> None:
        self.ill = True
        raise ValueError("ouch")

    def stumble(self) -> None:
        raise ValueError("oops")


class Phoenix(Worker):
    """Has a restart of its own."""

    def __init__(self) -> None:
        self.lives = 1
        self.fails = False

    def restart(self) -> None:
        if self.fails:
            raise OSError("too wet")
        self.lives += 1

    def count(self) -> int:
        return self.lives

    def drown(self) -> None:
        self.fails = True


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


def test_a_restart_makes_the_worker_anew(mode: Mode, file: Path) -> None:
    with Patient.options(mode=mode).init(file) as patient:
        assert [patient.count().result() for _ in range(3)] == [1, 2, 3]
        patient.restart()
        assert patient.count().result() == 1
        assert patient.stats.restarts == 1
    assert notes(file) == ["start 0", "stop 0", "start 0", "stop 0"]


async def test_a_restart_is_awaited_in_a_loop(later: Mode, file: Path) -> None:
    async with Patient.options(mode=later).init(file) as patient:
        assert await patient.count() == 1
        await patient.arestart()
        assert await patient.count() == 1


def test_a_class_can_say_how_it_restarts(mode: Mode) -> None:
    with Phoenix.options(mode=mode).init() as phoenix:
        phoenix.restart()
        assert phoenix.count().result() == 2


def test_when_its_own_restart_fails_the_worker_is_made_anew(mode: Mode) -> None:
    with Phoenix.options(mode=mode).init() as phoenix:
        phoenix.restart()
        phoenix.drown().result()
        phoenix.restart()
        assert phoenix.count().result() == 1


def test_workers_restart_one_after_another(several: Mode, file: Path) -> None:
    with Patient.options(mode=several, max_workers=3).init(file) as patient:
        patient.restart()
    assert notes(file)[3:9] == ["stop 0", "start 0", "stop 1", "start 1", "stop 2", "start 2"]


def test_one_worker_of_several_is_restarted(several: Mode, file: Path) -> None:
    with Patient.options(mode=several, max_workers=3).init(file) as patient:
        patient.restart(1)
        with pytest.raises(InvalidOption, match="index=7 is no worker of Patient"):
            patient.restart(7)
        assert [one.restarts for one in patient.stats.workers] == [0, 1, 0]


def test_a_restart_loses_no_call_that_waits(later: Mode, file: Path) -> None:
    with Patient.options(mode=later).init(file) as patient:
        futures = [patient.count() for _ in range(50)]
        patient.restart()
        futures += [patient.count() for _ in range(50)]
        values = [future.result() for future in futures]
    assert values[-1] <= 100
    assert len(values) == 100


@pytest.mark.parametrize("failing", [False, True])
def test_a_worker_is_restarted_after_so_many_calls_however_they_end(
    mode: Mode, file: Path, failing: bool
) -> None:
    with Patient.options(mode=mode, restart_every=3).init(file) as patient:
        counts: list[Any] = []
        for number in range(9):
            if failing and number % 3 == 1:
                assert isinstance(patient.stumble().exception(), ValueError)
                counts.append("failed")
            else:
                counts.append(patient.count().result())
            if number % 3 == 2:
                _restarted(patient, number // 3 + 1)
    assert counts == ([1, "failed", 2] if failing else [1, 2, 3]) * 3


def _restarted(patient: Any, times: int) -> None:
    # A worker restarts beside the caller: the next call waits for it, the numbers do not.
    while patient.stats.restarts < times:
        pass


def test_after_a_failure_a_worker_is_asked_and_restarted_when_it_is_not_well(
    mode: Mode, file: Path
) -> None:
    with Patient.options(mode=mode).init(file) as patient:
        assert patient.count().result() == 1
        with pytest.raises(ValueError, match="oops"):
            patient.stumble().result()
        assert patient.count().result() == 2
        while "asked 0" not in notes(file):
            pass
        with pytest.raises(ValueError, match="ouch"):
            patient.fall_ill().result()
        _restarted(patient, 1)
        assert patient.count().result() == 1
    assert notes(file).count("start 0") == 2


def test_a_worker_that_is_well_is_left_alone(mode: Mode, file: Path) -> None:
    with Patient.options(mode=mode).init(file) as patient:
        for _ in range(5):
            patient.stumble().exception()
        assert patient.stats.restarts == 0


async def test_workers_are_asked_at_intervals(later: Mode, file: Path) -> None:
    clock = ManualClock()
    patient = _handle(later, file, clock, probe_every=10)
    await eventually(lambda: "start 0" in notes(file))
    for times in (1, 2, 3):
        await _advance_until(clock, 10, lambda times=times: notes(file).count("asked 0") >= times)
    await patient.astop()


async def _advance_until(clock: ManualClock, seconds: float, condition: Any) -> None:
    """Let the loop of the workers arm its timer, and then be due, until something has happened.

    A worker that has not answered yet is not asked again.
    """

    def advanced() -> bool:
        if clock._alarms and not condition():
            clock.advance(seconds)
        return condition()

    await eventually(advanced)


async def _moving(clock: ManualClock, condition: Callable[[], bool]) -> None:
    """Move the clock until something has happened."""

    def moved() -> bool:
        clock.advance(0.05)
        return condition()

    await eventually(moved)


def _handle(
    mode: Mode, file: Path, clock: ManualClock, workers: int = 1, **options: Any
) -> Handle[Patient]:
    read = read_pool_options({"mode": mode, "max_workers": workers, **options})
    crew = Crew(Plan(cls=Patient, args=(file,), name="Patient"), read, clock=clock)
    crew.start()
    return Handle(crew, Patient)


# --------------------------------------------------------------------- restarts in vain


def test_a_worker_that_cannot_be_restarted_ends_what_waits(mode: Mode, file: Path) -> None:
    with Patient.options(mode=mode).init(file) as patient:
        (file.parent / "broken").touch()
        with pytest.raises(WorkerNotStarted, match="OSError: out of order"):
            patient.restart()
        with pytest.raises(WorkerNotStarted, match="out of order"):
            patient.count().result(10)
    assert notes(file).count("start 0") == 6, "at the beginning, and five times in vain"


def test_a_rolling_restart_that_fails_leaves_the_others_as_they_are(
    several: Mode, file: Path
) -> None:
    with Patient.options(mode=several, max_workers=2).init(file) as patient:
        (file.parent / "broken").touch()
        with pytest.raises(WorkerNotStarted):
            patient.restart()
        # The broken one is given nothing while the other one is there.
        assert {patient.number().result(10) for _ in range(6)} == {1}
    assert "stop 1" in notes(file)


async def test_what_could_not_be_restarted_is_tried_again(later: Mode, file: Path) -> None:
    clock = ManualClock()
    patient = _handle(later, file, clock)
    broken = file.parent / "broken"
    broken.touch()
    restarting = patient._crew.tender.restart(patient._crew.places[0])
    await _moving(clock, restarting.done)
    assert isinstance(restarting.failure, WorkerNotStarted)
    broken.unlink()
    await _moving(clock, lambda: patient.stats.restarts == 1)
    assert await patient.count() == 1
    await patient.astop()
    with pytest.raises(WorkerStopped):
        patient.count()


# --------------------------------------------------------------------- by who must not wait for it


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_who_hears_of_an_end_may_restart_and_resize(mode: Mode) -> None:
    """It is the thread in which the worker would restart, or which would hear of that."""
    with Idle.options(mode=mode).init() as idle:
        done: Future[None] = Future()

        def act(_: Future[str]) -> None:
            idle.restart()
            idle.resize(2)
            done.end(None)

        idle.nothing().add_done_callback(act)
        done.result(20)
        assert idle.nothing().result(20) == "nothing"
        until(lambda: idle.stats.restarts == 1)


def test_a_call_may_restart_its_own_worker() -> None:
    with Idle.options(mode="thread").init() as idle:
        # It does not wait for that, which comes after it.
        assert idle.call(lambda worker: idle.restart()).result(20) is None
        assert idle.nothing().result(20) == "nothing"
        assert idle.stats.restarts == 1


async def test_a_coroutine_may_restart_its_own_worker() -> None:
    async with Idle.options(mode="asyncio").init() as idle:

        async def again(worker: Idle) -> str:
            await idle.arestart()
            return "asked"

        assert await idle.call(again).aresult(20) == "asked"
        assert await idle.nothing().aresult(20) == "nothing"
        assert idle.stats.restarts == 1


def test_a_callback_that_would_wait_for_a_child_is_told() -> None:
    """No end of a call of any child would be heard any more."""
    with Idle.options(mode="process").init() as idle:
        told: Future[None] = Future()

        def wait(_: Future[str]) -> None:
            try:
                idle.nothing().result()
            except Blocking as error:
                told.end(None, error)

        idle.nothing().add_done_callback(wait)
        with pytest.raises(Blocking, match="use add_done_callback"):
            told.result(20)
        assert idle.nothing().result(20) == "nothing"


def test_workers_that_leave_keep_no_other_from_a_restart(tmp_path: Path) -> None:
    gate = Gate(tmp_path / "gate")
    with Idle.options(mode="thread", max_workers=2).init() as idle:
        assert idle.number().result(20) == 0
        held = idle.hold(gate.folder)
        gate.entered()
        leaving = idle._crew.places[1]
        idle.resize(1)
        idle.restart(timeout=20)
        assert idle._crew.tender.restart(leaving).result(20) is None
        gate.open()
        assert held.result(20) == "through"
        assert [one.restarts for one in idle.stats.workers] == [1]


class Idle(Worker):
    """Has nothing to do."""

    def number(self) -> int:
        return self.index

    def hold(self, folder: Path) -> str:
        return wait_at(folder)

    def nothing(self) -> str:
        return "nothing"
