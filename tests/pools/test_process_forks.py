"""What the calls of forks have started ends with them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.pools.processes import runs, until
from treadle import CallCancelled, Pool, Treadle, WorkerCrashed
from treadle.testing import eventually

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="sessions can be looked into on Linux alone"
)
FORKED: Any = {"max_workers": 1, "fork": True, "patience": 0.1, "preload": __name__}
SLEEP = ["sleep", "600"]


def starts(*, in_a_fork: bool = False) -> int:
    """The pid of what a call leaves running."""
    if in_a_fork:
        pid = os.fork()
        if pid == 0:
            os.execvp(SLEEP[0], SLEEP)
        return pid
    return subprocess.Popen(SLEEP).pid


def starts_and_stays(file: Path) -> None:
    pid = starts()
    file.with_suffix(".new").write_text(f"{pid} {os.getppid()}")
    file.with_suffix(".new").rename(file)
    while True:
        signal.pause()


def starts_and_dies(file: Path) -> None:
    file.write_text(str(starts()))
    os._exit(4)


async def told(file: Path) -> tuple[int, int]:
    await eventually(file.exists)
    sleeper, child = map(int, file.read_text().split())
    return sleeper, child


@pytest.mark.parametrize("in_a_fork", [False, True], ids=["a program", "a fork"])
async def test_a_call_that_returns_leaves_nothing_running(in_a_fork: bool) -> None:
    with Pool("process", **FORKED) as pool:
        for _ in range(3):
            pid = await pool.submit(starts, in_a_fork=in_a_fork).aresult(timeout=30)
            await eventually(lambda pid=pid: not runs(pid))


async def test_nor_does_one_that_dies(tmp_path: Path) -> None:
    with Pool("process", **FORKED) as pool:
        with pytest.raises(WorkerCrashed):
            await pool.submit(starts_and_dies, tmp_path / "pid").aresult(timeout=30)
        pid = int((tmp_path / "pid").read_text())
        await eventually(lambda: not runs(pid))


async def test_nor_one_that_has_to_end(tmp_path: Path) -> None:
    with Pool("process", **FORKED) as pool:
        call = pool.submit(starts_and_stays, tmp_path / "pid")
        sleeper, child = await told(tmp_path / "pid")
        call.cancel()
        with pytest.raises(CallCancelled):
            await call
        await eventually(lambda: not runs(sleeper))
        assert runs(child)


async def test_nor_one_whose_child_was_killed(tmp_path: Path) -> None:
    with Pool("process", **FORKED) as pool:
        call = pool.submit(starts_and_stays, tmp_path / "pid")
        sleeper, child = await told(tmp_path / "pid")
        os.kill(child, signal.SIGKILL)
        with pytest.raises(WorkerCrashed):
            await call
        await eventually(lambda: not runs(sleeper))


def test_nor_one_whose_program_was_killed(tmp_path: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom treadle import Pool\n"
        "from tests.pools.test_process_forks import FORKED, starts_and_stays\n"
        "Pool('process', **FORKED).submit(starts_and_stays, Path(sys.argv[1])).result()\n"
    )
    path = os.pathsep.join([str(Path.cwd()), *filter(None, sys.path)])
    command = [sys.executable, "-c", program, str(tmp_path / "pid")]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}) as parent:
        until((tmp_path / "pid").exists)
        sleeper, child = map(int, (tmp_path / "pid").read_text().split())
        parent.kill()
    until(lambda: not runs(sleeper) and not runs(child))


async def test_a_forked_job_leaves_nothing_running() -> None:
    async with Treadle("memory://") as app:
        task: Any = app.task(name="starts", mode="process", fork=True)(starts)
        pid = await task.submit()
        await eventually(lambda: not runs(pid))
