"""What the PostgreSQL store counts and what is there agree."""

from __future__ import annotations

import json
import re
from typing import Any

from treadle.backends.common.jobrow import STATES
from treadle.backends.postgres import PostgresBackend
from treadle.backends.postgres.reading import Reading
from treadle.backends.postgres.statements import prefix_of
from treadle.ports import Backend
from treadle.records import JobState

# All that is looked at, in one statement: a store is looked at often.
QUESTIONS = {
    "counted": """SELECT state || queue, sum(n) FROM treadle_count WHERE queue > ''
        GROUP BY state, queue HAVING sum(n) <> 0""",
    "there": """SELECT state || queue, count(*) FROM (SELECT state, queue FROM treadle_job
        UNION ALL SELECT state, queue FROM treadle_done) AS jobs GROUP BY state, queue""",
    "counted_failed": "SELECT task, n FROM treadle_failure",
    "failed": "SELECT failed_task, count(*) FROM treadle_done WHERE state = 5 GROUP BY 1",
    "all_failed": "SELECT coalesce(sum(n), 0) FROM treadle_count WHERE queue = ''",
    "holds": "SELECT name, sum(units) FROM treadle_hold GROUP BY name",
    "held": "SELECT name, held FROM treadle_limit",
    "owners": "SELECT owner FROM treadle_hold",
    "permits": "SELECT id FROM treadle_permit",
    "known": "SELECT id, seq FROM treadle_id WHERE seq IS NOT NULL",
    "ended": "SELECT id, seq FROM treadle_done",
    "waiting": "SELECT seq, job FROM treadle_after",
    "half": """SELECT id FROM treadle_id
        WHERE (seq IS NULL) <> (spec IS NULL) OR (seq IS NULL) <> (until IS NOT NULL)""",
    "live": "SELECT id, seq, state, line, until, key, blocks FROM treadle_job",
}


async def check(backend: Backend) -> None:
    """What the store counts and what is there agree."""
    assert isinstance(backend, PostgresBackend)
    prefix = prefix_of(backend._store.namespace)
    row = "to_json(ARRAY(SELECT value FROM json_each(row_to_json(q))))"
    arrays = ", ".join(
        f"(SELECT coalesce(json_agg({row}), '[]') FROM ({question}) AS q)"
        for question in QUESTIONS.values()
    )
    statement = re.sub(r"\btreadle_(\w+)", rf'"{prefix}_\1"', f"SELECT {arrays}")

    async def look(reading: Reading) -> None:
        [row] = await reading._connection.fetch(statement)
        _check(dict(zip(QUESTIONS, map(json.loads, row), strict=True)))

    await backend._store.read(look)


def _check(said: dict[str, list[Any]]) -> None:
    assert dict(said["counted"]) == dict(said["there"])
    failed = dict(said["failed"])
    assert dict(said["counted_failed"]) == failed
    assert said["all_failed"] == [[sum(failed.values())]]
    holds = dict(said["holds"])
    assert all(taken == holds.pop(name, 0) for name, taken in said["held"])
    assert holds == {}
    running = {row[0] for row in said["live"] if row[2] == 3}
    owners = {owner for (owner,) in said["owners"]}
    assert owners <= running | {permit for (permit,) in said["permits"]}
    jobs = [row[:2] for row in said["live"]] + said["ended"]
    assert dict(said["known"]) == dict(jobs)
    assert len(said["known"]) == len(jobs)
    assert said["half"] == []
    waiting = {seq for seq, _ in said["waiting"]}
    assert waiting <= {row[1] for row in said["live"]}
    for job_id, seq, code, line, until, key, blocks in said["live"]:
        state = STATES[code]
        assert (until is not None) == (state is JobState.RUNNING), job_id
        assert line is None or state is JobState.WAITING
        if state is JobState.WAITING and line is None:
            assert seq in waiting
        if key is not None and state in (JobState.QUEUED, JobState.RUNNING):
            assert blocks
