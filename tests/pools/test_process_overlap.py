"""Coroutines that overlap in one child process."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

import treadle
from tests.pools.gates import note, notes
from treadle import CallCancelled, InvalidOption, Pool, Treadle, Worker, WorkerCrashed, gather
from treadle.pools.seat import here
from treadle.pools.submission import Informed
from treadle.testing.clock import eventually

app = Treadle("memory://")


class Meeting(Worker):
    """Calls that wait for each other."""

    def __init__(self, file: Path | None = None) -> None:
        self.here = 0
        self.file = file
        self.all_here: asyncio.Event | None = None

    def start(self) -> None:
        if self.file is not None:
            note(self.file, "start")

    async def meet(self, number: int) -> int:
        """Return once so many are here."""
        self.all_here = self.all_here or asyncio.Event()
        self.here += 1
        if self.here >= number:
            self.all_here.set()
        await self.all_here.wait()
        return os.getpid()

    async def echo(self, value: Any) -> Any:
        await asyncio.sleep(0)  # noqa: TID251 - code of a user
        return value

    def plain(self, value: Any) -> Any:
        return value

    async def fail(self, text: str) -> None:
        await asyncio.sleep(0)  # noqa: TID251 - code of a user
        raise ValueError(text)

    async def wait(self, name: str) -> None:
        assert self.file is not None
        note(self.file, f"begin {name}")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            note(self.file, f"asked {name}")
            assert treadle.stopping()
            raise

    async def swallow(self) -> None:
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                assert self.file is not None
                note(self.file, "swallowed")

    def block(self) -> None:
        assert self.file is not None
        note(self.file, "blocked")
        while True:
            time.sleep(0.01)  # noqa: TID251 - code of a user

    async def until(self, file: Path) -> str:
        while not file.exists():  # noqa: ASYNC110 - what it waits for is outside
            await asyncio.sleep(0.01)  # noqa: TID251 - code of a user
        return "seen"

    async def die(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


def meeting(file: Path | None = None, **options: Any) -> Any:
    return Meeting.options(mode="process", slots=4, **options).init(file)


def test_calls_of_one_child_overlap() -> None:
    with meeting() as worker:
        pids = gather([worker.meet(4) for _ in range(4)], timeout=20)
        assert len(set(pids)) == 1
        assert worker.stats.total == 4


def test_each_call_has_its_own_end() -> None:
    with meeting() as worker:
        calls = [worker.echo(n) if n % 3 else worker.plain(n) for n in range(500)]
        failing = worker.fail("no")
        assert gather(calls, timeout=20) == list(range(500))
        with pytest.raises(ValueError, match="no"):
            failing.result(20)
        big = b"x" * 600_000
        assert gather([worker.echo(big) for _ in range(6)], timeout=20) == [big] * 6


def test_many_calls_pass_one_that_takes_long(tmp_path: Path) -> None:
    with meeting() as worker:
        long = worker.until(tmp_path / "file")
        # More than there are fields for calls on the page that both sides share.
        following = [worker.echo(n) for n in range(100)]
        assert gather(following, timeout=20) == list(range(100))
        rest = [worker.echo(n) for n in range(400)]
        assert not long.done()
        (tmp_path / "file").touch()
        assert long.result(20) == "seen"
        assert gather(rest, timeout=20) == list(range(400))


async def test_one_is_cancelled_and_the_others_go_on(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    with meeting(file) as worker:
        waiting = {name: worker.wait(name) for name in "abcd"}
        behind = worker.echo("behind")
        await eventually(lambda: sum("begin" in one for one in notes(file)) == 4)
        assert waiting["b"].cancel()
        with pytest.raises(CallCancelled):
            await waiting["b"]
        # Its slot is free.
        assert await behind == "behind"
        assert [one for one in notes(file) if "asked" in one] == ["asked b"]
        assert not any(waiting[name].done() for name in "acd")
        for name in "acd":
            waiting[name].cancel()
        await eventually(lambda: sum("asked" in one for one in notes(file)) == 4)
        await worker.astop()


async def test_what_swallows_the_request_ends_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    with meeting(file, patience=0.3) as worker:
        stubborn, other = worker.swallow(), worker.until(tmp_path / "go")
        assert await worker.echo(1) == 1
        stubborn.cancel()
        with pytest.raises(CallCancelled):
            await stubborn
        assert worker.stats.abandoned == 1
        assert not other.done()
        (tmp_path / "go").touch()
        assert await other == "seen"
        # The next one has a fresh child.
        assert await worker.echo(2) == 2
        assert notes(file).count("start") == 2
        await worker.astop()


async def test_a_loop_that_does_not_turn_ends_with_its_child(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    with meeting(file, patience=0.3) as worker:
        blocking = worker.block()
        await eventually(lambda: "blocked" in notes(file))
        blocking.cancel()
        with pytest.raises(CallCancelled):
            await blocking
        assert await worker.echo(1) == 1
        assert notes(file).count("start") == 2
        await worker.astop()


async def test_a_death_ends_those_that_ran_and_no_other(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    with meeting(file) as worker:
        running = [worker.wait(name) for name in "abc"]
        await eventually(lambda: sum("begin" in one for one in notes(file)) == 3)
        fatal = worker.die()
        behind = [worker.echo(n) for n in range(20)]
        for call in (*running, fatal):
            with pytest.raises(WorkerCrashed):
                await call
        assert await treadle.agather(behind) == list(range(20))
        assert notes(file).count("start") == 2
        await worker.astop()


async def test_a_restart_waits_for_those_that_run(tmp_path: Path) -> None:
    file = tmp_path / "notes"
    with meeting(file) as worker:
        long = worker.until(tmp_path / "go")
        assert await worker.echo(1) == 1
        restarting = asyncio.create_task(worker.arestart())
        behind = [worker.echo(n) for n in range(30)]
        (tmp_path / "go").touch()
        assert await long == "seen"
        await restarting
        assert await treadle.agather(behind) == list(range(30))
        assert notes(file).count("start") == 2
        await worker.astop()


class Talking(Informed):
    """Says its name and ends when all of them have."""

    def __init__(self, name: str, heard: list[str] | None) -> None:
        self.name = name
        self.__name__ = "talking"
        self.heard = heard

    def __reduce__(self) -> Any:
        return Talking, (self.name, None)

    def said(self, body: bytes) -> None:
        assert self.heard is not None
        self.heard.append(f"{self.name} heard {body.decode()}")

    async def __call__(self) -> str:
        seat = here()
        for number in range(3):
            here().say(f"{self.name}{number}".encode())
            await asyncio.sleep(0)  # noqa: TID251 - code of a user
        assert seat.ending is None
        return self.name


def test_what_a_call_says_is_heard_by_its_own_caller() -> None:
    heard: list[str] = []
    with Pool("process", max_workers=1, slots=4) as pool:
        calls = [pool.submit(Talking(name, heard)) for name in "abcd"]
        assert gather(calls, timeout=20) == list("abcd")
    assert sorted(heard) == [f"{name} heard {name}{n}" for name in "abcd" for n in range(3)]


@app.task(worker=Meeting.options(mode="process", slots=3))
async def meets(meeting: Meeting, number: int) -> int:
    return await meeting.meet(number)


async def test_jobs_of_one_worker_overlap() -> None:
    async with app, app.foreman():
        jobs = [await meets.aenqueue(3) for _ in range(3)]
        pids = [await job.aresult(timeout=20) for job in jobs]
        assert len(set(pids)) == 1


@pytest.mark.parametrize("option", [{"fork": True}, {"around": [open]}])
def test_what_is_for_one_call_at_a_time_is_refused(option: Any) -> None:
    with pytest.raises(InvalidOption, match="for one call at a time"):
        Meeting.options(mode="process", slots=2, **option)
