"""Locks: one holder at a time, with a fence, on every backend that has shared state."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.places import place
from tests.queue.lock_kit import Asked, clock, still, timed
from tests.queue.lock_user import NAME
from treadle import CONTEXT, Context, Lock, LockTimeout, Treadle
from treadle.errors import (
    Blocking,
    InvalidOption,
    NotOpen,
    UnknownOption,
    Unsupported,
    UsageError,
)
from treadle.ports import Feature
from treadle.testing.clock import ManualClock, eventually, settle

__all__ = ["clock", "still", "timed"]


# ---------------------------------------------------------------- one holder


async def test_the_value_is_a_number_that_grows(app: Treadle) -> None:
    fences: list[int] = []
    for name in ("one", "other", "one"):
        async with app.lock(name) as fence:
            fences.append(fence)
    lock = app.lock("one")
    fences.append(await lock.aacquire(timeout=0))
    assert lock.fence == fences[-1]
    await lock.arelease()
    assert fences == sorted(set(fences))


async def test_one_holder_at_a_time_of_each_name(app: Treadle) -> None:
    async with app.lock("one") as _:
        with pytest.raises(LockTimeout, match=r"lock 'one' was not free within 0 s") as caught:
            await app.lock("one").aacquire(timeout=0)
        assert caught.value.name == "one"
        async with app.lock("other", timeout=0):
            pass
    async with app.lock("one", timeout=0):
        pass


async def test_tasks_of_a_loop_exclude_each_other(app: Treadle) -> None:
    inside, fences = 0, list[int]()

    async def use() -> None:
        nonlocal inside
        async with app.lock("one", timeout=30) as fence:
            inside += 1
            assert inside == 1
            await asyncio.sleep(0)  # noqa: TID251 - the others have their chance
            inside -= 1
            fences.append(fence)

    await asyncio.gather(*(use() for _ in range(20)))
    assert fences == sorted(set(fences))


def test_threads_exclude_each_other(url: str) -> None:
    fences: list[int] = []
    inside = threading.Lock()

    def use(app: Treadle) -> None:
        for _ in range(5):
            with app.lock("one", timeout=30) as fence:
                assert inside.acquire(blocking=False)
                fences.append(fence)
                inside.release()

    with Treadle(url) as app:
        threads = [threading.Thread(target=use, args=(app,)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(fences) == 30
    assert fences == sorted(set(fences))


async def test_plain_code_and_event_loops_exclude_each_other(app: Treadle) -> None:
    def plain() -> None:
        with pytest.raises(LockTimeout):
            app.lock("one").acquire(timeout=0)

    async with app.lock("one"):
        await asyncio.to_thread(plain)
    await asyncio.to_thread(app.lock("one").acquire, 0)
    with pytest.raises(LockTimeout):
        await app.lock("one").aacquire(timeout=0)


async def test_first_come_first_served(app: Treadle, monkeypatch: pytest.MonkeyPatch) -> None:
    served: list[int] = []
    asked = Asked(app, monkeypatch)

    async def use(number: int) -> None:
        async with app.lock("one"):
            served.append(number)

    async with app.lock("one"):
        users: list[asyncio.Task[None]] = []
        for number in range(6):
            users.append(asyncio.create_task(use(number)))
            await eventually(lambda number=number: asked.in_line > number)  # type: ignore[misc]
    await asyncio.gather(*users)
    assert served == list(range(6))


async def test_who_gives_up_does_not_stop_the_line(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(still, monkeypatch)
    async with still.lock("one"):
        tired = asyncio.create_task(still.lock("one").aacquire(timeout=2))
        await eventually(lambda: asked.in_line == 1)
        called_off = asyncio.create_task(still.lock("one").aacquire())
        await eventually(lambda: asked.in_line == 2)
        await clock.aadvance(2.1)
        with pytest.raises(LockTimeout):
            await tired
        called_off.cancel()
        await asyncio.wait({called_off})
    await still.lock("one").aacquire(timeout=0)


async def test_a_release_is_heard_and_nobody_asks_before(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(still, monkeypatch)
    async with still.lock("one"):
        waiting = asyncio.create_task(still.lock("one").aacquire())
        await clock.aadvance(0.1)
        before = len(asked.answers)
        await clock.aadvance(0.8)
        assert len(asked.answers) == before
    await settle()  # no time passes: the release woke it
    assert waiting.done()
    assert len(asked.answers) == before + 1


async def test_a_long_line_is_not_woken_as_a_whole(
    still: Treadle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = Asked(still, monkeypatch)

    async def use() -> None:
        async with still.lock("one"):
            pass

    async with still.lock("one"):
        users = [asyncio.create_task(use()) for _ in range(15)]
        await clock.aadvance(0.9)
        before = len(asked.answers)
    await asyncio.gather(*users)
    assert len(asked.answers) - before <= 2 * 15


@pytest.mark.parametrize("taken", [False, True], ids=["free", "taken"])
async def test_a_caller_who_is_cancelled_is_granted_nothing(
    still: Treadle, monkeypatch: pytest.MonkeyPatch, taken: bool
) -> None:
    """The store has granted it, or a place in line, and the answer finds nobody."""
    asked, answer = Asked(still, monkeypatch), asyncio.Event()
    if taken:
        await still.lock("one", lease=1).aacquire()
    asked.before = answer.wait
    waiting = asyncio.create_task(still.lock("one").aacquire())
    await settle()
    waiting.cancel()
    await asyncio.wait({waiting})
    asked.before = None
    answer.set()
    await settle()
    still.core.clock.advance(1)  # type: ignore[attr-defined]
    await still.lock("one").aacquire(timeout=0)


# ---------------------------------------------------------------- its handle


async def test_a_handle_is_one_holder(still: Treadle) -> None:
    lock = still.lock("one")
    for use in (lock.arelease, lock.aextend):
        with pytest.raises(NotOpen, match="has not acquired it"):
            await use()
    with pytest.raises(NotOpen):
        _ = lock.fence
    async with lock:
        with pytest.raises(UsageError, match=r"app.lock\('one'\)"):
            await lock.aacquire()
        assert repr(lock) == "<Lock 'one', held>"
    async with lock:
        await lock.arelease()
        async with still.lock("one", timeout=0):
            pass
    assert repr(lock) == "<Lock 'one', not held>"


def test_plain_verbs(url: str) -> None:
    with Treadle(url) as app:
        lock = app.lock("one", timeout=5)
        assert lock.acquire() == lock.fence
        lock.extend("1m")
        with pytest.raises(LockTimeout):
            app.lock("one").acquire(timeout=0.01)
        lock.release()
        with lock:
            lock.release()
        with lock, app.lock("other"):
            pass


async def test_blocking_verbs_are_refused_in_a_loop(still: Treadle) -> None:
    lock = still.lock("one")
    with pytest.raises(Blocking, match=r"await lock.aacquire\(\)"):
        lock.acquire()
    with pytest.raises(Blocking, match=r"async with app\.lock"), lock:
        pass


@pytest.mark.parametrize("name", ["", "x" * 201, "a\nb", 7])
def test_names_that_nobody_can_see_are_refused(name: Any) -> None:
    with pytest.raises(InvalidOption, match="is not the name of a lock"):
        Treadle("memory://").lock(name)


def test_options_are_checked() -> None:
    app = Treadle("memory://")
    with pytest.raises(InvalidOption, match="lease"):
        app.lock("one", lease=0)
    with pytest.raises(InvalidOption, match="timeout"):
        app.lock("one", timeout=-1)
    with pytest.raises(UnknownOption, match="lease"):
        app.lock("one", ttl=5)  # type: ignore[call-arg]


async def test_a_store_without_shared_state_refuses(
    still: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(still.core.store.made, "features", frozenset[Feature]())
    with pytest.raises(Unsupported, match=r"app.lock\(\) needs"):
        await still.lock("one").aacquire()


# ---------------------------------------------------------------- in tasks


@pytest.mark.parametrize("mode", ["thread", "asyncio"])
async def test_jobs_exclude_each_other(app: Treadle, mode: str) -> None:
    inside, fences = 0, list[int]()

    def use(fence: int) -> None:
        nonlocal inside
        inside += 1
        assert inside == 1
        fences.append(fence)
        inside -= 1

    if mode == "thread":

        @app.task(name="use")
        def plain(ctx: Context = CONTEXT) -> None:
            with ctx.lock("one", timeout=30) as fence:
                use(fence)

        jobs = [await plain.aenqueue() for _ in range(8)]
    else:

        @app.task(name="use")
        async def awaited(ctx: Context = CONTEXT) -> None:
            async with ctx.lock("one", timeout=30) as fence:
                use(fence)

        jobs = [await awaited.aenqueue() for _ in range(8)]
    async with app.foreman(concurrency=4, burst=True) as foreman:
        await foreman.join()
    for job in jobs:
        await job.aresult(timeout=0)
    assert len(fences) == 8


# ---------------------------------------------------------------- many processes


@pytest.fixture(params=["sqlite", "redis", "postgres"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that processes can share."""
    with place(request, tmp_path) as url:
        yield url


@contextmanager
def process(*args: str) -> Iterator[subprocess.Popen[str]]:
    """Somebody else who uses locks."""
    command = [sys.executable, "-m", "tests.queue.lock_user", *args]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_processes_exclude_each_other(shared: str, tmp_path: Path) -> None:
    (tmp_path / "counter").touch()
    with Treadle(shared) as app, app.lock(NAME):
        pass
    args = ("work", shared, str(tmp_path), "20")
    with process(*args) as one, process(*args) as two, process(*args) as three:
        assert [child.wait(60) for child in (one, two, three)] == [0, 0, 0]
    lines = (tmp_path / "ledger").read_text().splitlines()
    fences, numbers = zip(*(map(int, line.split()) for line in lines), strict=True)
    assert numbers == tuple(range(1, 61))
    assert fences == tuple(sorted(set(fences)))


def test_what_a_killed_process_held_comes_back(shared: str) -> None:
    with process("hold", shared) as child, Treadle(shared) as app:
        assert child.stdout is not None
        before = int(child.stdout.readline())
        with pytest.raises(LockTimeout):
            app.lock(NAME).acquire(timeout=0.1)
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert app.lock(NAME).acquire(timeout=10) > before


def test_a_process_that_stood_still_has_lost_it(shared: str) -> None:
    with process("hold", shared) as child, Treadle(shared) as app:
        assert child.stdout is not None
        assert child.stdin is not None
        before = int(child.stdout.readline())
        child.send_signal(signal.SIGSTOP)
        lock: Lock = app.lock(NAME)
        assert lock.acquire(timeout=10) > before
        child.send_signal(signal.SIGCONT)
        child.stdin.close()  # it leaves the block, and is told
        assert child.wait(20) == 1
        assert lock.held
