"""Workers that do not start in time: nobody waits for them for ever."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import RAY
from tests.pools.gates import notes
from tests.pools.slow_workers import Slow
from treadle import Foreman, InvalidOption, Worker, WorkerNotStarted, WorkerStopped
from treadle.errors import JobFailed
from treadle.testing.clock import eventually

MODES = ["thread", "process", RAY]
# Threads in which a start hangs are left alone, and end when their test does.
pytestmark = [pytest.mark.leaves("treadle-Slow-*"), pytest.mark.slow]


@pytest.fixture(autouse=True)
def ends(tmp_path: Path) -> Any:
    """What hangs in threads of this process ends with the test."""
    yield
    (tmp_path / "over").touch()
    for thread in threading.enumerate():
        if thread.name.startswith("treadle-Slow"):
            thread.join(10)


def slow(tmp_path: Path, mode: str, hangs: str, **options: Any) -> Any:
    limit = options.pop("start_timeout", 10 if mode == "ray" else 6 if mode == "process" else 0.2)
    made: Any = Slow.options(mode=mode, start_timeout=limit, patience=0.5, **options)  # type: ignore[arg-type]
    return made.init(tmp_path, hangs)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("hangs", ["init", "start"])
def test_a_worker_that_hangs_fails_its_init(tmp_path: Path, mode: str, hangs: str) -> None:
    with pytest.raises(WorkerNotStarted, match=r"start took longer than .* see start_timeout="):
        slow(tmp_path, mode, hangs)


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_those_that_had_started_are_stopped_again(tmp_path: Path, mode: str) -> None:
    with pytest.raises(WorkerNotStarted):
        slow(tmp_path, mode, "start1", max_workers=3)
    said = notes(tmp_path / "notes")
    assert {"stop 0", "stop 2"} <= set(said)


@pytest.mark.parametrize("mode", MODES)
def test_a_worker_that_starts_in_time_is_left_alone(tmp_path: Path, mode: str) -> None:
    with slow(tmp_path, mode, "", start_timeout=30) as worker:
        assert worker.echo(5).result(60) == 5
        worker.restart()
        assert worker.echo(6).result(60) == 6


async def test_in_an_event_loop_the_calls_are_told(tmp_path: Path) -> None:
    worker = slow(tmp_path, "thread", "start")
    call = worker.echo(1)
    with pytest.raises(WorkerNotStarted, match="start_timeout"):
        await call
    with pytest.raises(WorkerStopped, match="start_timeout") as caught:
        worker.echo(2)
    assert isinstance(caught.value.__cause__, WorkerNotStarted)
    await worker.astop()


async def test_entering_tells_of_it(tmp_path: Path) -> None:
    with pytest.raises(WorkerNotStarted, match="start_timeout"):
        async with slow(tmp_path, "thread", "start1", max_workers=2):
            pass
    assert "stop 0" in notes(tmp_path / "notes")


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_restart_that_hangs_makes_the_worker_anew(tmp_path: Path, mode: str) -> None:
    with slow(tmp_path, mode, "second") as worker:
        assert worker.echo(1).result(10) == 1
        with pytest.raises(WorkerNotStarted, match="its restart took longer"):
            worker.restart()
        # The third start does not hang.
        assert worker.echo(2).result(10) == 2
        assert notes(tmp_path / "notes").count("start 0") == 3


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_larger_pool_is_as_before_when_a_new_worker_hangs(tmp_path: Path, mode: str) -> None:
    with slow(tmp_path, mode, "start1") as worker:
        with pytest.raises(WorkerNotStarted):
            worker.resize(2)
        assert len(worker.stats.workers) == 1
        assert worker.echo(1).result(10) == 1


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_a_worker_for_one_call_that_hangs_fails_the_call(tmp_path: Path, mode: str) -> None:
    with slow(tmp_path, mode, "start", on_demand=True, max_workers=1) as worker:
        calls = [worker.echo(n) for n in range(2)]
        for call in calls:
            with pytest.raises(WorkerNotStarted):
                call.result(20)


class Lazy(Worker):
    """Starts asynchronously."""

    async def start(self) -> None:
        await asyncio.Event().wait()

    async def echo(self, value: int) -> int:
        return value


def test_a_coroutine_that_hangs_is_cancelled() -> None:
    with pytest.raises(WorkerNotStarted, match=r"longer than 0\.2 s"):
        Lazy.options(mode="asyncio", start_timeout=0.2).init()


async def echo(worker: Slow, value: int) -> int:
    return worker.echo(value)


def plain_echo(worker: Slow, value: int) -> int:
    return worker.echo(value)


async def test_a_foreman_whose_workers_hang_says_so(tmp_path: Path) -> None:
    foreman: Any = Foreman(
        Slow.options(mode="thread").bind(tmp_path, "start"), max_workers=1, start_timeout=0.2
    )
    with pytest.raises(WorkerNotStarted, match="start_timeout"):
        async with foreman:
            pass


async def test_a_job_goes_on_with_a_fresh_worker(tmp_path: Path) -> None:
    builder = Slow.options(mode="thread", start_timeout=0.2, restart_every=1, patience=0.3)
    async with Foreman(builder.bind(tmp_path, "second"), max_workers=1) as foreman:
        first = await foreman.enqueue(plain_echo, 1)
        second = await foreman.enqueue(plain_echo, 2)
        try:
            assert [await first.aresult(10), await second.aresult(10)] == [1, 2]
        except JobFailed as failed:  # pragma: no cover - for the message
            raise AssertionError(str(failed)) from failed
        await eventually(lambda: notes(tmp_path / "notes").count("start 0") >= 3)


def test_in_the_callers_thread_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidOption, match="cannot be interrupted"):
        slow(tmp_path, "sync", "start")
