"""On PostgreSQL, too: killed around its transaction, a job has succeeded if its row is there."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.backends.postgres_support import namespace, postgres_namespace, postgres_url
from tests.faults.transaction_child import NAMESPACE, URL, in_loop, in_process, in_thread
from treadle import JobState, Treadle
from treadle.failpoints import ENVIRONMENT
from treadle.ports import Query

__all__ = ["namespace", "postgres_namespace", "postgres_url"]

ROOT = Path(__file__).parents[2]
MODES = [in_loop.name, in_thread.name, in_process.name]
CHILD = "from tests.faults.transaction_child import main; main()"


class Shop:
    """A namespace with jobs and rows, and processes that work on it."""

    def __init__(self, url: str, namespace: str) -> None:
        self.url = url
        self.namespace = namespace
        self.rows = f'"{namespace}_rows"'
        self.app = Treadle(url, namespace=namespace)

        async def never() -> None: ...

        self.tasks = {
            mode: self.app.task(name=mode, keep=None, max_crashes=1000)(never) for mode in MODES
        }

    async def query(self, text: str) -> list[Any]:
        wire = await asyncpg.connect(self.url)
        try:
            return [row[0] for row in await wire.fetch(text)]
        finally:
            await wire.close()

    async def serve(self, **environment: str) -> int:
        """Have a process do what there is; how it ended."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        own = {"PYTHONPATH": path, URL: self.url, NAMESPACE: self.namespace}
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-c", CHILD],
            env={**os.environ, **own, **environment},
            timeout=100, check=False, capture_output=True,
        )  # fmt: skip
        if ran.returncode not in {0, -signal.SIGKILL}:
            raise AssertionError(ran.stderr.decode())
        return ran.returncode

    async def lapse(self) -> None:
        """Have the leases of the dead be over."""
        await self.query(f'UPDATE "{self.namespace}_job" SET until = 1 WHERE state = 3')

    async def check(self) -> int:
        """How many have succeeded, each of which has its one row and its one follow-up."""
        rows = await self.query(f"SELECT job FROM {self.rows}")
        page = await (await self.app.core.ready()).find(Query(limit=1000))
        records = [one for one in page.records if one.spec.task in MODES]
        succeeded = {one.id for one in records if one.state is JobState.SUCCEEDED}
        assert sorted(rows) == sorted(succeeded)
        assert len(page.records) - len(records) == len(rows)
        return len(succeeded)


@pytest.fixture
async def shop(postgres_url: str, namespace: str) -> AsyncIterator[Shop]:
    shop = Shop(postgres_url, namespace)
    await shop.query(f"DROP TABLE IF EXISTS {shop.rows}")
    await shop.query(f"CREATE TABLE {shop.rows} (job text)")
    async with shop.app:
        yield shop
    await shop.query(f"DROP TABLE {shop.rows}")


POINTS = [
    "run.inside=kill9",
    "ack.before_send=kill9",
    "ack.sent_no_reply=kill9",
    "ack.after_reply=kill9#2",
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", MODES[:2])
async def test_killed_at_each_step_around_the_transaction(shop: Shop, mode: str) -> None:
    for point in POINTS:
        await shop.tasks[mode].aenqueue()
        assert await shop.serve(**{ENVIRONMENT: point}) == -signal.SIGKILL, point
        await shop.check()
        await shop.lapse()
    assert await shop.serve() == 0
    assert await shop.check() == len(POINTS)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_killed_again_and_again(shop: Shop) -> None:
    jobs = [await shop.tasks[mode].aenqueue() for mode in MODES for _ in range(6)]
    deaths = 0
    for round_ in range(4):
        points = ";".join(f"{point.partition('=')[0]}=kill9@0.2" for point in POINTS[1:3])
        seeds = {f"{ENVIRONMENT}_SEED": str(round_)}
        if await shop.serve(**{ENVIRONMENT: points}, **seeds) == 0:
            break
        deaths += 1
        await shop.check()
        await shop.lapse()
    assert deaths > 1
    assert await shop.serve() == 0
    assert await shop.check() == len(jobs)
