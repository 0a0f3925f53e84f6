"""A foreman as a process: signals, orders, the shared page, and who starts it again."""

from __future__ import annotations

import asyncio
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.foreman.kit import Manual, advance_until, steal
from tests.foreman.shop import NAME, Shop
from treadle import CONTEXT, Context, Treadle
from treadle.foreman import child, recycle
from treadle.foreman.child import Orders
from treadle.foreman.foreman import Foreman
from treadle.foreman.page import Page
from treadle.foreman.serve import RECYCLED, serve
from treadle.foreman.status import QUIT, Status
from treadle.foreman.supervisor import Supervisor
from treadle.records import Token
from treadle.testing import eventually

# -- signals -------------------------------------------------------------------------------------


async def test_the_first_signal_stops_in_good_order(memory_app: Treadle) -> None:
    seen: list[bool] = []

    @memory_app.task(name="wait")
    async def wait(ctx: Context = CONTEXT) -> str:
        os.kill(os.getpid(), signal.SIGTERM)
        while not ctx.stopping:
            await memory_app.core.clock.sleep(0)
        seen.append(True)
        return "told"

    job = await wait.aenqueue()
    assert await serve(memory_app.core) == 0
    assert await job.aresult() == "told"
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


async def test_the_second_signal_leaves_at_once(
    memory_app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    stopped = asyncio.Event()

    def leave(status: int) -> None:
        left.append(status)
        stopped.set()

    monkeypatch.setattr(os, "_exit", leave)

    @memory_app.task(name="stubborn")
    async def stubborn(ctx: Context = CONTEXT) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        while not ctx.stopping:
            await memory_app.core.clock.sleep(0)
        os.kill(os.getpid(), signal.SIGINT)
        await stopped.wait()

    await stubborn.aenqueue()
    assert await serve(memory_app.core) == 0
    assert left == [128 + signal.SIGINT]


async def test_one_signal_does_not_kill_what_is_stopping_already(
    memory_app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that makes room for a fresh one has its grace all the same."""
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)
    stopping = asyncio.Event()

    @memory_app.task(name="last")
    async def last(ctx: Context = CONTEXT) -> None:
        while not ctx.stopping:
            await memory_app.core.clock.sleep(0)
        os.kill(os.getpid(), signal.SIGTERM)
        await stopping.wait()

    job = await last.aenqueue()
    heard: list[Foreman] = []

    def opened(foreman: Foreman, loop: asyncio.AbstractEventLoop) -> None:
        heard.append(foreman)
        stop = foreman._status.stop

        def told(reason: str) -> None:
            stop(reason)
            if reason == "asked":
                stopping.set()

        foreman._status.stop = told  # type: ignore[method-assign]

    assert await serve(memory_app.core, opened=opened, max_jobs=1) == RECYCLED
    assert left == []
    assert (await job.arecord()).state == "succeeded"


async def test_where_a_loop_cannot_watch_signals_it_serves_all_the_same(
    memory_app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise NotImplementedError

    monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
    assert await serve(memory_app.core, burst=True) == 0


def test_the_first_reason_to_stop_stands() -> None:
    status = Status()
    status.quit("a job asked for it")
    status.recycle("age")
    status.stop("asked")
    assert (status.reason, status.recycled, status.exit_status) == ("a job asked for it", None, 75)


def test_memory_is_known_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recycle, "_STATM", tmp_path / "none")
    assert recycle.resident_bytes() > 1 << 20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert recycle.resident_bytes() == 0


# -- the page ------------------------------------------------------------------------------------


async def test_the_page_says_what_a_foreman_holds(memory_app: Treadle, tmp_path: Path) -> None:
    release = asyncio.Event()
    Page.create(tmp_path / "page", 4)
    page = Page(tmp_path / "page")

    @memory_app.task(name="slow")
    async def slow() -> None:
        await release.wait()

    lost = await slow.aenqueue()
    job = await slow.aenqueue()
    async with Foreman(memory_app.core, page=page) as foreman:
        nonce = foreman._session.nonce
        await eventually(lambda: len(page.read()[1]) == 2)
        expected = {(Token(job.id, 1, nonce), True), (Token(lost.id, 1, nonce), True)}
        await eventually(lambda: set(page.read()[1]) == expected)
        thief, _ = await steal(memory_app, foreman, lost.id)
        foreman._heartbeat.nudge()
        await eventually(lambda: len(page.read()[1]) == 1)
        release.set()
        await eventually(lambda: page.read() == (nonce, []))
        await (await memory_app.core.ready()).close_session(thief)
    page.close()


# -- the child -----------------------------------------------------------------------------------


@contextmanager
def standard_input(data: bytes) -> Iterator[Callable[[], None]]:
    """Bytes on standard input, and what closes the other end."""
    kept = os.dup(0)
    reader, writer = os.pipe()
    os.dup2(reader, 0)
    os.close(reader)
    os.write(writer, data)
    ends = [writer]

    def close() -> None:
        if ends:
            os.close(ends.pop())

    try:
        yield close
    finally:
        close()
        os.dup2(kept, 0)
        os.close(kept)


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Shop]:
    shop = Shop.open(tmp_path, monkeypatch)
    yield shop
    shop.app.close()


def run_child(shop: Shop, **orders: Any) -> int:
    path = shop.folder / "page"
    Page.create(path, 4)
    given = Orders(target=f"{NAME}:app", page=str(path), name="child", **orders)
    with standard_input(msgspec.json.encode(given) + b"\n"):
        return child.main()


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "configure", lambda **_: None)


def test_a_child_does_what_its_orders_say(shop: Shop) -> None:
    job = shop.module.add.enqueue(1, 2)
    assert run_child(shop, burst=True, options={"concurrency": 2}) == 0
    assert job.result() == 3


def test_a_child_is_a_program(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("treadle.logs.configure", lambda **_: None)
    program = child.__file__
    monkeypatch.setattr(child, "main", lambda: runpy.run_path(program, run_name="__main__"))
    with pytest.raises(SystemExit) as caught:
        run_child(shop, burst=True)
    assert caught.value.code == 0


def test_a_child_serves_another_store_when_it_is_told(shop: Shop) -> None:
    url = f"sqlite:///{shop.folder}/other.db"
    with shop.app.override(url=url):
        job = shop.module.add.enqueue(3, 4)
    assert run_child(shop, burst=True, url=url) == 0
    with shop.app.override(url=url):
        assert job.result() == 7


def test_a_child_whose_parent_is_gone_stops(shop: Shop) -> None:
    path = shop.folder / "page"
    Page.create(path, 4)
    job = shop.module.wait.enqueue()
    given = Orders(target=f"{NAME}:app", page=str(path), name="child")
    with standard_input(msgspec.json.encode(given) + b"\n") as close:

        def part() -> None:
            while not shop.ledger():
                gone.wait(0.01)
            close()

        gone = threading.Event()
        parent = threading.Thread(target=part)
        parent.start()
        assert child.main() == 0
        parent.join()
    assert job.result() == "told"


# -- the supervisor --------------------------------------------------------------------------------


class Scripted(Supervisor):
    """Processes that end as the script says: (exit status, nonce of the session or 0)."""

    def __init__(self, manual: Manual, script: list[tuple[int, int]], **options: Any) -> None:
        options = {"burst": True, **options}
        super().__init__(manual.app.core, "none:app", processes=1, **options)
        self.script = script
        self.began: list[float] = []
        self.on_child: Callable[[], None] = lambda: None

    async def _child(self, number: int, page: Path) -> int:
        self.began.append(self._core.clock.monotonic())
        status, nonce = self.script.pop(0)
        Page.create(page, 4)
        if nonce:
            written = Page(page)
            written.open(nonce)
            written.lease(Token("job", 1, nonce))
            written.close()
        self.on_child()
        return status


async def finish(manual: Manual, supervisor: Supervisor) -> int:
    running = asyncio.ensure_future(supervisor.run())
    await advance_until(manual.clock, running.done)
    return running.result()


async def test_a_process_that_makes_room_is_replaced_at_once(manual: Manual) -> None:
    supervisor = Scripted(manual, [(RECYCLED, 1), (RECYCLED, 1), (0, 1)])
    assert await finish(manual, supervisor) == 0
    assert supervisor.began == [0.0, 0.0, 0.0]


async def test_one_that_ends_by_itself_is_replaced_where_work_may_come(manual: Manual) -> None:
    supervisor = Scripted(manual, [(0, 1), (0, 1), (QUIT, 1)], burst=False)
    assert await finish(manual, supervisor) == QUIT
    assert supervisor.began == [0.0, 0.0, 0.0]


async def test_one_that_ends_well_without_having_begun_does_not_spin(manual: Manual) -> None:
    supervisor = Scripted(manual, [(0, 0)] * 9, burst=False)
    assert await finish(manual, supervisor) == 1
    assert len(supervisor.began) == 5
    assert supervisor.began[-1] > 3


async def test_deaths_are_followed_by_growing_pauses(manual: Manual) -> None:
    supervisor = Scripted(manual, [(-9, 1)] * 5 + [(0, 1)])
    assert await finish(manual, supervisor) == 0
    pauses = [b - a for a, b in zip(supervisor.began, supervisor.began[1:], strict=False)]
    assert pauses == [0.0, 0.5, 1.0, 2.0, 4.0]


async def test_what_does_not_start_is_given_up(
    manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    supervisor = Scripted(manual, [(3, 0)] * 9)
    assert await finish(manual, supervisor) == 1
    assert len(supervisor.began) == 5
    assert "exit status 3" in caplog.text


async def test_quit_stops_all(manual: Manual) -> None:
    assert await finish(manual, Scripted(manual, [(QUIT, 1)])) == QUIT


async def test_nothing_is_started_after_a_stop(manual: Manual) -> None:
    supervisor = Scripted(manual, [(RECYCLED, 1)])
    supervisor.on_child = lambda: supervisor.stop("asked")
    assert await finish(manual, supervisor) == 0
    supervisor = Scripted(manual, [(-9, 1), (-9, 1)])
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: len(supervisor.began) == 2)  # it pauses now
    supervisor.stop("asked")
    assert await running == 0
    supervisor = Scripted(manual, [])
    supervisor._stopping = True
    assert await supervisor.run() == 0


async def test_a_death_that_cannot_be_reported_is_said(
    flaky: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    flaky.backend.fail("extend", "refused")
    assert await finish(flaky, Scripted(flaky, [(-9, 1), (0, 1)])) == 0
    assert "death.not_reported" in caplog.text


class Process:
    """A child that notes its signals and ends when it is killed."""

    def __init__(self) -> None:
        self.pid = 1
        self.signals: list[int] = []
        self.ended = asyncio.Event()
        self.stdin = self

    def send_signal(self, number: int) -> None:
        self.signals.append(number)
        if number == signal.SIGKILL:
            self.ended.set()
            raise ProcessLookupError

    def write(self, data: bytes) -> None:
        raise ConnectionResetError  # it died before it had its orders

    def close(self) -> None: ...

    async def wait(self) -> int:
        await self.ended.wait()
        return -9


async def test_a_child_that_does_not_stop_is_killed(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()
    supervisor = Supervisor(manual.app.core, "none:app", processes=1, grace=1)

    async def spawn(*args: Any, **options: Any) -> Process:
        supervisor.stop("asked")  # while it starts
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: process.signals == [signal.SIGTERM])
    assert supervisor.pids == [1]
    supervisor.stop("asked again")
    assert await running == 0
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert supervisor.pids == []


async def test_a_child_that_does_not_keep_its_grace_is_killed(
    manual: Manual, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process()

    async def spawn(*args: Any, **options: Any) -> Process:
        return process

    monkeypatch.setattr(asyncio, "create_subprocess_exec", spawn)
    supervisor = Supervisor(manual.app.core, "none:app", processes=1, grace=1)
    running = asyncio.ensure_future(supervisor.run())
    await eventually(lambda: supervisor.pids == [1])
    supervisor.stop("asked")
    assert supervisor._last is not None
    loop = asyncio.get_running_loop()
    assert 16 < supervisor._last.when() - loop.time() <= 17  # twice the grace, and a little
    supervisor._kill()
    assert await running == 0
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
