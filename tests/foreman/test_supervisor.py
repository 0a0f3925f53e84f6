"""Foreman processes that are killed, frozen, and told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from tests.foreman.shop import NAME, Shop, alive, pause
from treadle import JobFailed, JobState


@pytest.fixture
async def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shop]:
    shop = Shop.open(tmp_path, monkeypatch)
    yield shop
    await shop.app.aclose()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await pause()


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
        f"import asyncio; from {NAME} import app;"
        "from treadle.foreman.supervisor import Supervisor;"
        f"asyncio.run(Supervisor(app.core, '{NAME}:app', processes=1).run())"
    )
    await shop.module.wait.aenqueue()
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    await until(lambda: len(shop.ledger()) == 1)
    child = shop.ledger()[0][1]
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(child))
