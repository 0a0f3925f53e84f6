"""What users hang on to the library may fail, block or be slow: the jobs do not notice."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.process_trial import ROOT
from treadle import Event, JobFailed, Treadle
from treadle.clock import SystemClock
from treadle.testing import eventually

CLOCK = SystemClock()


@pytest.fixture
async def app() -> AsyncIterator[Treadle]:
    async with Treadle("memory://") as app:
        yield app


class Broken(logging.Handler):
    """A log processor that fails at every line."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.lines += 1
        raise RuntimeError("the log is full")


class Slow(logging.Handler):
    """A log processor that takes its time."""

    def emit(self, record: logging.LogRecord) -> None:
        CLOCK.wait(threading.Event(), 0.02)


@contextmanager
def logging_to(handler: logging.Handler) -> Iterator[None]:
    logger = logging.getLogger("treadle")
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


async def run_some(app: Treadle) -> None:
    """Jobs that succeed, that fail, and one whose foreman has to give it up."""

    @app.task(name="good")
    async def good(n: int) -> int:
        return n

    @app.task(name="bad")
    def bad() -> None:
        raise ValueError("bad")

    @app.task(name="long")
    async def long() -> None:
        await asyncio.Event().wait()

    async with app.foreman(grace=0, lease=1.0) as foreman:
        jobs = [await good.aenqueue(n) for n in range(10)]
        failing = await bad.aenqueue()
        left = await long.aenqueue()
        assert [await job.aresult(timeout=10) for job in jobs] == list(range(10))
        with pytest.raises(JobFailed, match="bad"):
            await failing.aresult(timeout=10)
        await eventually(lambda: foreman.stats["running"] == 1)
    record = await left.arecord()
    assert (record.state.value, record.tries, record.crashes) == ("queued", 0, 0)


@pytest.mark.parametrize("handler", [Broken, Slow])
async def test_log_processors_that_fail_or_are_slow_change_no_outcome(
    app: Treadle, handler: type[logging.Handler]
) -> None:
    made = handler()
    with logging_to(made):
        await run_some(app)
    if isinstance(made, Broken):
        assert made.lines > 0


async def test_observers_that_fail_block_or_never_end_change_no_outcome(
    app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    drain = app.core.bus.drain
    monkeypatch.setattr(app.core.bus, "drain", lambda: drain(0.1))
    heard: list[str] = []

    @app.on("*")
    def fails(event: Event) -> None:
        raise RuntimeError("observer")

    @app.on("*")
    def exits(event: Event) -> None:
        raise SystemExit(3)

    @app.on("*")
    def blocks(event: Event) -> None:
        CLOCK.wait(threading.Event(), 0.01)

    @app.on("*")
    async def never(event: Event) -> None:
        await asyncio.Event().wait()

    @app.on("*")
    def hears(event: Event) -> None:
        heard.append(event.name)

    await run_some(app)
    assert heard.count("job.succeeded") == 10
    assert heard.count("job.failed") == 1


@pytest.mark.parametrize("raised", [RuntimeError("no"), SystemExit(3), KeyboardInterrupt()])
async def test_middleware_that_raises_fails_the_job_and_not_the_foreman(
    app: Treadle, raised: BaseException
) -> None:
    broken = True

    @app.middleware
    async def around(ctx: Any, call: Any) -> Any:
        if broken and ctx.phase == "run":
            raise raised
        return await call(ctx)

    task = app.task(name="work")(lambda: "fine")
    async with app.foreman():
        with pytest.raises(JobFailed) as caught:
            await (await task.aenqueue()).aresult(timeout=10)
        assert caught.value.fault is not None
        assert caught.value.fault.type.endswith(type(raised).__name__)
        broken = False
        assert await (await task.aenqueue()).aresult(timeout=10) == "fine"


PROGRAM = """
import asyncio, sys
from treadle import Treadle
from treadle.logs import configure

configure(level="debug")
app = Treadle(sys.argv[1])

@app.task(name="talk")
def talk() -> str:
    for _ in range(1000):
        print("to nobody " * 100, flush=True)
    return "said"

@app.task(name="work")
def work() -> str:
    return "done"

async def main() -> None:
    async with app.foreman(burst=True) as foreman:
        await foreman.join()

asyncio.run(main())
"""


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
async def test_a_stream_that_nobody_reads_any_more_fails_who_writes_and_nobody_else(
    tmp_path: Path, stream: str
) -> None:
    """A closed pipe: the task that prints gets an error; logs go nowhere; other jobs are done."""
    url = f"sqlite:///{tmp_path}/jobs.db"
    read, write = os.pipe()
    os.close(read)
    quiet = asyncio.subprocess.DEVNULL
    streams: dict[str, Any] = {"stdout": quiet, "stderr": quiet, stream: write}
    async with Treadle(url) as app:
        talk, work = (app.task(name=name)(lambda: "") for name in ("talk", "work"))
        talking = await talk.aenqueue()
        working = [await work.aenqueue() for _ in range(20)]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-c", PROGRAM, url),
            **streams,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")},
        )
        os.close(write)
        async with asyncio.timeout(60):
            await process.wait()
        assert [await job.aresult(timeout=0.1) for job in working] == ["done"] * 20
        if stream == "stdout":
            with pytest.raises(JobFailed, match="BrokenPipeError"):
                await talking.aresult(timeout=0.1)
        else:
            assert await talking.aresult(timeout=0.1) == "said"
            assert process.returncode == 0
