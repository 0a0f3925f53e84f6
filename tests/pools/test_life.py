"""Beginning and end of workers: the same in every mode."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from treadle import Pool, Retry, Worker, WorkerNotStarted, WorkerStopped
from treadle.pools.future import Future
from treadle.pools.options import Mode


class Diary(Worker):
    """Writes down its life."""

    def __init__(self, file: Path, broken: int | None = None) -> None:
        self.file = file
        self.broken = broken

    def start(self) -> None:
        note(self.file, f"start {self.index}")
        if self.index == self.broken:
            raise OSError("no such device")

    async def stop(self) -> None:
        note(self.file, f"stop {self.index}")

    def wait(self, folder: Path) -> str:
        return wait_at(folder)

    def write(self, text: str) -> str:
        note(self.file, text)
        return text

    def fail(self) -> None:
        raise ValueError("not this time")


class Unmakable(Worker):
    def __init__(self) -> None:
        raise LookupError("no weights")

    def call_it(self) -> None: ...


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


# --------------------------------------------------------------------- the beginning


def test_start_comes_before_the_calls_and_stop_after_them(mode: Mode, file: Path) -> None:
    with Diary.options(mode=mode).init(file) as diary:
        diary.write("one")
        diary.write("two").result()
    assert notes(file) == ["start 0", "one", "two", "stop 0"]


def test_what_the_constructor_raises_is_the_cause_of_what_init_raises(mode: Mode) -> None:
    with pytest.raises(WorkerNotStarted, match="LookupError: no weights") as raised:
        Unmakable.options(mode=mode, name="model").init()
    assert raised.value.worker == "model"
    assert isinstance(raised.value.__cause__, LookupError)


def test_when_one_cannot_start_the_others_are_stopped(several: Mode, file: Path) -> None:
    with pytest.raises(WorkerNotStarted, match="OSError: no such device"):
        Diary.options(mode=several, max_workers=3).init(file, broken=1)
    assert sorted(notes(file)) == ["start 0", "start 1", "start 2", "stop 0", "stop 2"]


async def test_in_a_loop_the_block_raises_what_could_not_start(later: Mode) -> None:
    with pytest.raises(WorkerNotStarted, match="no weights"):
        async with Unmakable.options(mode=later).init():
            pytest.fail("it has no worker")


async def test_in_a_loop_without_a_block_the_calls_say_what_could_not_start(later: Mode) -> None:
    handle = Unmakable.options(mode=later).init()
    with pytest.raises(WorkerNotStarted, match="no weights"):
        await handle.call_it()
    await handle.astop()


# --------------------------------------------------------------------- the end


def test_a_stop_carries_out_what_was_submitted_and_refuses_the_rest(
    later: Mode, file: Path, gate: Gate
) -> None:
    diary = Diary.options(mode=later).init(file)
    held = diary.wait(gate.folder)
    gate.entered()
    written = [diary.write(str(number)) for number in range(5)]
    stopping = threading.Thread(target=diary.stop)
    stopping.start()
    while True:
        try:
            written.append(diary.write("late"))
        except WorkerStopped:
            break
    assert not held.done()
    gate.open()
    stopping.join()
    assert held.result() == "through"
    assert [future.result() for future in written[:5]] == ["0", "1", "2", "3", "4"]
    assert all(future.done() for future in written), "what was accepted was carried out"
    assert notes(file)[-1] == "stop 0"


def test_a_stop_that_does_not_drain_ends_what_has_not_begun(
    later: Mode, file: Path, gate: Gate
) -> None:
    diary = Diary.options(mode=later).init(file)
    held = diary.wait(gate.folder)
    gate.entered()
    written = [diary.write(str(number)) for number in range(5)]
    stopping = threading.Thread(target=diary.stop, kwargs={"drain": False})
    stopping.start()
    for future in written:
        with pytest.raises(WorkerStopped, match="Diary is stopped"):
            future.result(10)
    assert not held.done(), "what runs is waited for"
    gate.open()
    stopping.join()
    assert held.result() == "through"
    assert notes(file) == ["start 0", "stop 0"]


def test_when_the_time_of_a_stop_is_up_what_runs_is_ended(
    later: Mode, file: Path, gate: Gate
) -> None:
    diary = Diary.options(mode=later, patience=0.01).init(file)
    held = diary.wait(gate.folder)
    waiting = diary.write("never")
    gate.entered()
    diary.stop(timeout=0.01)
    for future in (held, waiting):
        with pytest.raises(WorkerStopped):
            future.result(0)
    if later not in ("process", "ray"):
        gate.open()  # nobody can end a thread: it goes when its code does
    assert "never" not in notes(file)


def test_any_number_may_stop_at_once(later: Mode, file: Path, gate: Gate) -> None:
    diary = Diary.options(mode=later).init(file)
    held = diary.wait(gate.folder)
    gate.entered()
    stopping = [threading.Thread(target=diary.stop) for _ in range(4)]
    for thread in stopping:
        thread.start()
    gate.open()
    for thread in stopping:
        thread.join()
    assert held.done()
    assert notes(file) == ["start 0", "stop 0"]


def test_a_second_stop_can_be_shorter(later: Mode, file: Path, gate: Gate) -> None:
    diary = Diary.options(mode=later).init(file)
    diary.wait(gate.folder)
    gate.entered()
    waiting = diary.write("never")
    patient = threading.Thread(target=diary.stop)
    patient.start()
    hasty = threading.Thread(target=diary.stop, kwargs={"drain": False})
    hasty.start()
    with pytest.raises(WorkerStopped):
        waiting.result(10)
    gate.open()
    patient.join()
    hasty.join()


async def test_a_stop_is_awaited_in_a_loop(later: Mode, file: Path, gate: Gate) -> None:
    diary = Diary.options(mode=later).init(file)
    held = diary.wait(gate.folder)
    await asyncio.to_thread(gate.entered)
    stopping = asyncio.create_task(diary.astop())
    await asyncio.to_thread(gate.open)
    await stopping
    assert held.result() == "through"
    assert notes(file)[-1] == "stop 0"


async def test_an_awaited_stop_ends_what_runs_when_its_time_is_up(
    later: Mode, file: Path, gate: Gate
) -> None:
    diary = Diary.options(mode=later, patience=0.01).init(file)
    held = diary.wait(gate.folder)
    await asyncio.to_thread(gate.entered)
    await diary.astop(timeout=0.01)
    assert isinstance(held.failure, WorkerStopped)
    if later != "process":
        await asyncio.to_thread(gate.open)


@pytest.mark.parametrize("mode", ["sync", "thread", "asyncio"])
def test_a_call_can_stop_its_own_worker(mode: Mode, file: Path) -> None:
    diary = Diary.options(mode=mode).init(file)

    def end(_: Diary) -> str:
        diary.stop()
        return "ended"

    assert diary.call(end).result(10) == "ended"
    diary.stop()
    assert notes(file)[-1] == "stop 0"


@pytest.mark.parametrize("mode", ["thread", "asyncio"])
def test_a_coroutine_can_stop_its_own_worker(mode: Mode, file: Path) -> None:
    diary = Diary.options(mode=mode).init(file)

    async def end(_: Diary) -> str:
        await diary.astop()
        return "ended"

    assert diary.call(end).result(10) == "ended"
    diary.stop()
    assert notes(file)[-1] == "stop 0"


def test_a_stop_hook_that_raises_stops_the_worker_all_the_same(mode: Mode) -> None:
    handle = Sour.options(mode=mode).init()
    assert handle.taste().result() == "sour"
    handle.stop()
    with pytest.raises(WorkerStopped):
        handle.taste()


class Sour(Worker):
    def taste(self) -> str:
        return "sour"

    def stop(self) -> None:
        raise RuntimeError("no")


# --------------------------------------------------------------------- what is under way


def test_a_stop_waits_for_calls_whose_arguments_have_not_come(later: Mode, file: Path) -> None:
    diary = Diary.options(mode=later).init(file)
    text: Future[str] = Future()
    written = diary.write(text)
    stopping = threading.Thread(target=diary.stop)
    stopping.start()
    text.end("at last")
    stopping.join()
    assert written.result(10) == "at last"


def test_without_draining_calls_end_whose_arguments_have_not_come(later: Mode, file: Path) -> None:
    diary = Diary.options(mode=later).init(file)
    text: Future[str] = Future()
    written = diary.write(text)
    diary.stop(drain=False)
    with pytest.raises(WorkerStopped):
        written.result(0)
    text.end("too late")
    assert "too late" not in notes(file)


def test_a_stop_lets_calls_have_their_further_attempts(later: Mode, file: Path) -> None:
    retry = Retry(3, backoff=0.01)
    diary = Diary.options(mode=later, retry=retry).init(file)
    failing = diary.fail()
    diary.stop()
    with pytest.raises(ValueError, match="not this time") as raised:
        failing.result(0)
    assert any("4 attempts" in line for line in raised.value.__notes__)


def test_without_draining_a_pause_before_an_attempt_ends_at_once(later: Mode, file: Path) -> None:
    diary = Diary.options(mode=later, retry=Retry(3, backoff=3600)).init(file)
    failing = diary.fail()
    while not diary.stats.failed:
        diary.write("x").result()
    diary.stop(drain=False)
    with pytest.raises(WorkerStopped):
        failing.result(0)


# --------------------------------------------------------------------- the interpreter ends


def _run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


UNSTOPPED = """
import treadle
class W(treadle.Worker):
    def say(self, text): print(text, flush=True)
    def stop(self): print("stopped", flush=True)
w = W.options(mode={mode!r}).init()
for n in range(3): w.say(n)
"""


def test_a_pool_that_nobody_stops_ends_with_the_interpreter(mode: Mode) -> None:
    done = _run(UNSTOPPED.format(mode=mode))
    # Ray says of each line where it was printed.
    said = [line.split()[-1] for line in done.stdout.splitlines()]
    assert (said, done.stderr, done.returncode) == (["0", "1", "2", "stopped"], "", 0)


HANGING = """
import threading, treadle
class W(treadle.Worker):
    def hang(self): print("in", flush=True); threading.Event().wait()
w = W.options(mode={mode!r}, patience=0.1).init()
w.hang()
"""


def test_a_call_that_never_ends_does_not_keep_the_interpreter(later: Mode) -> None:
    done = _run(HANGING.format(mode=later))
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr


FORKED = """
import os, sys, treadle
class W(treadle.Worker):
    def one(self): return 1
w = W.options(mode={mode!r}).init()
assert w.one().result() == 1
if (pid := os.fork()) == 0:
    try:
        w.one()
    except treadle.WorkerStopped:
        os._exit(7)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert w.one().result() == 1
w.stop()
"""


@pytest.mark.parametrize("mode", ["thread", "asyncio"])
def test_a_forked_child_has_no_part_in_the_workers_of_its_parent(mode: Mode) -> None:
    done = _run(FORKED.format(mode=mode))
    assert done.returncode == 0, done.stderr


def test_a_pool_of_functions_stops_like_a_pool_of_workers(later: Mode, gate: Gate) -> None:
    pool: Any = Pool(later, **({} if later == "asyncio" else {"max_workers": 1}))
    held = pool.submit(wait_at, gate.folder)
    gate.entered()
    waiting = pool.submit(len, "four")
    stopping = threading.Thread(target=pool.stop, kwargs={"drain": False})
    stopping.start()
    with pytest.raises(WorkerStopped):
        waiting.result(10)
    gate.open()
    stopping.join()
    assert held.result() == "through"
