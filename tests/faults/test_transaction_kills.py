"""Killed anywhere around its transaction, a job has succeeded exactly if its row is there."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.faults.transaction_child import COUNTED, KILL_AT, URL, in_loop, in_process, in_thread
from treadle import JobState, Treadle
from treadle.failpoints import ENVIRONMENT
from treadle.ports import Query
from treadle.records import JobRecord

ROOT = Path(__file__).parents[2]
MODES = [in_loop.name, in_thread.name, in_process.name]
CHILD = "from tests.faults.transaction_child import main; main()"


class Shop:
    """A file with jobs and rows, and processes that work on it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "jobs.db"
        self.counted = folder / "counted"
        self.url = f"sqlite:///{self.path}?foreign=allow&durability=normal"
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE rows (job TEXT)")
        self.app = Treadle(self.url)

        async def never() -> None: ...

        self.tasks = {mode: self.app.task(name=mode, keep=None, max_crashes=1000)(never)
                      for mode in MODES}  # fmt: skip

    def serve(self, **environment: str) -> int:
        """Have a process do what there is; how it ended."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        ran = subprocess.run(
            [sys.executable, "-c", CHILD],
            env={**os.environ, "PYTHONPATH": path, URL: self.url, **environment},
            timeout=100, check=False, capture_output=True,
        )  # fmt: skip
        if ran.returncode not in {0, -signal.SIGKILL}:
            raise AssertionError(ran.stderr.decode())
        return ran.returncode

    def lapse(self) -> None:
        """Have the leases of the dead be over."""
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("UPDATE treadle_job SET until = 1 WHERE state = 3")
            connection.commit()

    def check(self) -> int:
        """How many have succeeded, each of which has its one row and its one follow-up."""
        with closing(sqlite3.connect(self.path)) as connection:
            rows = [job for (job,) in connection.execute("SELECT job FROM rows")]
        page = self.app.core.background.call(self._find())
        records = [one for one in page if one.spec.task in MODES]
        succeeded = {one.id for one in records if one.state is JobState.SUCCEEDED}
        assert sorted(rows) == sorted(succeeded)
        assert len(page) - len(records) == len(rows)
        return len(succeeded)

    async def _find(self) -> list[JobRecord]:
        backend = await self.app.core.ready()
        return list((await backend.find(Query(limit=1000))).records)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    shop = Shop(tmp_path)
    with shop.app:
        yield shop


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", MODES)
def test_killed_at_a_statement_of_the_transaction(shop: Shop, mode: str) -> None:
    task = shop.tasks[mode]
    task.enqueue()
    assert shop.serve(**{COUNTED: str(shop.counted)}) == 0
    last = int(shop.counted.read_text())
    assert last > 10
    # The last one is the COMMIT: at its beginning nothing is there.
    numbers = (1, last // 2, last)
    for number in numbers:
        # Where only the process of the job dies, its foreman would try it again.
        task.options(max_crashes=1000 if mode != in_process.name else 1).enqueue()
        died = shop.serve(**{KILL_AT: str(number)})
        assert died == (0 if mode == in_process.name else -signal.SIGKILL)
        assert shop.check() == 1
        shop.lapse()
    assert shop.serve() == 0
    assert shop.check() == (1 if mode == in_process.name else 1 + len(numbers))


POINTS = [
    "run.before_handler=kill9",
    "run.inside=kill9",
    "ack.before_send=kill9",
    "ack.sent_no_reply=kill9",
    "ack.after_reply=kill9",
    "run.after_handler=kill9",
    "ack.before_send=kill9#2",
    "ack.after_reply=kill9#2",
]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("mode", MODES[:1])
def test_killed_at_each_step_around_the_transaction(shop: Shop, mode: str) -> None:
    for point in POINTS:
        shop.tasks[mode].enqueue()
        assert shop.serve(**{ENVIRONMENT: point}) == -signal.SIGKILL, point
        shop.check()
        shop.lapse()
    assert shop.serve() == 0
    assert shop.check() == len(POINTS)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", [1])
def test_killed_again_and_again(shop: Shop, seed: int) -> None:
    jobs = [shop.tasks[mode].enqueue() for mode in MODES for _ in range(8)]
    deaths = 0
    for round_ in range(6):
        points = ";".join(f"{point}@0.2" for point in POINTS[2:6])
        seeds = {f"{ENVIRONMENT}_SEED": f"{seed}-{round_}"}
        if shop.serve(**{ENVIRONMENT: points}, **seeds) == 0:
            break
        deaths += 1
        shop.check()
        shop.lapse()
    assert deaths > 2
    assert shop.serve() == 0
    assert shop.check() == len(jobs)
