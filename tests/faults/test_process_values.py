"""What a task may return or raise, however odd: its job ends and says why, its foreman lives."""

from __future__ import annotations

import math
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from treadle import JobFailed, JobState, Treadle

DEPTH = 100_000


class RaisesWhenPickled:
    def __reduce__(self) -> Any:
        raise RuntimeError("not me")


class FailsWhenRead:
    """Can be written, and would raise in whoever reads it."""

    def __reduce__(self) -> Any:
        return _explode, ()


def _explode() -> None:
    raise RuntimeError("this was never to be called")


class TwoArguments(Exception):
    def __init__(self, one: str, two: str) -> None:
        super().__init__(f"{one} and {two}")


class Shows(Exception):
    def __repr__(self) -> str:
        raise RuntimeError("no")

    __str__ = __repr__


def nested() -> list[Any]:
    value: list[Any] = []
    for _ in range(DEPTH):
        value = [value]
    return value


def endless() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


def generator() -> Iterator[int]:
    yield 1


class Sockets:
    """Of which none is left open."""

    def __init__(self) -> None:
        self.made: list[socket.socket] = []

    def __call__(self) -> socket.socket:
        self.made.append(socket.socket())
        return self.made[-1]


@pytest.fixture(params=["memory", "sqlite"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Treadle]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/jobs.db"
    async with Treadle(url) as app:
        yield app


def tasks(app: Treadle, make: Callable[[], Any]) -> list[Any]:
    """One task for each mode that gives what ``make`` does, and one that is harmless."""

    def thread() -> Any:
        return make()

    async def aio() -> Any:
        return make()

    def good() -> str:
        return "fine"

    return [
        app.task(name="thread")(thread),
        app.task(name="aio")(aio),
        app.task(name="good")(good),
    ]


@pytest.mark.parametrize(
    "make",
    [
        lambda: lambda: 1,
        RaisesWhenPickled,
        FailsWhenRead,
        generator,
        nested,
        endless,
        object,
        lambda: {"a": {1, lambda: 2}},
        lambda: type,
        lambda: 10**5000,
        lambda: b"x" * (1 << 21),
    ],
    ids=[
        *("lambda", "raises when pickled", "fails when read", "generator", "nested", "endless"),
        *("object", "lambda inside", "class", "5000 digits", "too large"),
    ],
)
async def test_a_result_that_cannot_be_stored_fails_its_job_alone(
    app: Treadle, make: Callable[[], Any]
) -> None:
    thread, aio, good = tasks(app, make)
    async with app.foreman() as foreman:
        for task in (thread, aio):
            job = await task.aenqueue()
            with pytest.raises(JobFailed) as caught:
                await job.aresult(timeout=30)
            assert caught.value.cause == "result"
            assert caught.value.fault is not None
            assert caught.value.fault.message
            assert (await job.arecord()).state is JobState.FAILED
        assert await (await good.aenqueue()).aresult(timeout=30) == "fine"
        assert foreman.stats["running"] == 0


async def test_a_socket_as_a_result_fails_its_job_alone(app: Treadle) -> None:
    sockets = Sockets()
    thread, aio, good = tasks(app, sockets)
    async with app.foreman():
        for task in (thread, aio):
            with pytest.raises(JobFailed, match="socket"):
                await (await task.aenqueue()).aresult(timeout=30)
        assert await (await good.aenqueue()).aresult(timeout=30) == "fine"
    for one in sockets.made:
        one.close()


@pytest.mark.parametrize(
    "value",
    [
        *(math.inf, -math.inf, -(1 << 64), 10**4298, "", b"", [], {}, "\x00", "\ufeff"),
        *("\ud800 alone", {"\udfff": 1}),
    ],
    ids=[
        *("inf", "-inf", "-2**64", "4299 digits", "no text", "no bytes", "no items"),
        *("no fields", "null", "byte order mark", "lone surrogate", "surrogate as a key"),
    ],
)
async def test_an_odd_result_comes_back_as_it_was(app: Treadle, value: Any) -> None:
    thread, aio, good = tasks(app, lambda: value)
    async with app.foreman():
        for task in (thread, aio):
            assert await (await task.aenqueue()).aresult(timeout=30) == value
        assert await (await good.aenqueue()).aresult(timeout=30) == "fine"


async def test_not_a_number_is_a_result(app: Treadle) -> None:
    thread, aio, _ = tasks(app, lambda: math.nan)
    async with app.foreman():
        for task in (thread, aio):
            assert math.isnan(await (await task.aenqueue()).aresult(timeout=30))


def _chain() -> Exception:
    error: BaseException = ValueError("the first")
    for number in range(2000):
        outer = RuntimeError(number)
        outer.__cause__ = error
        error = outer
    assert isinstance(error, Exception)
    return error


def _loop() -> Exception:
    one, two = ValueError("one"), ValueError("two")
    one.__cause__, two.__cause__ = two, one
    return one


def _deep_group() -> Exception:
    error: Any = ValueError("inside")
    for _ in range(500):
        error = ExceptionGroup("around", [error])
    assert isinstance(error, Exception)
    return error


@pytest.mark.parametrize(
    "make",
    [
        lambda: TwoArguments("one", "two"),
        Shows,
        _chain,
        _loop,
        _deep_group,
        lambda: ValueError("\ud800"),
        lambda: ValueError("x" * (1 << 22)),
        lambda: ValueError(10**5000),
        lambda: ValueError(nested()),
        lambda: RecursionError("deep"),
        lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
    ],
    ids=[
        *("two arguments", "cannot be shown", "long chain", "circle", "deep group"),
        *("surrogate", "long", "large number", "nested", "recursion", "decoding"),
    ],
)
async def test_an_odd_error_is_kept_as_data_and_harms_nobody(
    app: Treadle, make: Callable[[], Exception]
) -> None:
    def raises() -> None:
        raise make()

    thread, aio, good = tasks(app, raises)
    async with app.foreman():
        for task in (thread, aio):
            job = await task.aenqueue()
            with pytest.raises(JobFailed) as caught:
                await job.aresult(timeout=30)
            assert caught.value.cause == "error"
            assert caught.value.fault is not None
            assert caught.value.fault.type.rpartition(".")[2] == type(make()).__name__
        assert await (await good.aenqueue()).aresult(timeout=30) == "fine"


async def test_code_that_runs_out_of_stack_fails_its_job_alone(app: Treadle) -> None:
    def dive(depth: int = 0) -> int:
        return dive(depth + 1) + 1

    thread, aio, good = tasks(app, dive)
    limit = sys.getrecursionlimit()
    async with app.foreman():
        for task in (thread, aio):
            with pytest.raises(JobFailed) as caught:
                await (await task.aenqueue()).aresult(timeout=30)
            assert caught.value.fault is not None
            assert caught.value.fault.type.endswith("RecursionError")
        assert await (await good.aenqueue()).aresult(timeout=30) == "fine"
    assert sys.getrecursionlimit() == limit
