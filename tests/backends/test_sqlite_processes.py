"""Several processes on one file: shares, wake-ups, deaths, forks."""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.clock import SystemClock
from treadle.errors import BackendStalled
from treadle.ports import Query
from treadle.records import JobState, Keep, PushStatus, Settled
from treadle.testing import ManualClock
from treadle.testing.clock import eventually

ROOT = Path(__file__).parents[2]
FOR_EVER = Keep(succeeded=None)
# Far below the seconds after which a waiter looks by itself.
SOON = 5.0


class Child:
    """Another process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        self.pid = process.pid
        self._stdin = process.stdin
        self._stdout = process.stdout

    async def line(self) -> str:
        """The next line that it says; empty at the end."""
        return (await self._stdout.readline()).decode().strip()

    async def lines(self) -> list[str]:
        """All that it still has to say."""
        return (await self._stdout.read()).decode().split()

    def go(self) -> None:
        """Let it go on."""
        self._stdin.write(b"go\n")

    async def end(self) -> None:
        """Wait for its end, which must be a good one."""
        assert await self.process.wait() == 0


@asynccontextmanager
async def child(*arguments: str) -> AsyncIterator[Child]:
    """A child that is ready; killed at the end if it is still there."""
    path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.backends.sqlite_child", *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    made = Child(process)
    try:
        yield made
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        made._stdin.close()
        process._transport.close()  # type: ignore[attr-defined]


@asynccontextmanager
async def ready(*arguments: str) -> AsyncIterator[Child]:
    """A child that has opened the database and waits to be told to go on."""
    async with child(*arguments) as made:
        assert await made.line() == "ready"
        yield made


def url(path: Path, query: str = "?durability=normal") -> str:
    return f"sqlite:///{path}{query}"


async def counts(backend: SqliteBackend) -> dict[JobState, int]:
    """Jobs by state."""
    page = await backend.find(Query(counts=True, limit=1))
    found: Counter[JobState] = Counter()
    for states in page.counts.values():
        found.update(states)
    return dict(found)


async def test_four_processes_share_the_jobs(tmp_path: Path) -> None:
    """Each job once, nobody is refused, nobody starves."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        pushed = jobs(2000, keep=FOR_EVER)
        await backend.push(pushed)
        arguments = ("drain", url(path), "5")
        async with (
            ready(*arguments) as one,
            ready(*arguments) as two,
            ready(*arguments) as three,
            ready(*arguments) as four,
        ):
            children = [one, two, three, four]
            for each in children:
                each.go()
            done = await asyncio.gather(*(each.lines() for each in children))
            for each in children:
                await each.end()
        everything = [job_id for ids in done for job_id in ids]
        assert sorted(everything) == sorted(one.id for one in pushed)
        assert await counts(backend) == {JobState.SUCCEEDED: 2000}
        shares = sorted(len(ids) for ids in done)
        assert shares[-1] <= 3 * shares[0], shares


async def test_a_killed_process_loses_nothing(tmp_path: Path) -> None:
    """What was answered stands; what it held comes back when its leases lapse."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        await backend.push(jobs(300, keep=FOR_EVER))
        async with ready("drain", url(path), "7") as killed:
            killed.go()
            answered = [await killed.line() for _ in range(30)]
            killed.process.kill()
            answered += await killed.lines()
        # The last line may be cut.
        answered = [job_id for job_id in answered if len(job_id) == 36]
        now = await counts(backend)
        assert sum(now.values()) == 300
        assert now[JobState.SUCCEEDED] >= len(answered)
        page = await backend.find(Query(ids=tuple(answered), limit=1000))
        assert {record.state for record in page.records} == {JobState.SUCCEEDED}
    later = ManualClock(SystemClock().now() + 60.0)
    async with opened(path, clock=later) as backend:
        who = await session(backend)
        request = 0
        while (await counts(backend)).get(JobState.SUCCEEDED, 0) < 300:
            request += 1
            leases = await claim(backend, who, request, 50)
            assert leases
            assert set(await finish(backend, leases)) == {Settled.OK}
        assert await counts(backend) == {JobState.SUCCEEDED: 300}


async def test_a_push_wakes_another_process(tmp_path: Path) -> None:
    """By a datagram, not by looking again and again."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend, ready("wait", url(path), "mail") as waiting:
        waiting.go()
        await _sees(path, ".sock")
        began = SystemClock().monotonic()
        await backend.push([job(queue="mail.acme")])
        assert await waiting.line() == "woken"
        assert SystemClock().monotonic() - began < SOON
        await waiting.end()


async def test_an_end_wakes_who_waits_for_the_job(tmp_path: Path) -> None:
    """``find`` with ``wait`` hears of other processes."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend, ready("end", url(path), "q") as other:
        one = job(queue="q")
        await backend.push([one])
        found = await backend.find(Query(ids=(one.id,)))
        version = found.records[0].version
        began = SystemClock().monotonic()
        other.go()
        while found.records[0].state is not JobState.SUCCEEDED:
            query = Query(ids=(one.id,), wait=60.0, version=version)
            found = await backend.find(query)
            assert found.records[0].version > version
            version = found.records[0].version
        assert SystemClock().monotonic() - began < SOON
        await other.end()


async def test_an_end_makes_room_for_another_process(tmp_path: Path) -> None:
    """Also the end of a job in a subqueue."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend, ready("end", url(path), "mail.acme") as other:
        await backend.push(jobs(1, queue="mail.acme"))
        waiting = asyncio.create_task(backend.wait_for_room("mail", 1, 60.0))
        await _sees(path, ".room")
        began = SystemClock().monotonic()
        other.go()
        await waiting
        assert SystemClock().monotonic() - began < SOON
        await other.end()


async def test_events_reach_other_processes(tmp_path: Path) -> None:
    """Those that listen."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend, ready("publish", url(path), "job.failed") as other:
        events = backend.subscribe("job.*")
        other.go()
        event = await asyncio.wait_for(anext(events), 30.0)
        assert (event.name, event.job_id) == ("job.failed", "j")
        await events.aclose()  # type: ignore[attr-defined]
        await other.end()


async def test_what_a_dead_process_left_is_cleared_away(tmp_path: Path) -> None:
    """Its socket goes with the first notice that finds nobody there."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        async with ready("wait", url(path), "mail") as waiting:
            waiting.go()
            await _sees(path, ".sock")
            waiting.process.kill()
            await waiting.process.wait()
        assert _names(path, ".sock") != []
        await backend.push([job(queue="mail")])
        # Others are told after the answer.
        await eventually(lambda: _names(path, ".sock") == [])


async def test_a_stalled_process_is_named(tmp_path: Path) -> None:
    """Waiting has an end, and nothing that was given up is carried out afterwards."""
    path = tmp_path / "jobs.db"
    async with opened(path, "?patience=0.2") as backend:
        await backend.push([job()])
        async with ready("hold", url(path)) as holder:
            with pytest.raises(BackendStalled, match=str(holder.pid)) as refused:
                await backend.push([job()])
            assert refused.value.pid == holder.pid
            holder.go()
            await holder.end()
        assert [one.status for one in await backend.push([job()])] == [PushStatus.CREATED]
        assert await counts(backend) == {JobState.QUEUED: 2}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
async def test_a_fork_begins_anew(tmp_path: Path) -> None:
    """Parent and child go on, each with connections of its own."""
    path = tmp_path / "jobs.db"
    async with child("fork", url(path)) as forking:
        assert await forking.line() == "child 0"
        await forking.end()
    async with opened(path) as backend:
        assert await counts(backend) == {JobState.QUEUED: 3}


async def test_without_flock_and_sockets(tmp_path: Path) -> None:
    """Other systems poll, and take SQLite's own lock; the promises are the same."""
    path = tmp_path / "jobs.db"
    async with (
        ready("--hidden", "wait", url(path), "mail") as waiting,
        ready("--hidden", "push", url(path), "mail", "100") as pushing,
    ):
        waiting.go()
        pushing.go()
        assert await waiting.line() == "woken"
        await waiting.end()
        await pushing.end()
    arguments = ("--hidden", "drain", url(path), "3")
    async with ready(*arguments) as one, ready(*arguments) as two:
        one.go()
        two.go()
        done = await asyncio.gather(one.lines(), two.lines())
        await one.end()
        await two.end()
    assert len({*done[0], *done[1]}) == len([*done[0], *done[1]]) == 100
    assert not Path(f"{path}-wake").exists()


def _names(path: Path, suffix: str) -> list[str]:
    directory = Path(f"{path}-wake")
    return [one.name for one in directory.glob(f"*{suffix}")] if directory.exists() else []


async def _sees(path: Path, suffix: str) -> None:
    """Return when another process listens."""
    await eventually(lambda: bool(_names(path, suffix)))
