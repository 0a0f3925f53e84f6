"""The seam between a foreman and its places: everything that crosses it is data."""

from __future__ import annotations

import asyncio
import pickle
import threading
from typing import Any

import pytest

from treadle import CONTEXT, Context, Treadle
from treadle.clock import SystemClock
from treadle.foreman import Foreman
from treadle.pools.aio import AsyncioPlace
from treadle.pools.place import Call, Channel, Ended, Invoke, Place
from treadle.pools.thread import ThreadPlace
from treadle.records import Note


class PicklingPlace:
    """Runs calls here, but lets nothing through that another process could not have got."""

    def __init__(self, inner: Place) -> None:
        self._inner = inner
        self.calls = 0

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
    def _make_places(self) -> dict[str, Place]:
        return {mode: PicklingPlace(place) for mode, place in super()._make_places().items()}


@pytest.mark.parametrize("mode", ["asyncio", "thread"])
async def test_a_job_runs_through_a_place_that_pickles_everything(
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

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.has_started = asyncio.Event()

    def started(self) -> None:
        self._loop.call_soon_threadsafe(self.has_started.set)

    def note(self, note: Note) -> None: ...


async def _call_sleeper(call: Call, channel: Channel, invoke: Invoke) -> Ended:
    release: threading.Event = CALLS[call.name]
    await invoke(release.wait, (), {})
    return Ended(result=b"woken")


CALLS: dict[str, threading.Event] = {}


async def test_a_thread_that_does_not_end_is_abandoned_and_replaced() -> None:
    place = ThreadPlace(_call_sleeper, clock=SystemClock(), patience=0.01)
    stuck = CALLS["stuck"] = threading.Event()
    CALLS["free"] = threading.Event()
    CALLS["free"].set()
    channel = Quiet()
    running = asyncio.ensure_future(place.run(Call("stuck", b""), channel))
    assert await place.run(Call("free", b""), Quiet()) == Ended(result=b"woken")
    await channel.has_started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert place.abandoned == 1
    assert await place.run(Call("free", b""), Quiet()) == Ended(result=b"woken")
    stuck.set()
    await place.aclose()


async def test_a_thread_that_ends_within_the_patience_keeps_its_result() -> None:
    place = ThreadPlace(_call_sleeper, clock=SystemClock(), patience=60)
    release = CALLS["late"] = threading.Event()
    channel = Quiet()
    running = asyncio.ensure_future(place.run(Call("late", b""), channel))
    await channel.has_started.wait()
    running.cancel()
    release.set()
    assert await running == Ended(result=b"woken")
    assert place.abandoned == 0
    await place.aclose()


async def test_the_asyncio_place_has_nothing_to_let_go_of() -> None:
    async def program(call: Call, channel: Channel, invoke: Invoke) -> Ended:
        return Ended(result=await invoke(bytes, (call.payload,), {}))

    place = AsyncioPlace(program)
    assert await place.run(Call("x", b"y"), Quiet()) == Ended(result=b"y")
    await place.aclose()
