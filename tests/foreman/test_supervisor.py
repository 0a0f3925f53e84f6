"""Foreman processes that are killed, frozen, and told to stop."""

from __future__ import annotations

import asyncio
import importlib
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from treadle import JobFailed, JobState, Treadle
from treadle.clock import SystemClock
from treadle.foreman.supervisor import Supervisor

MODULE = """
import os
import signal
from pathlib import Path

from treadle import CONTEXT, Context, Quit, Treadle

HERE = Path(__file__).parent
app = Treadle(f"sqlite:///{HERE}/jobs.db")


def mark(name: str) -> None:
    with (HERE / "ledger").open("a") as ledger:
        ledger.write(f"{name} {os.getpid()}\\n")


@app.task
async def add(a: int, b: int, ctx: Context = CONTEXT) -> int:
    mark(ctx.job_id)
    return a + b


@app.task
def die_once(ctx: Context = CONTEXT) -> int:
    mark("die")
    if ctx.crashes == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return ctx.attempt


@app.task
def pill() -> None:
    mark("pill")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task
def wait(ctx: Context = CONTEXT) -> str:
    mark("wait")
    while not ctx.stopping:
        ctx.check()
    return "told"


@app.task
async def leave() -> None:
    raise Quit("enough")
"""


class Shop:
    """A module with tasks, and what its jobs did."""

    def __init__(self, folder: Path, module: Any) -> None:
        self.folder = folder
        self.module = module
        self.app: Treadle = module.app

    def supervisor(self, **options: Any) -> Supervisor:
        options = {"processes": 2, "log_level": "warning", **options}
        return Supervisor(self.app.core, "shop_for_supervisor:app", **options)

    def ledger(self) -> list[tuple[str, int]]:
        file = self.folder / "ledger"
        lines = file.read_text().splitlines() if file.exists() else []
        return [(name, int(pid)) for name, pid in (line.split() for line in lines)]


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    (tmp_path / "shop_for_supervisor.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("shop_for_supervisor", None)
    module = importlib.import_module("shop_for_supervisor")
    yield Shop(tmp_path, module)
    await module.app.aclose()


async def until(condition: Callable[[], bool]) -> None:
    """Look at another process again and again: it has no way to tell us."""
    clock = SystemClock()
    async with asyncio.timeout(30):
        while not condition():
            await clock.sleep(0.01)


async def test_a_burst_over_two_processes_does_everything_once(shop: Shop) -> None:
    jobs = await shop.module.add.aenqueue_many([(n, 1) for n in range(50)])
    assert await shop.supervisor(burst=True).run() == 0
    assert [await job.aresult() for job in jobs] == [n + 1 for n in range(50)]
    assert len(shop.ledger()) == 50


async def test_a_killed_process_is_replaced_and_its_job_blamed(shop: Shop) -> None:
    job = await shop.module.die_once.aenqueue()
    others = await shop.module.add.aenqueue_many([(n, 1) for n in range(20)])
    assert await shop.supervisor(burst=True).run() == 0
    assert await job.aresult() == 2
    record = await job.arecord()
    assert (record.crashes, record.tries) == (1, 0)
    starts = Counter(name for name, _ in shop.ledger())
    for other in others:
        record = await other.arecord()
        assert record.state is JobState.SUCCEEDED
        # What had started when its neighbour killed the process is blamed, the rest is not.
        assert starts[other.id] - 1 <= record.crashes <= 1


async def test_a_poison_pill_kills_a_bounded_number_of_processes(shop: Shop) -> None:
    job = await shop.module.pill.aenqueue()
    others = await shop.module.add.aenqueue_many([(n, 1) for n in range(20)])
    assert await shop.supervisor(burst=True).run() == 0
    with pytest.raises(JobFailed) as caught:
        await job.aresult()
    assert caught.value.cause == "crashed"
    deaths = [entry for entry in shop.ledger() if entry[0] == "pill"]
    assert len(deaths) <= 4
    assert [await other.aresult() for other in others] == [n + 1 for n in range(20)]


async def test_quit_in_one_stops_all(shop: Shop) -> None:
    await shop.module.leave.aenqueue()
    assert await shop.supervisor().run() == 75


async def test_sigterm_stops_in_good_order(shop: Shop) -> None:
    job = await shop.module.wait.aenqueue()
    supervisor = shop.supervisor()
    running = asyncio.ensure_future(supervisor.run())
    await until(lambda: len(shop.ledger()) == 1)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert await job.aresult() == "told"
    assert supervisor.pids == []


async def test_a_child_without_its_supervisor_stops(shop: Shop) -> None:
    program = (
        "import asyncio; from shop_for_supervisor import app;"
        "from treadle.foreman.supervisor import Supervisor;"
        "asyncio.run(Supervisor(app.core, 'shop_for_supervisor:app', processes=1).run())"
    )
    await shop.module.wait.aenqueue()
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await until(lambda: len(shop.ledger()) == 1)
    child = shop.ledger()[0][1]
    parent.kill()
    await parent.wait()
    await until(lambda: not _alive(child))


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or state.read_text().rpartition(")")[2].split()[0] != "Z"
