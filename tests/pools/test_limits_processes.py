"""Limits that processes of one machine share."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import pickle
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from tests.pools.limit_processes import PLACES, SLOTS, hold_and_die, hold_and_wait, stand_in_line
from treadle import LimitSet, Rate, Slots
from treadle.clock import SystemClock
from treadle.errors import BackendFull, InvalidOption, LimitTimeout, NotOpen, SchemaMismatch
from treadle.pools.limiting.processes import Identity, is_alive, myself
from treadle.pools.limiting.region import Region
from treadle.pools.limiting.shared import SharedKeeper
from treadle.ports import Granted
from treadle.records import Hold
from treadle.testing.clock import ManualClock, settle

METHODS = ("fork", "spawn", "forkserver")
ROOT = Path(__file__).parents[2]
CLOCK = SystemClock()
MANY = int(os.environ.get("LIMIT_ACQUISITIONS", "20000"))
LONGEST = max(180, MANY // 100)


def limits_in(path: Path) -> LimitSet:
    return LimitSet(Slots(SLOTS, key="slots"), Rate(1e9, per=1, key="rate"), shared=path)


def used(limits: LimitSet) -> float:
    return limits.stats["slots"].used


def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process does."""
    never, deadline = threading.Event(), CLOCK.monotonic() + 20
    while not condition():
        assert CLOCK.monotonic() < deadline
        CLOCK.wait(never, 0.002)


@pytest.fixture(scope="module", autouse=True)
def helpers_of_multiprocessing() -> None:
    """Started before what is left behind is looked at: they stay."""
    forkserver.ensure_running()
    resource_tracker.ensure_running()


@contextmanager
def child(
    target: Any, *args: Any, method: str = "spawn"
) -> Iterator[tuple[BaseProcess, Connection]]:
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=target, args=(*args, theirs))
    process.start()
    theirs.close()
    try:
        yield process, ours
        process.join(20)
    finally:
        process.kill()
        process.join()
        ours.close()
        process.close()


# ------------------------------------------------------------- who shares


@pytest.mark.parametrize("method", METHODS)
def test_a_set_that_travels_to_a_child_is_shared_with_it(method: str) -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), shared=method == "fork")
    with child(hold_and_wait, limits, 2, method=method) as (_, pipe):
        assert pipe.recv() == "held"
        assert used(limits) == 2
        with pytest.raises(LimitTimeout), limits.acquire({"slots": 2}, timeout=0):
            pass
        with limits.acquire({"slots": 1}, timeout=0):
            pass
        pipe.send("go on")
        assert pipe.recv() == "free"
    assert used(limits) == 0


def test_a_set_in_use_takes_its_state_along() -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), Rate(10, per=3600, key="rate"))
    served: list[str] = []

    def wait(name: str) -> None:
        with limits.acquire({"slots": SLOTS, "rate": 1}):
            served.append(name)

    threads = [threading.Thread(target=wait, args=(name,)) for name in ("first", "second")]
    with limits.acquire({"slots": 2, "rate": 5}):
        for number, thread in enumerate(threads):
            thread.start()
            until(lambda: limits.stats["slots"].waiting == number + 1)  # noqa: B023
        other = pickle.loads(pickle.dumps(limits))
        assert other == limits
        for one in (limits, other):
            assert one.stats["slots"].used == 2
            assert one.stats["slots"].waiting == 2
            assert one.stats["rate"].used == pytest.approx(5, abs=0.1)
    for thread in threads:
        thread.join(10)
    assert served == ["first", "second"]
    assert used(other) == 0


async def test_a_set_in_use_by_tasks_takes_its_line_along() -> None:
    limits = LimitSet(Slots(1, key="slots"))
    served: list[int] = []

    async def wait(number: int) -> None:
        async with limits.aacquire():
            served.append(number)

    async with limits.aacquire():
        tasks = [asyncio.create_task(wait(number)) for number in range(3)]
        await settle()
        pickle.dumps(limits)
        assert limits.stats["slots"].waiting == 3
    await asyncio.gather(*tasks)
    assert served == [0, 1, 2]
    assert used(limits) == 0


def test_processes_that_give_the_same_name_share() -> None:
    name = f"test-{os.getpid()}-{myself().start}"
    one = LimitSet(Slots(1, key="slots"), shared=name)
    other = LimitSet(Slots(1, key="slots"), Slots(5, key="other"), shared=name)
    try:
        with one.acquire():
            assert used(other) == 1
            assert other.stats["other"].used == 0
        path = Path(one._source.path or "")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    finally:
        Path(one._source.path or "").unlink()


def test_a_set_without_limits_needs_no_region() -> None:
    empty = LimitSet(shared=True)
    assert pickle.loads(pickle.dumps(empty)) == empty
    assert empty._source.path is None


def test_what_goes_with_a_set_travels_with_it() -> None:
    limits = LimitSet(Slots(1), config={"region": "eu"})
    assert pickle.loads(pickle.dumps(limits)).config == {"region": "eu"}
    inside = pickle.loads(pickle.dumps(limits.inside(3)))
    with inside.acquire() as got:
        assert got.amounts == {}


# ------------------------------------------------------------- waiting


def test_who_waits_is_woken_by_another_process() -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), shared=True)
    with child(hold_and_wait, limits, SLOTS) as (_, pipe):
        assert pipe.recv() == "held"
        began = CLOCK.monotonic()
        releaser = threading.Timer(0.2, pipe.send, ["go on"])
        releaser.start()
        with limits.acquire(timeout=10):
            # A look every half second would take longer.
            assert 0.15 < CLOCK.monotonic() - began < 0.45
        releaser.join()
        assert pipe.recv() == "free"


def test_processes_and_threads_stand_in_one_line() -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), shared=True)
    with child(stand_in_line, limits) as (process, pipe):
        with limits.acquire():
            assert pipe.recv() == "here"
            until(lambda: limits.stats["slots"].waiting == 1)
            # There is room, but the child was here before and wants all of it.
            with pytest.raises(LimitTimeout), limits.acquire(timeout=0.05):
                pass
        assert pipe.recv() == "held"
        process.join(20)
        with limits.acquire(timeout=10):
            assert limits.stats["slots"].waiting == 0


def test_rates_are_shared_and_waited_for_to_the_instant(tmp_path: Path) -> None:
    def one() -> LimitSet:
        return LimitSet(Rate(1, per=0.2, key="rate"), shared=tmp_path / "limits")

    began = CLOCK.monotonic()
    for _ in range(3):
        limits = one()
        with limits.acquire():
            pass
    assert 0.4 <= CLOCK.monotonic() - began < 0.6


async def test_tasks_wait_for_other_processes_without_stopping_their_loop() -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), shared=True)
    with child(hold_and_wait, limits, SLOTS) as (_, pipe):
        assert await asyncio.to_thread(pipe.recv) == "held"
        turns = 0

        async def count() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0.005)  # noqa: TID251 - is the loop alive?
                turns += 1
                if turns == 20:
                    pipe.send("go on")

        counting = asyncio.create_task(count())
        async with limits.aacquire(timeout=10):
            assert turns >= 20
        counting.cancel()
        assert await asyncio.to_thread(pipe.recv) == "free"
    assert used(limits) == 0


# ------------------------------------------------------------- death


@pytest.mark.parametrize("method", METHODS)
def test_what_a_killed_process_held_comes_back(method: str) -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), shared=True)
    with child(hold_and_die, limits, method=method) as (process, pipe):
        assert pipe.recv() == "held"
        began = CLOCK.monotonic()
        killer = threading.Timer(0.1, pipe.send, ["die"])
        killer.start()
        # It stands in line when the holder dies, and nobody releases anything.
        with limits.acquire({"slots": SLOTS}, timeout=10):
            assert CLOCK.monotonic() - began < 2
        killer.join()
        process.join()
        assert process.exitcode == -signal.SIGKILL


def test_who_dies_in_line_holds_up_nobody() -> None:
    limits = LimitSet(Slots(SLOTS, key="slots"), shared=True)
    with limits.acquire(), child(stand_in_line, limits) as (process, pipe):
        assert pipe.recv() == "here"
        until(lambda: limits.stats["slots"].waiting == 1)
        process.kill()
        process.join()
        # It was first and wanted all; there is room for one, behind it.
        with limits.acquire(timeout=10):
            assert limits.stats["slots"].waiting == 0
    folder = Path(limits._source.path or "").parent
    assert not list(folder.glob(f"{Path(limits._source.path or '').name}.*"))


def test_a_step_that_was_cut_short_is_completed_by_the_next(tmp_path: Path) -> None:
    region = Region(tmp_path / "region", 4096)
    base = 32 * 1024
    at = [base // 2 + 64 * number for number in range(3)]
    assert max(at) < region._size

    class Killed(BaseException):
        pass

    class Dying:
        """Memory that is cut off after so many writes."""

        def __init__(self, memory: Any, writes: int) -> None:
            self.memory, self.left = memory, writes

        def __setitem__(self, key: Any, value: Any) -> None:
            if not self.left:
                raise Killed
            self.left -= 1
            self.memory[key] = value

        def __getitem__(self, key: Any) -> Any:
            return self.memory[key]

    memory = region._bytes
    for writes in range(12):
        with region:
            for where in at:
                region.write(where, b"old!")
        # The length is the mark of a journal that is whole; it is written in one go.
        region._bytes = Dying(memory, writes)  # type: ignore[assignment]
        with suppress(Killed, TypeError), region:
            for where in at:
                region.write(where, b"new!")
        region._bytes = memory
        with region:
            found = {region.read(where, 4) for where in at}
        assert len(found) == 1, f"half of a step after {writes} writes"
    region.close()


def test_processes_are_told_apart_by_their_start() -> None:
    me = myself()
    assert is_alive(me)
    assert not is_alive(Identity(me.pid, me.start + 1))
    gone = subprocess.Popen([sys.executable, "-c", ""])
    identity = Identity(gone.pid, 0)
    # It has ended, but nobody has waited for it.
    until(lambda: not is_alive(identity._replace(start=_start(gone.pid))))
    gone.wait()
    assert not is_alive(identity)


def _start(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[19])


# ------------------------------------------------------------- what cannot be


def test_a_region_ends_with_the_process_that_made_it() -> None:
    limits = LimitSet(Slots(1, key="slots"))
    packed = pickle.dumps(limits)
    path = Path(limits._source.path or "")
    assert path.exists()
    del limits
    assert not path.exists()
    with pytest.raises(NotOpen, match="have ended with the process that made them"):
        pickle.loads(packed)


def test_what_is_held_outlives_the_set_it_is_of() -> None:
    path = ""
    with LimitSet(Slots(1, key="slots"), shared=True).acquire() as got:
        assert got.amounts == {"slots": 1}
        (path,) = [str(one) for one in _folder().glob(f"unnamed-{os.getpid()}-*")]
    del got
    assert not Path(path).exists()


def test_threads_that_send_a_set_at_the_same_time_share_one_region() -> None:
    limits = LimitSet(Slots(1, key="slots"))
    barrier = threading.Barrier(8)
    packed: list[bytes] = []

    def pack() -> None:
        barrier.wait(10)
        packed.append(pickle.dumps(limits))

    threads = [threading.Thread(target=pack) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(10)
    assert len(set(packed)) == 1
    assert len(packed) == 8


def _folder() -> Path:
    return Path(LimitSet(Slots(1), shared=True)._source.path or "").parent


def test_regions_of_dead_processes_are_removed() -> None:
    kept = LimitSet(Slots(1), shared=True)
    folder = Path(kept._source.path or "").parent
    left = folder / f"unnamed-{2**22 + 5}-7-abc"
    left.touch()
    other = LimitSet(Slots(1), shared=True)
    assert not left.exists()
    assert Path(kept._source.path or "").exists()
    assert other != kept


@pytest.mark.parametrize("name", ["", ".hidden", "a b", "a\nb", "ä/../b\0"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises((InvalidOption, ValueError)):
        LimitSet(Slots(1), shared=name)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    foreign = tmp_path / "notes.txt"
    foreign.write_text("not yours", "utf-8")
    with pytest.raises(SchemaMismatch, match="holds no limits"):
        LimitSet(Slots(1), shared=foreign)
    assert foreign.read_text("utf-8") == "not yours"
    link = tmp_path / "link"
    link.symlink_to(foreign)
    with pytest.raises(InvalidOption, match="cannot be opened"):
        LimitSet(Slots(1), shared=link)
    with pytest.raises(InvalidOption, match="cannot be opened"):
        LimitSet(Slots(1), shared=tmp_path / "no" / "folder")


def test_a_region_of_another_boot_is_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "limits"
    keeper = SharedKeeper(path)
    ask = Hold(key="a", slots=1)
    assert isinstance(keeper.acquire((ask,), None), Granted)
    keeper.close()
    monkeypatch.setattr("treadle.pools.limiting.region.boot", lambda: "another boot")
    keeper = SharedKeeper(path)
    assert isinstance(keeper.acquire((ask,), None), Granted)
    keeper.close()


def test_a_clock_of_its_own_does_not_travel() -> None:
    limits = LimitSet(Slots(1), clock=ManualClock())
    with pytest.raises(InvalidOption, match="clock of their own"):
        pickle.dumps(limits)


def test_more_limits_together_than_can_be_shared(tmp_path: Path) -> None:
    limits = LimitSet(*(Slots(1, key=f"k{n}") for n in range(17)), shared=tmp_path / "limits")
    with pytest.raises(InvalidOption, match="17 together are more than the 16"), limits.acquire():
        pass


def test_keys_come_and_go_without_end_but_not_all_at_once(tmp_path: Path) -> None:
    limits = LimitSet(Slots(1, by="tenant"), shared=tmp_path / "limits")
    for number in range(6000):
        with limits.acquire(arguments={"tenant": number}):
            pass

    def take_too_many(held: ExitStack) -> None:
        for number in range(5000):
            held.enter_context(limits.acquire(arguments={"tenant": number}))

    with ExitStack() as held, pytest.raises(BackendFull, match="no room for another key"):
        take_too_many(held)
    with limits.acquire(arguments={"tenant": "again"}, timeout=0):
        pass


# ------------------------------------------------------------- together


def _many(
    tmp_path: Path, *, times: int, slots: int = SLOTS, kills: int = 0, seed: int = 0
) -> LimitSet:
    """Four processes of two threads that take from one set, some of them killed and replaced."""
    page, region = tmp_path / "page", tmp_path / "limits"
    page.write_bytes(bytes(PLACES))

    def start(number: int) -> subprocess.Popen[bytes]:
        words = [sys.executable, "-m", "tests.pools.limit_processes", str(region)]
        words += [str(times), str(number), str(page), str(slots)]
        return subprocess.Popen(words, cwd=ROOT)

    running = {number: start(number) for number in range(4)}
    for turn in range(kills):
        chance = pow(seed, turn + 5, 997)
        CLOCK.wait(threading.Event(), 0.05 + chance % 250 / 1000)
        number = chance % 4
        one = running.pop(number)
        # Stopped first, so that what it has written down goes before what it holds.
        one.send_signal(signal.SIGSTOP)
        _, status = os.waitpid(one.pid, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            with page.open("r+b") as file:
                file.seek(2 * number)
                file.write(bytes(2))
            one.kill()
            one.wait()
        running[number] = start(number)
    assert [one.wait(LONGEST - 10) for one in running.values()] == [0] * 4
    return limits_in(region)


def _all_is_back(limits: LimitSet) -> None:
    with limits.acquire({"slots": SLOTS}, timeout=10):
        assert limits.stats["slots"].waiting == 0
    assert used(limits) == 0


def test_never_more_than_there_is_over_processes(tmp_path: Path) -> None:
    _all_is_back(_many(tmp_path, times=600))


@pytest.mark.parametrize("seed", [3, 11])
def test_never_more_than_there_is_while_processes_are_killed(tmp_path: Path, seed: int) -> None:
    _all_is_back(_many(tmp_path, times=400, kills=5, seed=seed))


@pytest.mark.slow
@pytest.mark.timeout(LONGEST)
def test_never_more_than_there_is_in_very_many_acquisitions(tmp_path: Path) -> None:
    # With less room nearly everybody would wait for the next turn of the scheduler.
    _all_is_back(_many(tmp_path, times=MANY // 4, slots=12))
