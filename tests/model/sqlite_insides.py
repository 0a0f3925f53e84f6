"""What the SQLite store counts and what is there agree."""

from __future__ import annotations

from treadle.backends.common.jobrow import STATES
from treadle.backends.sqlite.backend import SqliteBackend
from treadle.backends.sqlite.tx import Reading
from treadle.ports import Backend
from treadle.records import FINAL, JobState


async def check(backend: Backend) -> None:
    """What the store counts and what is there agree."""
    assert isinstance(backend, SqliteBackend)
    await backend._store.read(_check)


def _check(reading: Reading) -> None:
    sql = reading.execute
    counted = dict(sql("SELECT state || queue, n FROM treadle_count WHERE queue > ''").fetchall())
    there = sql("SELECT state || queue, count(*) FROM treadle_job GROUP BY state, queue").fetchall()
    assert counted == dict(there)
    failures = dict(sql("SELECT task, n FROM treadle_failure").fetchall())
    failed = sql("SELECT failed_task, count(*) FROM treadle_job WHERE state = 5 GROUP BY 1")
    assert failures == dict(failed.fetchall())
    _check_limits(reading)
    _check_rows(reading)


def _check_limits(reading: Reading) -> None:
    sql = reading.execute
    held = dict(sql("SELECT name, sum(units) FROM treadle_hold GROUP BY name").fetchall())
    for name, taken in sql("SELECT name, held FROM treadle_limit").fetchall():
        assert taken == held.pop(name, 0)
    assert held == {}
    owners = sql("SELECT owner FROM treadle_hold").fetchall()
    running = {job_id for (job_id,) in sql("SELECT id FROM treadle_job WHERE state = 3")}
    permits = {permit for (permit,) in sql("SELECT id FROM treadle_permit")}
    assert {owner for (owner,) in owners} <= running | permits


def _check_rows(reading: Reading) -> None:
    sql = reading.execute
    for table in ("body", "result", "facts", "after"):
        orphans = f"SELECT 1 FROM treadle_{table} WHERE seq NOT IN (SELECT seq FROM treadle_job)"
        assert sql(orphans).fetchone() is None, table
    columns = "id, state, line, until, key, blocks, flags & 64, seq"
    for job_id, code, line, until, key, blocks, facts, seq in sql(
        f"SELECT {columns} FROM treadle_job"
    ).fetchall():
        state = STATES[code]
        assert (until is not None) == (state is JobState.RUNNING), job_id
        assert line is None or state is JobState.WAITING
        if state is JobState.WAITING and line is None:
            assert sql("SELECT 1 FROM treadle_after WHERE seq = ?", (seq,)).fetchone()
        assert key is None or state not in FINAL
        assert bool(facts) == bool(
            sql("SELECT 1 FROM treadle_facts WHERE seq = ?", (seq,)).fetchone()
        )
        if key is not None and state in (JobState.QUEUED, JobState.RUNNING):
            assert blocks == 1
