"""A foreman as a process: signals, orders, and the shared page."""

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

from tests.foreman.kit import steal
from tests.foreman.shop import NAME, Shop
from treadle import CONTEXT, Context, Quit, Treadle
from treadle.foreman import child
from treadle.foreman.child import Orders
from treadle.foreman.foreman import Foreman
from treadle.foreman.page import Page
from treadle.foreman.serve import RECYCLED, serve
from treadle.foreman.signals import heard
from treadle.foreman.status import Status
from treadle.pools import footprint
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


async def test_the_second_signal_is_heard_while_the_loop_is_blocked(
    memory_app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    monkeypatch.setattr(os, "_exit", left.append)

    @memory_app.task(name="blocks")
    async def blocks() -> list[int]:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        return list(left)

    job = await blocks.aenqueue()
    assert await serve(memory_app.core) == 0
    assert await job.aresult() == [128 + signal.SIGINT]


async def test_a_signal_is_heard_by_a_loop_whose_pipe_is_full(memory_app: Treadle) -> None:
    """As after a stop: other threads have woken the loop many times before it can turn."""

    @memory_app.task(name="wait")
    async def wait(ctx: Context = CONTEXT) -> None:
        loop = asyncio.get_running_loop()
        for _ in range(10_000):
            loop.call_soon_threadsafe(int)
        os.kill(os.getpid(), signal.SIGTERM)
        while not ctx.stopping:
            await memory_app.core.clock.sleep(0)

    await wait.aenqueue()
    async with asyncio.timeout(15):
        assert await serve(memory_app.core) == 0


async def test_each_signal_is_heard_once_and_none_after_the_block() -> None:
    loop, told = asyncio.get_running_loop(), asyncio.Queue[signal.Signals]()
    with heard(loop, lambda number: loop.call_soon_threadsafe(told.put_nowait, number)):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            os.kill(os.getpid(), number)
            assert await told.get() is number
    assert told.empty()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


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
    status.quit("a job asked for it", Quit())
    status.recycle("age")
    status.stop("asked")
    assert (status.reason, status.recycled, status.exit_status) == ("a job asked for it", None, 75)


def test_memory_is_known_without_proc(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(footprint, "_STATM", tmp_path / "none")
    assert footprint.resident_bytes() > 1 << 20
    monkeypatch.setitem(sys.modules, "resource", None)
    assert footprint.resident_bytes() == 0


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
        nonce = foreman._presence.session.nonce
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
    with shop.app:  # the child has closed it
        assert job.result() == 3


def test_without_a_supervisor_the_end_of_the_orders_is_no_request_to_stop(shop: Shop) -> None:
    """``treadle run`` turns into such a process, and nobody holds the pipe any more."""
    job = shop.module.add.enqueue(1, 2)
    given = Orders(target=f"{NAME}:app", burst=True)
    with standard_input(msgspec.json.encode(given) + b"\n") as close:
        close()
        assert child.main() == 0
    with shop.app:
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
    with shop.app, shop.app.override(url=url):
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
    with shop.app:
        assert job.result() == "told"
