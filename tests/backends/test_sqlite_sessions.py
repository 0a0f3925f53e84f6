"""What a process keeps of the sessions that it opens."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import pytest

from tests.backends.sqlite_support import claim, finish, jobs, opened, session
from treadle.errors import LeaseLost


async def test_nothing_is_kept_of_sessions_that_are_closed(tmp_path: Path) -> None:
    rounds = 100
    async with opened(tmp_path / "jobs.db") as backend:

        async def one() -> None:
            await backend.push(jobs(1))
            who = await session(backend)
            await finish(backend, await claim(backend, who))
            await backend.close_session(who)
            with pytest.raises(LeaseLost):
                await claim(backend, who)

        for _ in range(20):
            await one()
        gc.collect()
        before = sys.getallocatedblocks()
        for _ in range(rounds):
            await one()
        gc.collect()
        grown = sys.getallocatedblocks() - before
    assert grown < 2 * rounds, f"{grown} blocks of memory in {rounds} sessions"
