"""A steady stream of jobs and what is removed of it: the file stops growing."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.backends.sqlite_support import claim, finish, jobs, opened, session
from treadle.records import Keep, Settled
from treadle.testing import ManualClock

KEPT = 4
"""Rounds, of a second each, for which a job is kept after its end."""


def rows(path: Path, table: str) -> int:
    with sqlite3.connect(path) as connection:
        number: int = connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]
    connection.close()
    return number


@pytest.mark.parametrize("a_round", [20, 150, 1000])
async def test_claims_remove_as_much_as_they_will_have_added(tmp_path: Path, a_round: int) -> None:
    """Nobody looks: there are only enqueues, claims as large as they get, and verdicts."""
    path, clock = tmp_path / "jobs.db", ManualClock()
    most = 0
    async with opened(path, clock=clock, request_ttl=float(KEPT)) as backend:
        who = await session(backend)
        for request in range(1, 5 * KEPT):
            await backend.push(jobs(a_round, keep=Keep(succeeded=float(KEPT))))
            leases = await claim(backend, who, request, limit=1000, lease=3600.0)
            assert len(leases) == a_round
            assert set(await finish(backend, leases)) == {Settled.OK}
            clock.advance(1.0)
            most = max(most, rows(path, "treadle_job"))
        assert most <= (KEPT + 2) * a_round
        # A tombstone lives as long, and as many of them come and go.
        assert rows(path, "treadle_gone") <= (KEPT + 2) * a_round
