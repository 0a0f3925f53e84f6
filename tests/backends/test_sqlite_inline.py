"""Steps that are carried out in the loop of who asks: when they are, and who hears of them."""

from __future__ import annotations

import asyncio
import fcntl
import sqlite3
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from treadle.backends.sqlite import journal
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.backends.sqlite.log import Log
from treadle.backends.sqlite.tx import Reading
from treadle.backends.sqlite.writer import Operation
from treadle.errors import BackendStalled
from treadle.testing.clock import ManualClock, eventually, settle

LOOP, WRITER = "MainThread", "treadle-sqlite"
Where = Callable[[], list[str]]


@pytest.fixture
def where(monkeypatch: pytest.MonkeyPatch) -> Where:
    """Gives the threads of the steps that were carried out since it was last asked."""
    threads: list[str] = []
    tell = Operation.__init__

    def told(self: Operation, run: Callable[[Any], Any], untold: Any, **options: bool) -> None:
        def seen(tx: Any) -> Any:
            threads.append(threading.current_thread().name)
            return run(tx)

        tell(self, seen, untold, **options)

    def asked() -> list[str]:
        found, threads[:] = threads[:], []
        return found

    monkeypatch.setattr(Operation, "__init__", told)
    return asked


async def calm(backend: SqliteBackend) -> None:
    """Wait until the thread has told others of what it wrote: it answers before that."""
    await eventually(lambda: not backend._store.writer._turn_lock.locked())


# -- writing -------------------------------------------------------------------------------------


async def test_what_must_reach_the_disk_is_left_to_the_thread(tmp_path: Path, where: Where) -> None:
    """It takes milliseconds, in which a loop would stand still."""
    async with opened(tmp_path / "jobs.db") as backend:
        who = await session(backend)
        where()
        await backend.push([job()])
        assert where() == [WRITER]
        await calm(backend)
        leases = await claim(backend, who)
        assert where() == [LOOP]
        await finish(backend, leases)
        assert where() == [WRITER]


async def test_a_large_step_is_left_to_the_thread(tmp_path: Path, where: Where) -> None:
    async with opened(tmp_path / "jobs.db", "?durability=normal") as backend:
        await calm(backend)
        where()
        await backend.push(jobs(100))
        await backend.push(jobs(101))
        assert where() == [LOOP, WRITER]


async def test_claims_that_wait_for_the_disk_are_left_to_the_thread(
    tmp_path: Path, where: Where
) -> None:
    """From the first job on that runs at most once, because the next claim may give another."""
    async with opened(tmp_path / "jobs.db") as backend:
        who = await session(backend)
        await backend.push([job(at_most_once=True), *jobs(3)])
        where()
        for request in range(1, 5):
            await calm(backend)
            assert len(await claim(backend, who, request, limit=1)) == 1
        assert where() == [LOOP, WRITER, WRITER, WRITER]


async def test_nobody_waits_in_the_loop_for_the_thread(tmp_path: Path, where: Where) -> None:
    """While the thread writes, what comes lines up behind it."""
    entered, go_on = threading.Event(), threading.Event()
    times_out: list[bool] = []

    def stay(_: Any) -> None:
        entered.set()
        times_out.append(not go_on.wait(10.0))

    async with opened(tmp_path / "jobs.db", "?durability=normal") as backend:
        where()
        busy = asyncio.create_task(backend._store.write(stay))
        await asyncio.to_thread(entered.wait, 10.0)
        pushing = asyncio.create_task(backend.push([job()]))
        await eventually(lambda: len(backend._store.writer._asked) == 1)
        go_on.set()
        await asyncio.gather(busy, pushing)
        assert times_out == [False]
        assert where() == [WRITER, WRITER]


async def test_nobody_writes_in_the_loop_while_another_process_does(
    tmp_path: Path, where: Where
) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal") as backend:
        await backend.push([job()])
        where()
        # As another process: the lock belongs to what was opened, not to who has opened it.
        with (tmp_path / "jobs.db-lock").open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            pushing = asyncio.create_task(backend.push([job()]))
            gate = backend._store.writer._gate
            assert gate is not None
            await eventually(lambda: gate.waited() > 0 or pushing.done())
            assert where() == []
        await pushing
        assert where() == [WRITER]


async def test_nobody_looks_for_space_in_the_loop(tmp_path: Path, where: Where) -> None:
    """On a full disk what can be done is found out by the thread."""
    async with opened(tmp_path / "jobs.db", "?durability=normal") as backend:
        who = await session(backend)
        await calm(backend)
        backend._store.journal.full = True
        where()
        await claim(backend, who)
        assert where() == [WRITER]


async def test_who_waits_hears_of_what_was_done_in_the_loop(tmp_path: Path, where: Where) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "jobs.db", "?durability=normal", clock=clock) as backend:
        waiting = asyncio.create_task(backend.wait(["*"], 60.0))
        await settle()
        await calm(backend)
        where()
        await backend.push([job()])
        assert where() == [LOOP]
        await asyncio.wait_for(waiting, 10.0)


async def test_the_log_is_written_back_after_steps_in_the_loop(
    tmp_path: Path, where: Where, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 100_000)
    async with opened(tmp_path / "jobs.db", "?durability=normal") as backend:
        writer = backend._store.writer
        for _ in range(30):
            await calm(backend)
            where()
            await backend.push(jobs(20, payload=b"x" * 500))
            assert where() == [LOOP]
            await eventually(lambda: not writer._must_tidy)
        assert (tmp_path / "jobs.db-wal").stat().st_size < 500_000


# -- looking -------------------------------------------------------------------------------------


def number_of_jobs(reading: Reading) -> int:
    found = reading.execute("SELECT count(*) FROM treadle_job").fetchone()
    return int(found[0])


async def test_all_statements_of_a_look_see_one_moment(tmp_path: Path) -> None:
    """Though another process commits between them."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        await backend.push([job()])
        with closing(sqlite3.connect(path, isolation_level=None)) as other:

            def look(reading: Reading) -> tuple[int, int]:
                before = number_of_jobs(reading)
                other.execute("DELETE FROM treadle_job")
                return before, number_of_jobs(reading)

            assert await backend._store.read(look, brief=True) == (1, 1)
            assert await backend._store.read(number_of_jobs, brief=True) == 0


async def test_a_look_changes_nothing(tmp_path: Path) -> None:
    def change(reading: Reading) -> None:
        reading.execute("DELETE FROM treadle_job")

    async with opened(tmp_path / "jobs.db") as backend:
        await backend.push([job()])
        for brief in (True, False):
            with pytest.raises(Exception, match="readonly"):
                await backend._store.read(change, brief=brief)
        assert await backend._store.read(number_of_jobs) == 1


@pytest.mark.parametrize("single", [True, False])
async def test_a_look_that_meets_a_lock_is_left_to_a_thread(tmp_path: Path, single: bool) -> None:
    """The log is rebuilt just then, which may take a while."""
    threads: list[str] = []

    def look(reading: Reading) -> int:
        threads.append(threading.current_thread().name)
        if len(threads) == 1:
            raise BackendStalled("locked", backend="jobs.db")
        return number_of_jobs(reading)

    async with opened(tmp_path / "jobs.db") as backend:
        await backend.push(jobs(3))
        store = backend._store
        assert await (store.glance(look) if single else store.read(look, brief=True)) == 3
        assert [name.split("_")[0] for name in threads] == [LOOP, "treadle-sqlite-read"]


async def test_no_look_in_the_loop_waits_for_a_lock(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as backend:
        store = backend._store
        busy = "PRAGMA busy_timeout"

        def patience(reading: Reading) -> int:
            return int(reading.execute(busy).fetchone()[0])

        assert await store.read(patience, brief=True) == 0
        assert await store.glance(patience) == 0
        assert await store.read(patience) > 0


# -- the log -------------------------------------------------------------------------------------

PAGE = 4096
FRAME = 24 + PAGE
HEADER = 32


@pytest.fixture
def written(tmp_path: Path) -> sqlite3.Connection:
    """A database with a table and a write-ahead log that is never written back by itself."""
    made = sqlite3.connect(tmp_path / "some.db", isolation_level=None)
    made.execute(f"PRAGMA page_size = {PAGE}")
    made.execute("PRAGMA journal_mode = WAL")
    made.execute("PRAGMA wal_autocheckpoint = 0")
    made.execute("CREATE TABLE t (x)")
    return made


def test_the_log_is_as_long_as_its_frames(tmp_path: Path, written: sqlite3.Connection) -> None:
    log = Log(str(tmp_path / "some.db-wal"))
    for _ in range(5):
        written.execute("INSERT INTO t VALUES (1)")
    size = (tmp_path / "some.db-wal").stat().st_size
    frames = (size - HEADER) // FRAME
    assert frames >= 6
    assert log.reaches(HEADER + frames * FRAME)
    assert not log.reaches(HEADER + (frames + 1) * FRAME)
    log.close()
    written.close()


def test_a_log_that_began_anew_is_short(tmp_path: Path, written: sqlite3.Connection) -> None:
    """What is behind its end is of the time before."""
    log = Log(str(tmp_path / "some.db-wal"))
    for _ in range(20):
        written.execute("INSERT INTO t VALUES (1)")
    assert log.reaches(HEADER + 20 * FRAME)
    assert written.execute("PRAGMA wal_checkpoint(RESTART)").fetchone()[0] == 0
    written.execute("INSERT INTO t VALUES (1)")
    assert not log.reaches(HEADER + 20 * FRAME)
    assert log.reaches(HEADER + FRAME)
    log.close()
    written.close()


def test_a_log_that_is_empty_or_missing_reaches_nothing(tmp_path: Path) -> None:
    path = tmp_path / "some.db-wal"
    log = Log(str(path))
    assert not log.reaches(0)
    path.touch()
    assert not log.reaches(100)
    log.close()


# -- waiting -------------------------------------------------------------------------------------


async def test_the_place_of_who_gives_up_when_woken_is_for_the_next(tmp_path: Path) -> None:
    clock = ManualClock()
    async with opened(tmp_path / "jobs.db", "?durability=normal", clock=clock) as backend:
        await backend.push([job()])
        leases = await claim(backend, await session(backend))
        await calm(backend)
        waiting = [asyncio.create_task(backend.wait_for_room("default", 1, 60.0)) for _ in range(2)]
        await eventually(lambda: sum(alarm.live for alarm in clock._alarms) == 2)
        await finish(backend, leases)
        # It has been woken, and has not run yet.
        waiting[0].cancel()
        done, _ = await asyncio.wait(waiting, timeout=10.0)
        assert len(done) == 2
        assert waiting[0].cancelled()
        assert waiting[1].exception() is None
