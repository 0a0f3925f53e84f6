"""Stored records that cannot be read: set aside, shown, and never in the way of others."""

from __future__ import annotations

import asyncio
import random  # noqa: TID251  seeded below
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from tests.backends.sqlite_script import Script
from tests.backends.sqlite_support import claim, finish, job, jobs, opened, session
from tests.faults.damage_support import (
    DAMAGES,
    STATES,
    Populated,
    damage,
    mutated,
    overwrite,
    populate,
)
from tests.model.sqlite_insides import check
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.ports import Delete, Query, QueueRule, Retry, Write
from treadle.records import (
    FINAL,
    Cause,
    Hold,
    In,
    JobRecord,
    JobState,
    Keep,
    NewJob,
    PushStatus,
    Settled,
    Spend,
    Unique,
)
from treadle.testing import ManualClock
from treadle.testing.clock import settle

SHOWN = 64 << 10
# Whatever is stored of these, it is looked at before they run.
NOT_STARTED = ("queued", "suspect", "scheduled", "retrying", "waiting", "parked")


async def records(backend: SqliteBackend, ids: Sequence[str]) -> dict[str, JobRecord]:
    found = await backend.find(Query(ids=tuple(ids), limit=1000))
    return {record.id: record for record in found.records}


async def serve(backend: SqliteBackend, clock: ManualClock, there: Populated) -> set[str]:
    """Let time pass and serve everything; the ids that were granted."""
    assert await finish(backend, [there.running]) == [Settled.OK]
    granted: set[str] = set()
    for _ in range(40):
        clock.advance(5.0)
        there.requests += 1
        leases = await claim(backend, there.who, there.requests, 10)
        granted |= {lease.token.job_id for lease in leases}
        assert set(await finish(backend, leases)) <= {Settled.OK}
    return granted


async def looked_at(backend: SqliteBackend) -> None:
    """Each way to look at jobs works."""
    for query in (
        Query(limit=1000, counts=True),
        Query(states=tuple(JobState), limit=1000),
        Query(queue="q", task="*", limit=1000),
        Query(task="tests.task", tags=("x",), error="no"),
        Query(key="q.key", unique="u"),
    ):
        await backend.find(query)


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_job_is_set_aside_and_the_others_are_served(
    tmp_path: Path, how: str
) -> None:
    """In every state; what was found of it is kept, up to a bound."""
    clock = ManualClock()
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal", clock=clock) as backend:
        there = await populate(backend, clock, "q")
        unharmed = await populate(backend, clock, "other")
        await finish(backend, [unharmed.running])
        for job_id in there.ids.values():
            assert overwrite(path, "body", job_id, DAMAGES[how])
        await looked_at(backend)
        granted = await serve(backend, clock, there)
        found = await records(backend, list(there.ids.values()))
        for state in NOT_STARTED:
            record = found[there.ids[state]]
            assert (record.state, record.cause) == (JobState.FAILED, Cause.UNDECODABLE), state
            assert record.id not in granted
            assert record.fault is not None
            assert "damaged" in record.fault.message
            assert len(record.spec.payload) <= SHOWN
        # It had begun before it was damaged: what it comes to counts.
        assert found[there.ids["running"]].state is JobState.SUCCEEDED
        for state in ("failed", "succeeded", "cancelled"):
            assert found[there.ids[state]].state.value == state
        others = await records(backend, list(unharmed.ids.values()))
        for state in STATES:
            record = others[unharmed.ids[state]]
            assert record.state is JobState.SUCCEEDED, state
            assert len(record.attempts) == (state in ("suspect", "retrying"))
        await check(backend)


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_job_whose_history_is_damaged_goes_on(tmp_path: Path, how: str) -> None:
    """What it was given is there, so it is served; a failed one says that its history is lost."""
    clock = ManualClock()
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal", clock=clock) as backend:
        there = await populate(backend, clock, "q")
        # A history of nothing is none.
        hurt = {
            state
            for state, job_id in there.ids.items()
            if overwrite(path, "facts", job_id, DAMAGES[how])
        }
        assert hurt >= {"running", "suspect", "retrying", "failed", "succeeded", "cancelled"}
        await looked_at(backend)
        await serve(backend, clock, there)
        found = await records(backend, list(there.ids.values()))
        for state in STATES:
            assert found[there.ids[state]].state is JobState.SUCCEEDED, state
        failed = found[there.ids["failed"]]
        assert (failed.state, failed.cause) == (JobState.FAILED, Cause.UNDECODABLE)
        assert failed.fault is not None
        if how != "missing":  # which leaves a row that names it
            await check(backend)


@pytest.mark.parametrize("how", DAMAGES)
async def test_a_damaged_result_is_given_as_it_is_found(tmp_path: Path, how: str) -> None:
    """Bytes, whatever they are: that they say nothing is told to who asks for the result."""
    clock = ManualClock()
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal", clock=clock) as backend:
        there = await populate(backend, clock, "q")
        assert overwrite(path, "result", there.ids["succeeded"], DAMAGES[how])
        await looked_at(backend)
        [record] = (await records(backend, [there.ids["succeeded"]])).values()
        assert record.state is JobState.SUCCEEDED
        assert record.result is None if how == "missing" else type(record.result) is bytes


@pytest.mark.parametrize("how", DAMAGES)
async def test_damaged_jobs_can_be_removed_and_repaired(tmp_path: Path, how: str) -> None:
    """They are jobs like others: deleted by hand or by time, or mended and retried."""
    clock = ManualClock()
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal", clock=clock) as backend:
        mended, deleted, kept = jobs(3, keep=Keep(failed=1e6))
        await backend.push([mended, deleted, kept])
        for one in (mended, deleted, kept):
            overwrite(path, "body", one.id, DAMAGES[how])
        who = await session(backend)
        assert await claim(backend, who) == ()
        assert (await backend.alter(Query(ids=(deleted.id,)), Delete())).done == (deleted.id,)
        # Still damaged, so it is set aside once more.
        assert (await backend.alter(Query(ids=(mended.id,)), Retry())).done == (mended.id,)
        assert await claim(backend, who, 2) == ()
        assert (await backend.alter(Query(ids=(mended.id,)), Retry())).done == (mended.id,)
        body = msgspec.msgpack.encode(mended)
        seq = "(SELECT seq FROM treadle_job WHERE id = ?)"
        damage(path, f"REPLACE INTO treadle_body (seq, spec) VALUES ({seq}, ?)", mended.id, body)
        [lease] = await claim(backend, who, 3)
        assert lease.spec == mended
        assert await finish(backend, [lease]) == [Settled.OK]
        clock.advance(8 * 86400.0)
        assert set(await records(backend, [mended.id, deleted.id, kept.id])) == set()
        assert [one.status for one in await backend.push([kept])] == [PushStatus.EXISTS]
        await check(backend)


async def test_what_is_shown_of_a_large_damaged_job_is_bounded(tmp_path: Path) -> None:
    """All of it stays stored, for a version that can read it."""
    path = tmp_path / "jobs.db"
    async with opened(path) as backend:
        one = job()
        await backend.push([one])
        large = b"\xc1" * (SHOWN + 1000)
        overwrite(path, "body", one.id, lambda was: large)
        assert await claim(backend, await session(backend)) == ()
        [record] = (await records(backend, [one.id])).values()
        assert record.spec.payload == large[:SHOWN]
        stored: list[bytes] = []
        overwrite(path, "body", one.id, lambda was: stored.append(was) or was)
        assert stored == [large]


async def test_many_damaged_jobs_do_not_hold_up_a_claim(tmp_path: Path) -> None:
    """A bounded number is set aside by one claim; it says that there is more."""
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal") as backend:
        await backend.push(jobs(250))
        healthy = job()
        await backend.push([healthy])
        damage(path, "UPDATE treadle_body SET spec = x'c1' WHERE seq <= 250")
        who = await session(backend)
        granted = [lease.token.job_id for n in (1, 2, 3) for lease in await claim(backend, who, n)]
        assert granted == [healthy.id]
        await check(backend)


async def test_jobs_that_are_counted_and_not_there_call_nobody(tmp_path: Path) -> None:
    """Removed by another program: the next claim sees it, and foremen come to rest."""
    path = tmp_path / "jobs.db"
    clock = ManualClock()
    async with opened(path, "?durability=normal", clock=clock) as backend:
        await backend.push(jobs(3))
        damage(path, "DELETE FROM treadle_job WHERE seq = 2")
        damage(path, "DELETE FROM treadle_body WHERE seq = 2")
        damage(path, "INSERT INTO treadle_count (state, queue, n) VALUES (7, 'default', 1)")
        who = await session(backend)
        assert len(await claim(backend, who, 1)) == 2
        assert await claim(backend, who, 2) == ()
        await check(backend)
        waiting = asyncio.create_task(backend.wait(["*"], 5.0))
        await settle()
        assert not waiting.done()
        clock.advance(5.0)
        await waiting


async def test_a_damaged_job_wakes_those_behind_it_in_a_limit(tmp_path: Path) -> None:
    """It was woken for a place, and nobody else would be."""
    path = tmp_path / "jobs.db"
    clock = ManualClock()
    limit = (Hold(key="m", slots=1),)
    async with opened(path, "?durability=normal", clock=clock) as backend:
        first, second, third = jobs(3, asks=limit)
        await backend.push([first, second, third])
        who = await session(backend)
        leases = await claim(backend, who, 1)
        assert [lease.token.job_id for lease in leases] == [first.id]
        overwrite(path, "body", second.id, DAMAGES["empty"])
        await finish(backend, leases)
        granted = [await claim(backend, who, request) for request in (2, 3)]
        assert [lease.token.job_id for leases in granted for lease in leases] == [third.id]
        await check(backend)


async def test_a_damaged_holder_lets_go_of_its_unique_key(tmp_path: Path) -> None:
    """The key is free once it is set aside."""
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal") as backend:
        one, other = jobs(2, unique=Unique(key="u"))
        await backend.push([one])
        overwrite(path, "body", one.id, DAMAGES["random"])
        assert [each.status for each in await backend.push([other])] == [PushStatus.DUPLICATE]
        await claim(backend, await session(backend))
        again = job(unique=Unique(key="u"))
        assert [each.status for each in await backend.push([again])] == [PushStatus.CREATED]


@pytest.mark.parametrize("how", sorted(set(DAMAGES) - {"missing"}))
async def test_damaged_rates_rules_and_sessions_are_no_obstacle(tmp_path: Path, how: str) -> None:
    """A rate counts anew, a rule holds its queue until another is written, a session shows up."""
    path = tmp_path / "jobs.db"
    bad = DAMAGES[how](msgspec.msgpack.encode(QueueRule(max_running=5)))
    async with opened(path, "?durability=normal") as backend:
        who = await session(backend)
        spends = (Spend(key="r", count=5, per=1.0),)
        await backend.push([job(asks=spends)])
        assert len(await claim(backend, who, 1)) == 1
        rule = msgspec.msgpack.encode(QueueRule(max_running=5))
        await backend.write([Write(key="queue:held", value=rule)])
        damage(path, "UPDATE treadle_rate SET state = ?", bad)
        damage(path, "UPDATE treadle_cell SET value = ?", bad)
        damage(path, "UPDATE treadle_session SET info = ?", bad)
        await backend.push([job(asks=spends), job(queue="held")])
        leases = await claim(backend, who, 2)
        assert [lease.spec.queue for lease in leases] == ["default"]
        cells = await backend.read(["queue:held", "session:*"])
        shown = msgspec.msgpack.decode(cells.pop("queue:held").value, type=QueueRule)
        if how not in ("zeros", "a_list_of_others", "a_list_where_a_text_is_due"):
            assert shown.paused
        [info] = cells.values()
        assert msgspec.msgpack.decode(info.value)[0]
        await backend.write([Write(key="queue:held", value=rule)])
        assert [one.spec.queue for one in await claim(backend, who, 3)] == ["held"]


@pytest.mark.parametrize(
    ("seed", "number"),
    [(seed, 300) for seed in range(4)]
    + [pytest.param(seed, 2500, marks=pytest.mark.slow) for seed in range(10, 14)],
)
async def test_mutated_records_never_stop_the_store(tmp_path: Path, seed: int, number: int) -> None:
    """Random damage in jobs that ask for everything a job can ask for: all come to an end."""
    chance = random.Random(seed)
    script = Script(seed, limits=True)
    clock = ManualClock()
    path = tmp_path / "jobs.db"
    async with opened(path, "?durability=normal", clock=clock) as backend:
        who = await session(backend)
        pushed: list[NewJob] = []
        for _ in range(number // 50):
            # Kept, so that each can be asked for its end.
            batch = [
                msgspec.structs.replace(script.job(), keep=Keep(succeeded=None), bound=None)
                for _ in range(50)
            ]
            script.pushed += [one.id for one in batch]
            pushed += batch
            await backend.push(batch)
        healthy = jobs(50, due=In(3.0), keep=Keep(succeeded=None))
        await backend.push(healthy)
        hurt = [one.id for one in pushed]
        _mutate(path, chance, hurt)
        await _drain(backend, clock, who)
        page = await backend.find(Query(counts=True, limit=1))
        open_jobs = {
            queue: {state: n for state, n in states.items() if state not in FINAL}
            for queue, states in page.counts.items()
        }
        assert not any(open_jobs.values()), open_jobs
        found = await records(backend, [one.id for one in healthy])
        assert {record.state for record in found.values()} == {JobState.SUCCEEDED}
        assert all(record.fence == 1 for record in found.values())
        await check(backend)


def _mutate(path: Path, chance: random.Random, ids: Sequence[str]) -> None:
    connection = sqlite3.connect(path, timeout=30.0)
    seqs = (
        "SELECT j.seq, b.spec FROM treadle_job j JOIN treadle_body b ON b.seq = j.seq WHERE id = ?"
    )
    for job_id in ids:
        found = connection.execute(seqs, (job_id,)).fetchone()
        if found is not None:
            connection.execute(
                "UPDATE treadle_body SET spec = ? WHERE seq = ?",
                (mutated(chance, found[1]), found[0]),
            )
    connection.commit()
    connection.close()


async def _drain(backend: SqliteBackend, clock: ManualClock, who: object) -> None:
    request, quiet = 0, 0
    while quiet < 30:
        request += 1
        leases = await claim(backend, who, request, 50, lease=1e9)  # type: ignore[arg-type]
        assert set(await finish(backend, leases)) <= {Settled.OK}
        if not leases:
            quiet += 1
            clock.advance(1.0)
        else:
            quiet = 0
