"""The seam between a foreman and its sites: everything that crosses it is data."""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import threading
from queue import SimpleQueue
from typing import Any

import pytest

from tests.foreman.kit import Manual
from treadle import CONTEXT, Context, Treadle
from treadle.clock import SystemClock
from treadle.foreman import Foreman
from treadle.foreman.modes import Modes
from treadle.pools.sites.aio import AsyncioSite
from treadle.pools.sites.site import Call, Channel, Ended, Invoke, Program, Site
from treadle.pools.sites.thread import ThreadSite, Work
from treadle.records import Note
from treadle.testing import eventually


class PicklingSite:
    """Runs calls here, but lets nothing through that another process could not have got."""

    def __init__(self, inner: Site) -> None:
        self._inner = inner
        self.calls = 0
        self.abandoned = 0

    async def run(self, call: Call, channel: Channel) -> Ended:
        self.calls += 1
        ended = await self._inner.run(_copy(call), PicklingChannel(channel))
        return _copy(ended)

    async def aclose(self) -> None:
        await self._inner.aclose()


class PicklingChannel:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    @property
    def stopping(self) -> bool:
        return _copy(self._channel.stopping)

    @property
    def ending(self) -> BaseException | None:
        return _copy(self._channel.ending)

    def started(self) -> None:
        self._channel.started()

    def note(self, note: Note) -> None:
        self._channel.note(_copy(note))


def _copy(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


class PicklingForeman(Foreman):
    def _make_modes(self, program: Program) -> Modes:
        modes = super()._make_modes(program)
        modes._sites.update({mode: PicklingSite(site) for mode, site in modes._sites.items()})
        return modes


@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_a_job_runs_through_a_site_that_pickles_everything(
    memory_app: Treadle, mode: str
) -> None:
    app = memory_app

    @app.task(name="child")
    async def child() -> str:
        return "child"

    def body(n: int, ctx: Context = CONTEXT) -> int:
        ctx.progress(1, 2, "half")
        ctx.enqueue(child)
        return n + ctx.attempt

    async def abody(n: int, ctx: Context = CONTEXT) -> int:
        return body(n, ctx)

    task: Any = app.task(name="task")(abody if mode == "asyncio" else body)
    async with PicklingForeman(app.core, burst=True) as foreman:
        job = await task.aenqueue(41)
        assert await job.aresult(timeout=10) == 42
        await foreman.join()
        assert foreman.stats["job.succeeded"] == 2
    record = await job.arecord()
    assert record.note is not None
    assert (record.note.current, record.note.total) == (1, 2)


class Quiet:
    """A channel to nobody."""

    stopping = False
    ending: BaseException | None = None

    def started(self) -> None: ...

    def note(self, note: Note) -> None: ...


class Sleeper:
    """A plain function that says when it runs, and ends when it is let."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.entered = asyncio.Event()
        self.release = threading.Event()

    def __call__(self) -> None:
        self._loop.call_soon_threadsafe(self.entered.set)
        self.release.wait()

    async def program(self, call: Call, channel: Channel, invoke: Invoke) -> Ended:
        await invoke(self, (), {})
        return Ended(result=b"woken")


async def test_a_thread_that_does_not_end_is_abandoned_and_replaced() -> None:
    stuck, free = Sleeper(), Sleeper()
    free.release.set()
    sleepers = {"stuck": stuck, "free": free}

    async def program(call: Call, channel: Channel, invoke: Invoke) -> Ended:
        return await sleepers[call.name].program(call, channel, invoke)

    site = ThreadSite(program, clock=SystemClock(), patience=0.01)
    running = asyncio.ensure_future(site.run(Call("stuck", b""), Quiet()))
    assert await site.run(Call("free", b""), Quiet()) == Ended(result=b"woken")
    await stuck.entered.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert site.abandoned == 1
    assert await site.run(Call("free", b""), Quiet()) == Ended(result=b"woken")
    stuck.release.set()
    await site.aclose()


async def test_a_thread_that_ends_within_the_patience_keeps_its_result() -> None:
    late = Sleeper()
    site = ThreadSite(late.program, clock=SystemClock(), patience=60)
    running = asyncio.ensure_future(site.run(Call("late", b""), Quiet()))
    await late.entered.wait()
    running.cancel()
    late.release.set()
    assert await running == Ended(result=b"woken")
    assert site.abandoned == 0
    await site.aclose()


class LateQueue(SimpleQueue[Any]):
    """Gives nothing before it is opened: a thread that is slow to come."""

    def __init__(self) -> None:
        self.opened = threading.Event()

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        self.opened.wait()
        return super().get(block, timeout)


async def test_work_that_no_thread_has_taken_yet_is_taken_back() -> None:
    late = Sleeper()
    site = ThreadSite(late.program, clock=SystemClock(), patience=60)
    site._work = queue = LateQueue()
    running = asyncio.ensure_future(site.run(Call("late", b""), Quiet()))
    await eventually(lambda: not queue.empty())
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    queue.opened.set()
    await site.aclose()
    assert not late.entered.is_set()
    assert site.abandoned == 0


async def test_the_asyncio_site_has_nothing_to_let_go_of() -> None:
    async def program(call: Call, channel: Channel, invoke: Invoke) -> Ended:
        return Ended(result=await invoke(bytes, (call.payload,), {}))

    site = AsyncioSite(program)
    assert await site.run(Call("x", b"y"), Quiet()) == Ended(result=b"y")
    await site.aclose()


async def test_a_thread_that_ends_at_the_last_moment_is_kept() -> None:
    free = Sleeper()
    free.release.set()
    site = ThreadSite(free.program, clock=SystemClock(), patience=60)
    assert await site.run(Call("free", b""), Quiet()) == Ended(result=b"woken")
    work = Work(free, (), {})
    work.over = True  # between its end and the news of it
    site._abandon(work, "free")
    assert site.abandoned == 0
    assert len(site._threads) == 1
    await site.aclose()


class Spoilt:
    """A site with a fault, which shows when its code has been given up."""

    abandoned = 0

    def __init__(self) -> None:
        self.release = asyncio.Event()

    async def run(self, call: Call, channel: Channel) -> Ended:
        channel.started()
        while not self.release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await self.release.wait()
        raise RuntimeError("spoilt")

    async def aclose(self) -> None: ...


async def test_a_fault_after_the_end_changes_nothing(
    manual: Manual, caplog: pytest.LogCaptureFixture
) -> None:
    app, clock = manual
    spoilt = Spoilt()

    class SpoiltForeman(Foreman):
        def _make_modes(self, program: Program) -> Modes:
            modes = super()._make_modes(program)
            modes._sites["asyncio"] = spoilt
            return modes

    @app.task(name="task", timeout=1)
    async def task() -> None: ...

    async with SpoiltForeman(app.core, lease=3600) as foreman:
        job = await task.aenqueue()
        await clock.aadvance(12)
        assert foreman.stats["abandoned"] == 1
        spoilt.release.set()
        await clock.aadvance(0)
        assert foreman.stats["job.failed"] == 1
    assert (await job.arecord()).cause == "timeout"
    assert "attempt.broken" in caplog.text
