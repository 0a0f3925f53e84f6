"""Progress, metadata and checkpoints on their way to the store, and what comes back with them."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from tests.foreman.kit import Manual, record_of, steal
from treadle import CONTEXT, Context
from treadle.foreman.notes import Notes
from treadle.foreman.running import Running
from treadle.testing import ManualClock, eventually


async def test_progress_brings_a_cancel_too(flaky: Manual) -> None:
    @flaky.app.task(name="busy")
    async def busy(ctx: Context = CONTEXT) -> None:
        for n in range(1_000_000):
            ctx.progress(n)
            await flaky.clock.sleep(1)

    flaky.backend.fail("subscribe", OSError("no events today"))
    async with flaky.app.foreman(lease=3600) as foreman:
        job = await busy.aenqueue()
        await eventually(lambda: flaky.backend.calls["extend"] > 0)
        await job.acancel()
        await flaky.clock.aadvance(3)
        await eventually(lambda: foreman.stats["job.cancelled"] == 1)


async def test_progress_finds_out_that_the_lease_is_lost(manual: Manual) -> None:
    say = asyncio.Event()
    app = manual.app

    @app.task(name="busy")
    async def busy(ctx: Context = CONTEXT) -> None:
        await say.wait()
        ctx.progress(1)
        await asyncio.Event().wait()

    async with app.foreman(lease=3600) as foreman:
        job = await busy.aenqueue()
        await eventually(lambda: foreman.stats["running"] == 1)
        thief, _ = await steal(app, foreman, job.id)
        say.set()
        await eventually(lambda: foreman.stats["job.lost"] == 1)
        await (await app.core.ready()).close_session(thief)


async def test_progress_that_is_not_stored_harms_nothing(flaky: Manual) -> None:
    say = asyncio.Event()

    @flaky.app.task(name="steps")
    async def steps(ctx: Context = CONTEXT) -> str:
        ctx.progress(1)
        await say.wait()
        ctx.progress(2)
        return "done"

    flaky.backend.fail("extend", "refused")
    async with flaky.app.foreman() as foreman:
        job = await steps.aenqueue()
        await eventually(lambda: flaky.backend.calls["extend"] > 0)
        say.set()
        await eventually(lambda: foreman.stats["job.succeeded"] == 1)
    record = await job.arecord()
    assert record.note is not None
    assert record.note.current == 2  # the last word goes with the verdict


async def test_progress_and_checkpoints_reach_the_store_while_it_runs(manual: Manual) -> None:
    app, clock = manual

    @app.task(name="long")
    async def long(ctx: Context = CONTEXT) -> None:
        for n in range(4):
            ctx.progress(n, 4, f"step {n}")
            ctx.checkpoint({"at": n})
            ctx.note(colour="blue")
            await clock.sleep(0.1)
        await asyncio.Event().wait()

    async with app.foreman(grace=0):
        job = await long.aenqueue()
        await clock.aadvance(0)
        await eventually(lambda: clock.next_due is not None)
        first = await record_of(app, job.id)
        assert first.note is not None
        assert first.note.current == 0
        await clock.aadvance(0.2)  # four times a second is enough for people
        again = await record_of(app, job.id)
        assert again.note is not None
        assert again.note.current == 0
        await clock.aadvance(0.4)
        record = await record_of(app, job.id)
    assert record.note is not None
    assert (record.note.current, record.note.total) == (3, 4)
    assert record.note.meta == {"colour": "blue"}
    assert record.note.checkpoint is not None


class Late(dict[Running, None]):
    """Looks empty at the very moment at which something is put into it."""

    looks = 0

    def __bool__(self) -> bool:
        self.looks += 1
        return len(self) > 0 and self.looks != 2


async def test_a_word_said_at_the_last_moment_is_not_forgotten() -> None:
    sent: list[Any] = []

    class Store:
        async def extend(self, session: Any, held: Any, lease: float) -> Any:
            sent.append(held)
            return []

    clock = ManualClock()
    store: Any = Store()
    present: Any = SimpleNamespace(session=None)
    notes = Notes(store, present, _deaf, lease=30, clock=clock)
    notes._said = Late()
    first, second = _Spoken(), _Spoken()
    notes.put(first)  # type: ignore[arg-type]
    await clock.aadvance(0)
    notes.put(second)  # type: ignore[arg-type]
    await clock.aadvance(0.3)
    await clock.aadvance(0.3)
    assert [len(held) for held in sent] == [1, 1]
    await notes.aclose()
    notes.put(first)  # type: ignore[arg-type]
    await clock.aadvance(1)
    assert len(sent) == 2


class _Spoken:
    """A running job, as far as notes go."""

    settled = False
    latest = None
    token = ("job", 1, 1)


def _deaf(*_: object) -> None:
    """Nobody wants to know the answers."""
