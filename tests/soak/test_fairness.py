"""Eight processes that write one SQLite file all the time each get their turn."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest

from tests.soak.crew import environment
from tests.soak.rival import Orders, Result
from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.records import NewJob

_RIVALS = 8
_SECONDS = 6.0
_JOBS = 60_000


async def _filled(url: str) -> None:
    clock = SystemClock()
    ids = SystemIds(clock)
    backend = backends.open(url, clock=clock, ids=ids)
    await backend.open()
    for _ in range(_JOBS // 1000):
        await backend.push([NewJob(id=ids.new(), task="work", payload=b"") for _ in range(1000)])
    await backend.aclose()
    backend.close()


async def _rivals(url: str, folder: Path) -> tuple[list[Result], int]:
    """What came of each, and the size of the log at its largest."""
    clock = SystemClock()
    start = clock.monotonic() + 3.0
    files = [folder / f"rival-{number}.json" for number in range(_RIVALS)]
    log, largest = folder / "jobs.db-wal", 0
    with ExitStack() as stack:
        processes: list[subprocess.Popen[bytes]] = []
        for file in files:
            orders = Orders(
                name=file.stem, url=url, result=str(file), start=start, end=start + _SECONDS
            )
            command = [sys.executable, "-m", "tests.soak.rival", msgspec.json.encode(orders)]
            process = subprocess.Popen(command, env=environment())  # noqa: ASYNC220 - a file tells what came of it
            stack.callback(process.wait)
            stack.callback(process.kill)
            processes.append(process)
        while any(process.poll() is None for process in processes):
            largest = max(largest, log.stat().st_size if log.exists() else 0)
            await clock.sleep(0.05)
    assert [process.returncode for process in processes] == [0] * _RIVALS
    return [msgspec.json.decode(file.read_bytes(), type=Result) for file in files], largest


@pytest.mark.slow
@pytest.mark.alone
async def test_each_of_eight_writers_gets_its_share_and_none_waits_long(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    await _filled(url)
    results, log = await _rivals(url, tmp_path)
    settled = sorted(result.settled for result in results)
    waits = sorted(wait for result in results for wait in result.waits)
    late = waits[len(waits) * 999 // 1000]
    print(
        f"\n{sum(settled) / _SECONDS:,.0f} jobs/s, shares {settled[0]} to {settled[-1]}; "
        f"waits: median {waits[len(waits) // 2] * 1e3:.1f} ms, 999 of 1,000 within "
        f"{late * 1e3:.1f} ms, worst {waits[-1] * 1e3:.1f} ms; log {log / 2**20:.1f} MiB"
    )
    fair = sum(settled) / _RIVALS
    assert settled[0] >= fair / 3
    assert settled[-1] <= fair * 3
    # On a machine that is at leisure the worst is below a quarter of a second.
    assert late <= 0.5
    assert waits[-1] <= 2.0
    assert 0 < log <= 64 * 2**20
