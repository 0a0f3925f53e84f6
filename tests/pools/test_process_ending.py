"""How calls in child processes are ended, and when children make room for others."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pools.processes import CLOCK, lines, place_of, runs, until
from treadle import Pool, Worker
from treadle.errors import (
    AttemptTimeout,
    CallCancelled,
    InvalidOption,
    Unsupported,
    WorkerCrashed,
    WorkerNotStarted,
    WorkerStopped,
)
from treadle.pools.future import Future
from treadle.pools.noticing import stopping

QUICK: Any = {"mode": "process", "patience": 0.2, "preload": __name__}


def nap() -> None:
    time.sleep(0.005)  # noqa: TID251 - code of a user


class Busy(Worker):
    """Does not end by itself."""

    def __init__(self, notes: Path) -> None:
        self.notes = notes

    def note(self, text: str) -> None:
        with self.notes.open("a") as file:
            file.write(f"{text}\n")

    def pid(self) -> int:
        return os.getpid()

    def spin(self) -> None:
        self.note("spin")
        try:
            while True:
                nap()
        finally:
            self.note("cleaned")

    def ignore(self) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        self.note("ignore")
        while True:
            nap()

    def ask(self) -> int:
        self.note("ask")
        while not stopping():
            nap()
        self.note("noticed")
        return os.getpid()

    async def wait(self) -> None:
        self.note("wait")
        try:
            await asyncio.Event().wait()
        finally:
            self.note("cancelled")

    async def swallow(self) -> None:
        self.note("swallow")
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()

    def stop(self) -> None:
        self.note(f"stop {os.getpid()}")


def cancel_while_it_runs(future: Future[Any], notes: Path, sign: str) -> None:
    until(lambda: sign in lines(notes))
    assert future.cancel()
    with pytest.raises(CallCancelled):
        future.result(20)
    assert future.cancelled()


def test_a_coroutine_is_cancelled_and_its_process_lives_on(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK).init(notes) as busy:
        pid = busy.pid().result(20)
        cancel_while_it_runs(busy.wait(), notes, "wait")
        assert "cancelled" in lines(notes)
        assert busy.pid().result(20) == pid


def test_plain_code_that_asks_ends_and_its_process_lives_on(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(mode="process", patience=60).init(notes) as busy:
        pid = busy.pid().result(20)
        cancel_while_it_runs(busy.ask(), notes, "ask")
        assert busy.pid().result(20) == pid
        assert "noticed" in lines(notes)


def test_plain_code_that_does_not_is_interrupted_and_cleans_up(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK).init(notes) as busy:
        pid = busy.pid().result(20)
        cancel_while_it_runs(busy.spin(), notes, "spin")
        assert busy.pid().result(20) != pid
        assert "cleaned" in lines(notes)


@pytest.mark.parametrize("what", ["ignore", "swallow"])
def test_what_ignores_every_request_is_killed(tmp_path: Path, what: str) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK).init(notes) as busy:
        pid = busy.pid().result(20)
        began = CLOCK.monotonic()
        cancel_while_it_runs(getattr(busy, what)(), notes, what)
        assert busy.pid().result(20) != pid
        # The patience, and a second to clean up.
        assert CLOCK.monotonic() - began < 5
        assert not runs(pid)


def test_a_timeout_is_told_at_once_and_the_next_call_gets_a_fresh_worker(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK, timeout=0.3).init(notes) as busy:
        error = busy.spin().exception(20)
        assert isinstance(error, AttemptTimeout)
        assert isinstance(busy.pid().result(20), int)


def test_what_has_not_begun_is_cancelled_and_never_runs(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK).init(notes) as busy:
        asking = busy.ask()
        until(lambda: "ask" in lines(notes))
        waiting = [busy.spin() for _ in range(300)]
        assert all(one.cancel() for one in waiting)
        assert all(one.cancelled() for one in waiting)
        asking.cancel()
        busy.pid().result(20)
    assert "spin" not in lines(notes)


def test_stopping_without_draining_ends_what_waits(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    busy = Busy.options(**QUICK).init(notes)
    running, waiting = busy.ask(), [busy.spin() for _ in range(200)]
    until(lambda: "ask" in lines(notes))
    busy.stop(drain=False, timeout=0.1)
    assert all(isinstance(one.exception(20), WorkerStopped) for one in waiting)
    assert running.done()
    assert "spin" not in lines(notes)


def test_a_signal_from_elsewhere_does_not_end_a_child(tmp_path: Path) -> None:
    """A service manager signals every process; it is for the parent to end its children."""
    with Busy.options(**QUICK).init(tmp_path / "notes") as busy:
        pid = busy.pid().result(20)
        os.kill(pid, signal.SIGTERM)
        assert busy.pid().result(20) == pid


# -- recycling -----------------------------------------------------------------------------------


def test_a_child_is_replaced_after_so_many_calls(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK, max_calls=3).init(notes) as busy:
        futures = [busy.pid() for _ in range(9)]
        pids = [future.result(20) for future in futures]
    assert pids == sorted(pids, key=pids.index)
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]
    # Each has stopped its worker.
    assert {f"stop {pid}" for pid in pids} <= set(lines(notes))


def test_a_child_is_replaced_when_it_is_old(tmp_path: Path) -> None:
    with Busy.options(**QUICK, max_age=0.01).init(tmp_path / "notes") as busy:
        first = busy.pid().result(20)
        CLOCK.wait(threading.Event(), 0.02)
        busy.pid().result(20)
        assert busy.pid().result(20) != first


_kept: list[bytes] = []


def grow(size: int) -> int:
    _kept.append(b"x" * size)
    return os.getpid()


def test_a_child_is_replaced_when_it_uses_too_much_memory() -> None:
    options: Any = {"max_rss": 200 << 20, "max_workers": 1, "preload": __name__}
    with Pool("process", **options) as pool:
        first = pool.submit(os.getpid).result(20)
        assert pool.submit(grow, 250 << 20).result(20) == first
        assert pool.submit(os.getpid).result(20) != first


def wait_for(gate: str) -> int:
    Path(gate).read_bytes()
    return os.getpid()


@pytest.mark.parametrize("slots", [1, 4])
@pytest.mark.parametrize("bound", ["max_rss", "max_age"])
def test_what_a_child_was_sent_ahead_is_for_the_next_one(
    bound: str, slots: int, tmp_path: Path
) -> None:
    bounds = {"max_rss": 200 << 20, "max_age": "1ms"}
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    options: Any = {bound: bounds[bound], "max_workers": 1, "slots": slots, "preload": __name__}
    with Pool("process", **options) as pool:
        growing = pool.submit(grow, 250 << 20)
        # Whichever it has begun by then, the child ends.
        held = pool.submit(wait_for, str(gate))
        ahead = [pool.submit(os.getpid) for _ in range(20)]
        first = growing.result(20)
        gate.write_bytes(b"")
        assert held.result(20) == first
        assert first not in {one.result(20) for one in ahead[slots - 1 :]}


# -- a fork for each call ------------------------------------------------------------------------


class Leaky(Worker):
    """Keeps everything."""

    def __init__(self) -> None:
        self.kept: list[int] = []

    def keep(self, number: int) -> tuple[int, int]:
        self.kept.append(number)
        return os.getpid(), len(self.kept)

    async def keep_later(self, number: int) -> tuple[int, int]:
        await asyncio.sleep(0)  # noqa: TID251 - code of a user
        return self.keep(number)

    def fail(self) -> None:
        raise LookupError("in a fork")

    def leave(self) -> None:
        os._exit(4)

    def spin(self, began: Path) -> None:
        began.touch()
        while True:
            nap()


FORKED: Any = {"mode": "process", "fork": True, "patience": 0.2, "preload": __name__}


def test_with_a_fork_for_each_call_nothing_is_left_behind() -> None:
    with Leaky.options(**FORKED).init() as leaky:
        ends = [leaky.keep(number).result(20) for number in range(3)]
        ends += [leaky.keep_later(number).result(20) for number in range(2)]
    assert [count for _, count in ends] == [1] * 5
    assert len({pid for pid, _ in ends}) == 5


def test_the_end_of_a_fork_is_told_and_the_child_lives_on(tmp_path: Path) -> None:
    began = tmp_path / "began"
    with Leaky.options(**FORKED).init() as leaky:
        assert leaky.keep(0).result(20)[1] == 1
        pid = place_of(leaky).pid
        error = leaky.fail().exception(20)
        assert isinstance(error, LookupError)
        error = leaky.leave().exception(20)
        assert isinstance(error, WorkerCrashed)
        assert error.exit_code == 4
        spinning = leaky.spin(began)
        until(began.exists)
        spinning.cancel()
        assert leaky.keep(1).result(20)[1] == 1
        assert place_of(leaky).pid == pid != 0


class Threaded(Worker):
    """Has a thread."""

    def start(self) -> None:
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.over.wait, name="helper")
        self.thread.start()

    def stop(self) -> None:
        self.over.set()
        self.thread.join()

    def run(self) -> None: ...


def test_a_fork_beside_threads_is_refused() -> None:
    with Threaded.options(**FORKED).init() as threaded:
        error = threaded.run().exception(20)
        assert isinstance(error, Unsupported)
        assert "helper" in str(error)


# -- surroundings --------------------------------------------------------------------------------


def variable(name: str) -> str | None:
    return os.environ.get(name)


@contextlib.contextmanager
def marked() -> Iterator[None]:
    os.environ["MARK"] = "inside"
    yield
    os.environ["MARK"] = "after"


def test_context_managers_surround_each_call() -> None:
    with Pool("process", max_workers=1, around=[marked]) as pool:
        assert pool.submit(variable, "MARK").result(20) == "inside"


def test_a_pool_that_has_ended_is_kept_by_nothing() -> None:
    with Pool("process", max_workers=1) as other:
        other.submit(variable, "MARK").result(20)
        with Pool("process", max_workers=2, patience=60) as pool:
            pool.submit(variable, "MARK").result(20)
            gone = [weakref.ref(place_of(pool, number)) for number in range(2)]
        del pool

        def collected() -> bool:
            gc.collect()
            return not any(one() for one in gone)

        until(collected)


@pytest.mark.usefixtures("own_helper")
def test_children_have_the_environment_without_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_URL", "redis://:secret@host")
    monkeypatch.setenv("MINE", "kept")
    with Pool("process", max_workers=1, env={"ASKED": "for"}) as pool:
        found = [pool.submit(variable, one) for one in ("TREADLE_URL", "MINE", "ASKED")]
        assert [one.result(20) for one in found] == [None, "kept", "for"]


def test_children_inherit_no_descriptor(tmp_path: Path) -> None:
    with (tmp_path / "secret").open("w") as file:
        os.set_inheritable(file.fileno(), True)
        with Pool("process", max_workers=1) as pool:
            assert not [name for name in pool.submit(opened).result(20) if "secret" in name]


def opened() -> list[str]:
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            found.append(str(link.readlink()))
    return found


def test_modules_that_cannot_be_loaded_before_are_told() -> None:
    with pytest.raises(WorkerNotStarted, match="preload='no_such_module'"):
        Pool("process", max_workers=1, preload="no_such_module")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "thread", "fork": True}, "fork= is for child processes"),
        ({"mode": "process", "preload": "a b"}, "names of modules"),
        ({"mode": "process", "max_calls": 0}, "from 1 on"),
        ({"mode": "process", "max_age": 0}, "above 0"),
        ({"mode": "process", "env": {"A": 1}}, "to text"),
        ({"mode": "process", "fork": "yes"}, "True or False"),
        ({"mode": "process", "preload": 5}, "names of modules"),
        ({"mode": "process", "around": [1]}, "context managers"),
        ({"mode": "process", "around": 5}, "context managers"),
    ],
)
def test_options_that_cannot_work_are_refused(options: Any, message: str) -> None:
    with pytest.raises(InvalidOption, match=message):
        Busy.options(**options)


# -- the parent ----------------------------------------------------------------------------------

PARENT = """
import os, sys, threading
from treadle import Pool
with Pool("process", max_workers=2) as pool:
    import subprocess
    def busy():
        child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
        return os.getpid(), os.getppid(), child.pid
    pids = {pid for one in [pool.submit(busy) for _ in range(2)] for pid in one.result(20)}
    def spin():
        while True: pass
    pool.submit(spin)
    print(*pids, flush=True)
    threading.Event().wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM], ids=["kill", "terminate"])
def test_children_end_with_their_parent(number: signal.Signals) -> None:
    with subprocess.Popen([sys.executable, "-"], stdin=-1, stdout=-1, text=True) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(PARENT)
        parent.stdin.close()
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) >= 4
        began = CLOCK.monotonic()
        parent.send_signal(number)
        parent.wait(20)
        until(lambda: not any(runs(pid) for pid in pids))
        assert CLOCK.monotonic() - began < 2


def test_the_helper_that_dies_is_replaced(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with Busy.options(**QUICK).init(notes) as busy:
        helper = busy.call(parent_of).result(20)
        spinning = busy.spin()
        until(lambda: "spin" in lines(notes))
        os.kill(helper, signal.SIGKILL)
        assert isinstance(spinning.exception(20), WorkerCrashed)
        assert busy.call(parent_of).result(20) != helper


def parent_of(busy: Busy) -> int:
    return os.getppid()


def test_a_fork_of_the_parent_does_not_hold_its_connections() -> None:
    with Pool("process", max_workers=1) as pool:
        place = place_of(pool)
        assert place._life is not None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # forks beside threads
            pid = os.fork()
        if pid == 0:
            mine = place._life._sock.fileno(), place._nursery._control.fileno()
            os._exit(0 if mine == (-1, -1) else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
        assert pool.submit(len, "four").result(20) == 4


def test_pools_leave_nothing_behind() -> None:
    """The fixture that looks for threads, children and descriptors is the judge."""
    for _ in range(10):
        with Pool("process", max_workers=2) as pool:
            assert pool.submit(int).result(20) == 0
