"""Calls here and now of tasks that ask for a context or dependencies, in each mode."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import treadle
from tests.clusters import RAY
from treadle import (
    CONTEXT,
    AttemptTimeout,
    CallCancelled,
    Context,
    Depends,
    InvalidCall,
    Retry,
    Treadle,
)
from treadle.errors import Blocking, UsageError
from treadle.loopthread import background
from treadle.pools.options import cores
from treadle.testing import eventually

PLAIN = ["thread", "process", RAY]
ALL = [*PLAIN, "asyncio"]


pytestmark = pytest.mark.usefixtures("no_background_loop_left")


def nap() -> None:
    time.sleep(0.005)  # noqa: TID251 - code of a user


def note(file: Path, text: str) -> None:
    with file.open("a") as book:
        book.write(f"{text}\n")


def made(fn: Callable[..., Any], mode: str, **options: Any) -> Any:
    """A task of the function, or of its twin where the mode needs a coroutine."""
    return treadle.task(name="call", mode=mode, **options)(fn)  # type: ignore[call-overload]


def facts(ctx: Context = CONTEXT) -> tuple[int, str, bool, bool]:
    assert treadle.current() is ctx
    ctx.check()
    ctx.log.info("something")
    ctx.state["seen"] = True
    return ctx.attempt, ctx.task_name, ctx.deadline is not None, ctx.stopping


async def afacts(ctx: Context = CONTEXT) -> tuple[int, str, bool, bool]:
    return facts(ctx)


@pytest.mark.parametrize("mode", ALL)
def test_the_context_of_a_call(mode: str) -> None:
    task = made(afacts if mode == "asyncio" else facts, mode)
    assert task.submit().result(60) == (1, "call", True, False)
    unbounded = task.options(timeout=None)
    assert unbounded.submit().result(60) == (1, "call", False, False)


def tries(file: Path, ctx: Context = CONTEXT) -> int:
    note(file, str(ctx.attempt))
    if ctx.attempt < 3:
        raise OSError("again")
    return ctx.tries


@pytest.mark.parametrize("mode", PLAIN)
def test_attempts_are_numbered(mode: str, tmp_path: Path) -> None:
    task = made(tries, mode, retry=Retry(3, backoff=0))
    assert task.submit(tmp_path / "tries").result(60) == 2
    assert (tmp_path / "tries").read_text().split() == ["1", "2", "3"]


# Where the test is.
BOOK = Path("book")


def of_call() -> Iterator[Path]:
    note(BOOK, "open call")
    yield BOOK
    note(BOOK, "close call")


async def of_place() -> AsyncIterator[list[int]]:
    note(BOOK, "open place")
    yield []
    note(BOOK, "close place")


def uses(
    number: int,
    call: Path = Depends(of_call),
    place: list[int] = Depends(of_place, scope="app"),
) -> int:
    note(call, f"run {number}")
    place.append(number)
    return len(place)


async def auses(
    number: int,
    call: Path = Depends(of_call),
    place: list[int] = Depends(of_place, scope="app"),
) -> int:
    return uses(number, call, place)


@pytest.mark.parametrize("mode", ["thread", "process", "asyncio"])
def test_dependencies_live_as_long_as_they_say(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Treadle("memory://") as app:
        task = app.task(name="call", mode=mode)(auses if mode == "asyncio" else uses)  # type: ignore[call-overload]
        counts = [task.submit(number).result(60) for number in range(6)]
    said = BOOK.read_text().splitlines()
    places = said.count("open place")
    assert 1 <= places <= (1 if mode == "asyncio" else 64)
    assert said.count("close place") == places
    assert sum(counts) >= 6
    for number in range(6):
        at = said.index(f"run {number}")
        assert said[at + 1] == "close call"
    assert said.count("open call") == said.count("close call") == 6


def reports(ctx: Context = CONTEXT) -> str:
    for step in range(5):
        ctx.progress(step + 1, 5, f"step {step + 1}")
    return "done"


async def areports(ctx: Context = CONTEXT) -> str:
    return reports(ctx)


@pytest.mark.parametrize("mode", ALL)
def test_progress_is_told_by_the_future(mode: str) -> None:
    future = made(areports if mode == "asyncio" else reports, mode).submit()
    heard = list(future.progress())
    assert heard
    assert (heard[-1].current, heard[-1].total, heard[-1].message) == (5, 5, "step 5")
    assert heard[-1].fraction == 1
    assert future.said == heard[-1]
    assert future.result(60) == "done"


def reports_and_waits(file: Path, ctx: Context = CONTEXT) -> str:
    ctx.progress(1, 2)
    while not file.exists():
        nap()
    return "seen"


@pytest.mark.parametrize("mode", PLAIN)
async def test_progress_is_followed_while_the_code_runs(mode: str, tmp_path: Path) -> None:
    future = made(reports_and_waits, mode).submit(tmp_path / "file")
    with pytest.raises(Blocking, match=r"future\.aprogress"):
        next(future.progress())
    heard = []
    async for said in future.aprogress():
        heard.append(said.current)
        (tmp_path / "file").touch()
    assert heard == [1]
    assert await future == "seen"
    assert [one.current async for one in future.aprogress()] == [1]


def checks(file: Path | None, ctx: Context = CONTEXT) -> None:
    if file is None:
        return
    file.touch()
    try:
        while True:
            ctx.check()
            nap()
    except BaseException as error:
        note(file, type(error).__name__)
        raise


@pytest.mark.parametrize("mode", PLAIN)
async def test_plain_code_notices_that_it_is_cancelled(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    future = made(checks, mode).submit(file)
    await eventually(file.exists, 60)
    assert future.cancel()
    with pytest.raises(CallCancelled):
        await future
    await eventually(lambda: "CallCancelled" in file.read_text())


@pytest.mark.parametrize("mode", PLAIN)
async def test_plain_code_notices_that_its_time_is_over(mode: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    task = made(checks, mode, timeout=1)
    for warm in [task.options(timeout=None).submit(None) for _ in range(cores())]:
        await warm
    future = task.submit(file)
    with pytest.raises(AttemptTimeout):
        await future
    await eventually(lambda: "AttemptTimeout" in file.read_text())


def of_jobs(what: str, ctx: Context = CONTEXT) -> str:
    try:
        getattr(ctx, what)
    except UsageError as error:
        return str(error)
    return "given"


@pytest.mark.parametrize("what", ["enqueue", "job_id", "checkpoint", "resumed", "fence", "headers"])
def test_what_only_a_job_has_is_refused(what: str) -> None:
    said = made(of_jobs, "thread").submit(what).result(10)
    assert f"ctx.{what} is of jobs" in said


def test_an_injected_argument_is_not_given() -> None:
    with pytest.raises(InvalidCall, match="'ctx' is injected where the call runs"):
        made(facts, "thread").submit(ctx=None)


def squares(number: int, ctx: Context = CONTEXT) -> int:
    ctx.progress(number)
    return number * number


@pytest.mark.parametrize("mode", PLAIN)
def test_a_map_injects_into_each_call(mode: str) -> None:
    assert list(made(squares, mode).map(range(5))) == [0, 1, 4, 9, 16]


def test_items_with_dependencies_are_not_put_together() -> None:
    with pytest.raises(treadle.InvalidOption, match="chunk=2"):
        made(squares, "thread").map(range(5), chunk=2)


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_overrides_hold_for_calls(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with Treadle("memory://") as app:
        task = app.task(name="call", mode=mode)(uses)  # type: ignore[call-overload]
        other = tmp_path / "other"
        with app.override(depends={of_call: lambda: other, of_place: list}):
            assert task.submit(1).result(60) == 1
    assert other.read_text().split("\n")[0] == "run 1"
    assert not BOOK.exists()


def blocks(ctx: Context = CONTEXT) -> int:
    async def half() -> int:
        return ctx.attempt

    return asyncio.run(half()) + background().call(half())


@pytest.mark.parametrize("mode", ["thread", "process"])
def test_plain_code_may_block_and_run_loops(mode: str) -> None:
    assert made(blocks, mode).submit().result(60) == 2


async def slow(ctx: Context = CONTEXT) -> str:
    ctx.progress(1)
    await asyncio.Event().wait()
    return "never"


@pytest.mark.parametrize("mode", ["asyncio", "process"])
async def test_coroutines_with_a_context_are_cancelled(mode: str) -> None:
    future = made(slow, mode).submit()
    async for _ in future.aprogress():
        future.cancel()
    with pytest.raises(CallCancelled):
        await future


def test_threads_share_nothing_that_is_bound_to_a_loop() -> None:
    gate = threading.Barrier(2)

    async def loop_of() -> int:
        return id(asyncio.get_running_loop())

    def together(loop: int = Depends(loop_of, scope="app")) -> int:
        gate.wait(10)
        return loop

    task: Any = made(together, "thread")
    futures = [task.submit(), task.submit()]
    seen = [future.result(10) for future in futures]
    assert seen[0] != seen[1]
