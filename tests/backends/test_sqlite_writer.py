"""Group commit: what goes together stays independent."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import msgspec
import pytest

from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from treadle.backends.sqlite import journal
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.backends.sqlite.tx import Tx
from treadle.errors import LeaseLost, NotOpen
from treadle.ports import Claim, Query, QueueRule, Settlement, Write
from treadle.records import JobState, PushStatus, Session, SessionInfo, Settled
from treadle.testing.clock import eventually
from treadle.verdicts import Done


class Boom(Exception):
    """A fault of a step."""


class Barrier:
    """Holds the writer, so that what is asked for meanwhile goes together."""

    def __init__(self, backend: SqliteBackend) -> None:
        self._backend = backend
        self._entered = threading.Event()
        self._open = threading.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._backend._store.write(self._stay))
        await asyncio.to_thread(self._entered.wait, 10.0)
        return self

    def _stay(self, tx: Tx) -> None:
        self._entered.set()
        self._open.wait(10.0)

    async def __aexit__(self, *error: object) -> None:
        self._open.set()
        assert self._task is not None
        await self._task


async def together(backend: SqliteBackend, *steps: Callable[[], Any]) -> list[Any]:
    """Ask for several things while the writer is busy; their answers or errors."""
    async with Barrier(backend):
        tasks = [asyncio.ensure_future(step()) for step in steps]
        # Each has reached the writer's queue once it has run up to its first wait.
        await eventually(lambda: len(backend._store.writer._asked) == len(steps))
    return await asyncio.gather(*tasks, return_exceptions=True)


def transactions(backend: SqliteBackend, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Filled with a mark for each transaction from now on: whether it was to be durable."""
    seen: list[bool] = []
    begin = journal.Journal.begin

    def counted(self: journal.Journal, *, durable: bool) -> Tx:
        seen.append(durable)
        return begin(self, durable=durable)

    monkeypatch.setattr(journal.Journal, "begin", counted)
    return seen


async def test_what_arrives_together_is_committed_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One transaction for all that waited."""
    async with opened(tmp_path / "jobs.db") as backend:
        seen = transactions(backend, monkeypatch)
        answers = await together(backend, *[lambda: backend.push([job()])] * 20)
        assert [one.status for [one] in answers] == [PushStatus.CREATED] * 20
        assert len(seen) == 2


async def test_a_step_that_fails_leaves_the_others(tmp_path: Path) -> None:
    """Before it changed anything it just fails."""
    async with opened(tmp_path / "jobs.db") as backend:
        closed = Session(nonce=7, info=SessionInfo(name="closed"))
        first, refused, last = await together(
            backend,
            lambda: backend.push([job()]),
            lambda: backend.claim(Claim(session=closed, request=1, limit=1)),
            lambda: backend.push([job()]),
        )
        assert isinstance(refused, LeaseLost)
        assert [first[0].status, last[0].status] == [PushStatus.CREATED] * 2
        assert len((await backend.find(Query())).records) == 2


async def test_a_step_that_fails_halfway_leaves_nothing_behind(tmp_path: Path) -> None:
    """The others are carried out again without it."""

    def half(tx: Tx) -> None:
        tx.run("drop_facts", 1)
        tx.run("hold_unique", "half", "nobody", None)
        raise Boom

    async with opened(tmp_path / "jobs.db") as backend:
        first, failed, last = await together(
            backend,
            lambda: backend.push([job()]),
            lambda: backend._store.write(half),
            lambda: backend.push([job()]),
        )
        assert isinstance(failed, Boom)
        assert [first[0].status, last[0].status] == [PushStatus.CREATED] * 2
        page = await backend.find(Query(counts=True))
        assert page.counts == {"default": {JobState.QUEUED: 2}}
        assert len({record.seq for record in page.records}) == 2
        found = await backend._store.read(lambda reading: reading.one("unique_holder", "half"))
        assert found is None


async def test_a_repeat_among_new_ones(tmp_path: Path) -> None:
    """A known id is seen when it is inserted, and all is done again with more care."""
    async with opened(tmp_path / "jobs.db") as backend:
        known = job()
        await backend.push([known])
        answers = await together(
            backend,
            lambda: backend.push(jobs(3)),
            lambda: backend.push([job(), known, job()]),
        )
        statuses = [[one.status for one in answer] for answer in answers]
        assert statuses == [
            [PushStatus.CREATED] * 3,
            [PushStatus.CREATED, PushStatus.EXISTS, PushStatus.CREATED],
        ]
        assert len((await backend.find(Query())).records) == 6


async def test_a_lease_that_is_not_what_it_was(tmp_path: Path) -> None:
    """Another process took the job: the shortcut of a settle notices."""
    async with opened(tmp_path / "jobs.db") as mine, opened(tmp_path / "jobs.db") as other:
        await mine.push(jobs(3))
        who = await session(mine)
        leases = await claim(mine, who)
        stolen = leases[1]
        # Its lease is given up behind the back of the first process, and taken by the second.
        await other.close_session(who)
        again = await claim(other, await session(other, "two"), limit=2)
        assert {one.token.job_id for one in again} == {one.token.job_id for one in leases[:2]}
        assert stolen.token.job_id == again[1].token.job_id
        assert await finish(mine, leases) == [Settled.LOST] * 3
        assert await finish(other, again) == [Settled.OK] * 2


async def test_one_token_twice_in_a_settle(tmp_path: Path) -> None:
    """The second time it is known."""
    async with opened(tmp_path / "jobs.db") as backend:
        await backend.push(jobs(2))
        one, two = await claim(backend, await session(backend))
        ends = [Settlement(token=lease.token, verdict=Done()) for lease in (one, two, one)]
        assert await backend.settle(ends) == [Settled.OK, Settled.OK, Settled.ALREADY]
        assert await backend.settle(ends) == [Settled.ALREADY] * 3


async def test_only_what_must_last_is_brought_to_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push and a settle are, a claim and a heartbeat are not."""
    async with opened(tmp_path / "jobs.db") as backend:
        who = await session(backend)
        seen = transactions(backend, monkeypatch)
        await backend.push(jobs(1))
        leases = await claim(backend, who)
        await backend.extend(who, [], 30.0)
        await finish(backend, leases)
        assert seen == [True, False, False, True]


async def test_a_group_is_as_durable_as_what_must_last_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A push is not brought to the disk later because a heartbeat came with it."""
    async with opened(tmp_path / "jobs.db") as backend:
        who = await session(backend)
        seen = transactions(backend, monkeypatch)
        heartbeat, pushed = await together(
            backend, lambda: backend.extend(who, [], 30.0), lambda: backend.push([job()])
        )
        assert (heartbeat, pushed[0].status) == ([], PushStatus.CREATED)
        assert seen[1:] == [True]


async def test_a_claim_of_what_may_run_once_only_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a power loss it must not be found unclaimed."""
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.append(handle), fsync(handle)))
    async with opened(tmp_path / "jobs.db") as backend:
        who = await session(backend)
        await backend.push([job(), job(at_most_once=True)])
        assert len(await claim(backend, who, 1, 1)) == 1
        assert synced == []
        assert len(await claim(backend, who, 2, 1)) == 1
        assert len(synced) == 1


async def test_the_log_is_written_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not grow without end."""
    monkeypatch.setattr(journal, "CHECKPOINT_BYTES", 100_000)
    log = tmp_path / "jobs.db-wal"
    async with opened(tmp_path / "jobs.db") as backend:
        largest = 0
        for _ in range(30):
            await backend.push(jobs(20, payload=b"x" * 500))
            largest = max(largest, log.stat().st_size)
        assert largest < 500_000
        assert len((await backend.find(Query(limit=1000))).records) == 600
    assert not log.exists()


async def test_closing_waits_for_its_turn(tmp_path: Path) -> None:
    """The log is written back at the end too, and not while another writes."""
    path = tmp_path / "jobs.db"
    async with opened(path) as other, opened(path) as backend:
        await backend.push(jobs(1))
        gate = backend._store.writer._gate
        assert gate is not None
        async with Barrier(other):
            closing = asyncio.create_task(asyncio.to_thread(backend.close))
            await eventually(lambda: gate.waited() > 0)
            assert not closing.done()
        await closing
        assert len((await other.find(Query())).records) == 1


async def test_what_another_process_changes_is_seen(tmp_path: Path) -> None:
    """What is remembered from one transaction to the next holds until somebody else has written."""
    async with opened(tmp_path / "jobs.db") as mine, opened(tmp_path / "jobs.db") as other:
        who = await session(mine)
        await mine.push(jobs(2))
        assert len(await claim(mine, who, 1, limit=1)) == 1
        rule = msgspec.msgpack.encode(QueueRule(paused=True))
        assert await other.write([Write(key="queue:default", value=rule)])
        assert await claim(mine, who, 2) == ()


async def test_a_closed_backend_says_so(tmp_path: Path) -> None:
    """And closing again is harmless."""
    async with opened(tmp_path / "jobs.db") as backend:
        pass
    backend.close()
    with pytest.raises(NotOpen):
        await backend.push([job()])


async def test_waiting_ends_when_the_backend_is_closed(tmp_path: Path) -> None:
    """Nobody hangs on a store that is gone."""
    async with opened(tmp_path / "jobs.db") as backend:
        waiting = asyncio.create_task(backend.wait(["*"], 60.0))
        await eventually(lambda: not backend._store.hub.idle)
        await backend.aclose()
        await asyncio.wait_for(waiting, 10.0)
