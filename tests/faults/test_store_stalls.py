"""Somebody holds the store of others: a stopped process, a long reader, a large writer."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from tests.backends.test_sqlite_processes import Child, counts, ready, url
from treadle.backends.sqlite import journal
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.errors import BackendStalled
from treadle.ports import Granted, Held, Query
from treadle.records import Hold, JobState, Lease, PushStatus, Renewal, Session, Settled
from treadle.testing import ManualClock
from treadle.testing.clock import eventually

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="no process can be stopped")
LEASE = 10.0


@asynccontextmanager
async def frozen(path: Path) -> AsyncIterator[Child]:
    """Another process that is stopped in the middle of a transaction."""
    async with ready("freeze", url(path)) as holder:
        holder.go()
        assert await holder.line() == "stopping"
        status = Path(f"/proc/{holder.pid}/stat")
        if status.exists():
            await eventually(lambda: status.read_text().rpartition(")")[2].split()[0] == "T")
        try:
            yield holder
        finally:
            if holder.process.returncode is None:
                os.kill(holder.pid, signal.SIGCONT)


async def thaw(holder: Child) -> None:
    """Let it go on and end."""
    os.kill(holder.pid, signal.SIGCONT)
    assert await holder.line() == "continued"
    await holder.end()


async def held(backend: SqliteBackend, name: str) -> tuple[Session, Sequence[Lease]]:
    """A foreman with five started jobs."""
    await backend.push(jobs(5, queue=name))
    who = await session(backend, name)
    leases = await claim(backend, who, queues=(name,), lease=LEASE)
    assert await renew(backend, who, leases) == {Renewal.HELD}
    return who, leases


async def renew(backend: SqliteBackend, who: Session, leases: Sequence[Lease]) -> set[Renewal]:
    items = [Held(token=lease.token, started=True) for lease in leases]
    return set(await backend.extend(who, items, LEASE))


async def test_who_is_stopped_in_a_transaction_is_named(tmp_path: Path) -> None:
    """To each that asks, after its patience; nothing that was refused is carried out later."""
    path = tmp_path / "jobs.db"
    async with opened(path, "?patience=0.2") as backend:
        who, leases = await held(backend, "q")
        async with frozen(path) as holder:
            asked = await asyncio.gather(
                backend.push([job()]),
                finish(backend, leases),
                claim(backend, who, 2),
                renew(backend, who, leases),
                return_exceptions=True,
            )
            for error in asked:
                assert isinstance(error, BackendStalled)
                assert error.pid == holder.pid
                assert str(holder.pid) in str(error)
            # Who only looks is not held up.
            assert len((await backend.find(Query(queue="q"))).records) == 5
            await thaw(holder)
        assert await counts(backend) == {JobState.RUNNING: 5}
        assert await finish(backend, leases) == [Settled.OK] * 5


async def test_leases_that_could_not_be_renewed_are_not_lost(tmp_path: Path) -> None:
    """However many: who comes first after the stall leaves the others the time to renew theirs."""
    path = tmp_path / "jobs.db"
    clock = ManualClock()
    async with opened(path, "?patience=1.5", clock=clock) as backend:
        foremen = [await held(backend, f"q{number}") for number in range(4)]
        hold = (Hold(key="door", slots=1),)
        granted = await backend.acquire(hold, "me", lease=LEASE)
        assert isinstance(granted, Granted)
        async with frozen(path) as holder:
            with pytest.raises(BackendStalled):
                await backend.push([job()])
            # The leases end within the stall.
            clock.advance(LEASE + 1.0)
            await thaw(holder)
        other = await session(backend, "other")
        assert await claim(backend, other, queues=("*",)) == ()
        assert not isinstance(await backend.acquire(hold, "you"), Granted)
        assert await backend.renew(granted.permit)
        for who, leases in foremen:
            assert await renew(backend, who, leases) == {Renewal.HELD}
            assert await finish(backend, leases) == [Settled.OK] * 5
        found = await backend.find(Query(limit=100))
        assert {(one.state, one.crashes, one.fence) for one in found.records} == {
            (JobState.SUCCEEDED, 0, 1)
        }


async def test_leases_that_nobody_renews_lapse_a_little_later(tmp_path: Path) -> None:
    """By as much as the stall took; those that had lapsed before it are not spared."""
    path = tmp_path / "jobs.db"
    clock = ManualClock()
    async with opened(path, "?patience=1.5", clock=clock) as backend:
        await held(backend, "before")
        clock.advance(LEASE + 60.0)
        await held(backend, "within")
        async with frozen(path) as holder:
            with pytest.raises(BackendStalled):
                await backend.push([job()])
            clock.advance(LEASE + 1.0)
            await thaw(holder)
        states = await _states(backend)
        assert (states["before"], states["within"]) == ({JobState.QUEUED}, {JobState.RUNNING})
        clock.advance(60.0)
        assert (await _states(backend))["within"] == {JobState.QUEUED}


async def _states(backend: SqliteBackend) -> dict[str, set[JobState]]:
    page = await backend.find(Query(counts=True, limit=1))
    return {
        queue: {state for state, n in found.items() if n} for queue, found in page.counts.items()
    }


# ------------------------------------------------------------- long readers, large writers


async def test_a_long_reader_stops_nobody_and_the_log_grows_no_longer_than_it_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It grows as long as somebody reads from an old moment, and not after that."""
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 200_000)
    path = tmp_path / "jobs.db"
    log = Path(f"{path}-wal")
    async with opened(path, "?durability=normal") as backend:
        who = await session(backend)
        await backend.push(jobs(1))
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM treadle_job").fetchone() == (1,)
        for number in range(20):
            await backend.push(jobs(10, payload=bytes(2000)))
            leases = await claim(backend, who, number + 1, 10)
            assert await finish(backend, leases) == [Settled.OK] * 10
        assert log.stat().st_size > 2 * journal.CHECKPOINT_BYTES
        # It still reads what it began with.
        assert reader.execute("SELECT count(*) FROM treadle_job").fetchone() == (1,)
        reader.execute("ROLLBACK")
        reader.close()
        # It is written back when it has grown by a part of what it may have.
        for _ in range(5):
            await backend.push(jobs(10, payload=bytes(2000)))
        grown = log.stat().st_size
        for _ in range(15):
            await backend.push(jobs(10, payload=bytes(2000)))
        # Written over, not made longer.
        assert log.stat().st_size == grown
        assert sum((await counts(backend)).values()) == 401


@pytest.mark.slow
async def test_a_writer_of_200_megabytes_leaves_room_for_the_others(tmp_path: Path) -> None:
    """Others push and serve between its transactions, and the log stays bounded."""
    path = tmp_path / "jobs.db"
    log = Path(f"{path}-wal")
    largest = 0
    async with (
        opened(path, "?durability=normal") as backend,
        opened(path, "?durability=normal") as bulky,
        ready("drain", url(path), "10") as other,
    ):
        await backend.push(jobs(500, queue="small"))
        written = 0

        async def write() -> None:
            nonlocal written, largest
            for _ in range(20):
                await bulky.push(jobs(10, queue="large.of.it", payload=bytes(1 << 20)))
                written += 1
                largest = max(largest, log.stat().st_size)

        async def trickle() -> int:
            pushed = 0
            while written < 20:
                await backend.push(jobs(1, queue="trickle"))
                pushed += 1
            return pushed

        other.go()
        _, pushed = await asyncio.gather(write(), trickle())
        # One between each two of the large ones, at the least.
        assert pushed >= 19
        drained = await other.lines()
        await other.end()
        assert len(drained) >= 500
        # A transaction of ten megabytes above the bound, and what came while it was written back.
        assert largest <= journal.CHECKPOINT_BYTES + (24 << 20), largest
        page = await backend.find(Query(queue="large.of.it", counts=True, limit=1))
        assert sum(page.counts["large.of.it"].values()) == 200
        assert [one.status for one in await backend.push([job()])] == [PushStatus.CREATED]
