"""Blocks that are left by an error: nobody waits long, whatever runs."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest

from tests.pools.gates import Gate, note, notes, wait_at
from tests.pools.processes import until
from treadle import LimitSet, Pool, Rate, Retry, Slots, Worker, WorkerStopped, backoff, stopping
from treadle.errors import InvalidOption
from treadle.pools.future import Future
from treadle.pools.options import Mode
from treadle.pools.places import aio

# Children and actors can be made to end.
FORCED = ("process", "ray")


class Diary(Worker):
    """Writes down its life."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def stop(self) -> None:
        note(self.file, "stop")

    def wait(self, folder: Path) -> str:
        return wait_at(folder)

    def watch(self, folder: Path) -> str:
        (folder / "here").write_bytes(b"")
        while not stopping():
            pass
        note(self.file, "noticed")
        return "noticed"

    async def sleep(self, folder: Path) -> None:
        (folder / "here").write_bytes(b"")
        try:
            await asyncio.Event().wait()
        finally:
            note(self.file, "cancelled")

    def write(self, text: str) -> None:
        note(self.file, text)

    def take(self, folder: Path) -> None:
        (folder / "here").write_bytes(b"")
        try:
            with self.limits.acquire({"few": 1}):
                note(self.file, "taken")
        except Exception as error:
            note(self.file, type(error).__name__)
            raise


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "diary"


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path / "gate")


class Oops(Exception):
    """What leaves the block."""


def test_code_that_asks_comes_to_its_end_and_what_waits_never_begins(
    later: Mode, file: Path, gate: Gate
) -> None:
    with pytest.raises(Oops), Diary.options(mode=later, patience=30).init(file) as diary:  # noqa: PT012
        held = diary.watch(gate.folder)
        gate.entered()
        waiting = diary.write("never")
        raise Oops
    assert isinstance(held.failure, WorkerStopped)
    assert isinstance(waiting.failure, WorkerStopped)
    assert notes(file) == ["noticed", "stop"]


def test_a_coroutine_is_cancelled(later: Mode, file: Path, gate: Gate) -> None:
    with pytest.raises(Oops), Diary.options(mode=later, patience=30).init(file) as diary:  # noqa: PT012
        held = diary.sleep(gate.folder)
        gate.entered()
        raise Oops
    assert isinstance(held.failure, WorkerStopped)
    assert notes(file) == ["cancelled", "stop"]


def test_code_that_does_not_end_is_ended_or_left_alone_and_named(
    later: Mode, file: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    with (  # noqa: PT012
        pytest.raises(Oops),
        Diary.options(mode=later, patience=0.05).init(file) as diary,
    ):
        held = diary.wait(gate.folder)
        gate.entered()
        raise Oops
    assert isinstance(held.failure, WorkerStopped)
    if later in FORCED:
        return
    assert "thread.abandoned" in caplog.text
    assert "wait" in caplog.text
    assert "threads cannot be stopped" in caplog.text
    assert diary.stats.abandoned == 1
    gate.open()


def test_no_further_attempt_is_made(later: Mode, file: Path, gate: Gate) -> None:
    retry = Retry(5, backoff=backoff.fixed(0))
    with (  # noqa: PT012
        pytest.raises(Oops),
        Diary.options(mode=later, patience=30, retry=retry).init(file) as diary,
    ):
        held = diary.watch(gate.folder)
        gate.entered()
        raise Oops
    assert isinstance(held.failure, WorkerStopped)
    assert notes(file) == ["noticed", "stop"]


def test_what_waits_for_a_limit_ends_too(later: Mode, file: Path) -> None:
    limits = [Rate(1, per=3600)]
    # With the patience the test would be over time.
    options = Diary.options(mode=later, limits=limits, patience=1000)
    for _ in range(20):  # as often before it stands in line as in it
        with pytest.raises(Oops), options.init(file) as diary:  # noqa: PT012
            diary.write("first").result(20)
            waiting = diary.write("second")
            raise Oops
        assert isinstance(waiting.failure, WorkerStopped)
        if later in FORCED:
            break  # each starts a process


def test_a_call_that_is_cancelled_at_once_ends_at_once(file: Path) -> None:
    with Diary.options(mode="thread", retry=1, patience=1000).init(file) as diary:
        for _ in range(50):
            call = diary.write("perhaps")
            call.cancel()
            call.wait(20)


def test_code_that_waits_for_a_limit_is_told_at_once(
    later: Mode, file: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    # The call has taken the only one itself.
    limits = [Rate(1, per=3600, key="few")]
    options = Diary.options(mode=later, limits=limits, patience=3)
    with pytest.raises(Oops), options.init(file) as diary:  # noqa: PT012
        held = diary.take(gate.folder)
        gate.entered()
        raise Oops
    assert isinstance(held.failure, WorkerStopped)
    assert notes(file) in (["WorkerStopped", "stop"], ["CallCancelled", "stop"])
    assert "abandoned" not in caplog.text


def test_a_cancelled_call_that_waits_for_a_limit_leaves_its_line(file: Path, gate: Gate) -> None:
    limits = LimitSet(Slots(1, key="few"))
    options = Diary.options(mode="thread", max_workers=2, limits=limits, patience=30)
    with limits.acquire({"few": 1}), Pool("thread", max_workers=1, patience=30) as pool:
        waiting = pool.submit(_take, limits, gate.folder)
        gate.entered()
        assert waiting.cancel()
        assert pool.submit(int).result(20) == 0  # its thread has come back
        assert pool.stats.abandoned == 0
    with options.init(file) as diary:
        diary.write("after").result(20)
    assert notes(file) == ["after", "stop", "stop"]


def _take(limits: LimitSet, folder: Path) -> None:
    (folder / "here").write_bytes(b"")
    with limits.acquire({"few": 1}):
        raise AssertionError("somebody else holds it")


def test_workers_on_demand_are_asked_too(several: Mode, file: Path, gate: Gate) -> None:
    options = Diary.options(mode=several, on_demand=True, max_workers=2, patience=30)
    with pytest.raises(Oops), options.init(file) as diary:  # noqa: PT012
        held = diary.watch(gate.folder)
        gate.entered()
        raise Oops
    assert isinstance(held.failure, WorkerStopped)
    assert notes(file) == ["noticed", "stop"]


async def test_a_task_that_is_cancelled_waits_no_longer(
    later: Mode, file: Path, gate: Gate
) -> None:
    inside: list[Future[str]] = []

    async def program() -> None:
        async with Diary.options(mode=later, patience=30).init(file) as diary:
            inside.append(diary.watch(gate.folder))
            await asyncio.Event().wait()

    running = asyncio.ensure_future(program())
    await asyncio.to_thread(gate.entered)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert isinstance(inside[0].failure, WorkerStopped)
    assert notes(file) == ["noticed", "stop"]


async def test_a_task_that_is_cancelled_while_it_drains(
    later: Mode, file: Path, gate: Gate
) -> None:
    async def program() -> None:
        async with Diary.options(mode=later, patience=30).init(file) as diary:
            diary.watch(gate.folder)
            diary.write("never")

    running = asyncio.ensure_future(program())
    await asyncio.to_thread(gate.entered)
    running.cancel()
    await asyncio.wait({running})
    assert running.cancelled()
    assert notes(file) == ["noticed", "stop"]


def test_a_pool_of_functions_is_left_alike(gate: Gate) -> None:
    over = threading.Event()

    def watch() -> None:
        (gate.folder / "here").write_bytes(b"")
        while not stopping():
            pass
        over.set()

    with pytest.raises(Oops), Pool("thread", max_workers=1) as pool:  # noqa: PT012
        pool.submit(watch)
        gate.entered()
        waiting = pool.submit(len, "four")
        raise Oops
    assert over.is_set()
    assert isinstance(waiting.failure, WorkerStopped)


@pytest.mark.parametrize("where", ["pass", "pool.submit(len, '').result(); time.sleep(600)"])
@pytest.mark.parametrize("mode", ["thread", "process"])
def test_ctrl_c_leaves_a_program_whose_calls_hang(mode: Mode, where: str) -> None:
    program = textwrap.dedent(f"""
        import signal, time
        from treadle import Pool

        # What runs tests may have it ignored.
        signal.signal(signal.SIGINT, signal.default_int_handler)

        def hang():
            print("inside", flush=True)
            time.sleep(600)

        with Pool({mode!r}, max_workers=2, patience=0.1) as pool:
            pool.submit(hang)
            {where}
    """)
    interrupted(program)


@pytest.mark.parametrize("enter", ["init()", "asyncio.run(within())"])
@pytest.mark.parametrize("mode", ["thread", "process", "asyncio"])
def test_ctrl_c_leaves_a_program_whose_workers_hang_while_they_start(
    mode: Mode, enter: str
) -> None:
    hang = "await asyncio.sleep" if mode == "asyncio" and "within" in enter else "time.sleep"
    program = textwrap.dedent(f"""
        import asyncio, signal, time
        from treadle import Worker

        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Stuck(Worker, mode={mode!r}, patience=0.1):
            {"async " if "await" in hang else ""}def start(self):
                print("inside", flush=True)
                {hang}(600)

        def init():
            Stuck.init()

        async def within():
            async with Stuck.init():
                pass

        {enter}
    """)
    interrupted(program)


WAITS = {
    "a result": "pool.submit(hang).result()",
    "the end of a block": "pool.submit(hang)",
    "a limit": "Limits.acquire(); inside(); Limits.acquire()",
    "a job": "inside(); work.enqueue().result()",
}


@pytest.mark.parametrize("waits", WAITS.values(), ids=list(WAITS))
def test_a_signal_that_another_thread_gets_is_heard(waits: str) -> None:
    """Or one that comes in the moment before the main thread begins to wait."""
    program = textwrap.dedent(f"""
        import signal, threading, time
        from treadle import LimitSet, Pool, Slots, Treadle

        def inside():
            print("inside", flush=True)

        def hang():
            inside()
            time.sleep(600)

        class Limits:
            limits = LimitSet(Slots(1))
            held = []

            @classmethod
            def acquire(cls):
                cls.held.append(cls.limits.acquire())
                cls.held[-1].__enter__()

        app = Treadle("memory://")

        @app.task(name="work")
        def work(): ...

        signal.signal(signal.SIGINT, signal.default_int_handler)
        threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
        signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGINT}})
        with Pool("thread", max_workers=1, patience=0.1) as pool:
            {waits}
    """)
    interrupted(program)


def interrupted(program: str) -> None:
    """Run a program until it says that it is inside, and interrupt it."""
    code = [sys.executable, "-c", program]
    with subprocess.Popen(code, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None
        assert running.stdout.readline() == b"inside\n"
        running.send_signal(signal.SIGINT)
        try:
            _, said = running.communicate(timeout=60)
        finally:
            running.kill()
    assert running.returncode in (1, -signal.SIGINT)
    assert b"KeyboardInterrupt" in said


def test_ctrl_c_while_a_call_is_looked_at_leaves_nothing_to_wait_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(_: object) -> bool:
        raise KeyboardInterrupt

    pool = Pool("asyncio", patience=0.1)
    assert pool.submit(abs, -4).result(20) == 4
    monkeypatch.setattr(aio, "_asynchronous", interrupted)
    with pytest.raises(KeyboardInterrupt), pool:
        pool.submit(abs, -4)
    assert pool._crew.ending.future.done()


def test_the_time_of_a_stop_is_any_duration(file: Path) -> None:
    for time in (1, 1.0, "1s", None):
        Diary.options(mode="thread").init(file).stop(timeout=time)
    diary = Diary.options(mode="thread").init(file)
    with pytest.raises(InvalidOption, match="timeout"):
        diary.stop(timeout="soon")
    until(lambda: not diary.stats.active)
    diary.stop()


def test_what_was_not_asked_to_end_is_said_to_have_had_no_time(
    file: Path, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    diary = Diary.options(mode="thread", patience=30).init(file)
    diary.wait(gate.folder)
    gate.entered()
    diary.stop(timeout=0.05)
    assert "thread.abandoned" in caplog.text
    assert "patience=0.0" in caplog.text
    gate.open()
