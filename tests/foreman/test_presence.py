"""A foreman whose session the store has forgotten."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.foreman.kit import Manual, advance_until, listen
from treadle import CONTEXT, Context, LeaseLost, Treadle
from treadle.errors import BackendUnavailable
from treadle.foreman import Foreman
from treadle.foreman.page import Page
from treadle.testing.clock import eventually


async def test_it_ends_what_it_held_and_goes_on_with_another_session(
    app: Treadle, caplog: pytest.LogCaptureFixture
) -> None:
    heard = listen(app, "session.reopened")
    lost: list[str] = []
    hold = asyncio.Event()

    @app.task(name="held")
    async def held(name: str, ctx: Context = CONTEXT) -> str:
        try:
            await hold.wait()
        except asyncio.CancelledError:
            with pytest.raises(LeaseLost, match="has forgotten the lease"):
                ctx.check()
            lost.append(name)
            raise
        return name

    async with app.foreman(concurrency=3) as foreman:
        jobs = [await held.aenqueue(name) for name in ("a", "b")]
        await eventually(lambda: foreman.stats["running"] == 2)
        before = foreman._presence.session
        await (await app.core.ready()).close_session(before)
        await eventually(lambda: sorted(lost) == ["a", "b"])
        hold.set()
        assert [await job.aresult(timeout=30) for job in jobs] == ["a", "b"]
        assert foreman._presence.session.nonce != before.nonce
        assert foreman.stats["job.lost"] == 2
        assert not foreman.stopping
    assert foreman.exit_status == 0
    assert [(event.name, event.data["held"]) for event in heard] == [("session.reopened", 2)]
    assert "session.reopened" in caplog.text
    assert [(await job.arecord()).crashes for job in jobs] == [0, 0]


async def test_a_verdict_of_the_session_before_changes_nothing(memory_app: Treadle) -> None:
    runs: list[int] = []

    @memory_app.task(name="stubborn")
    async def stubborn(ctx: Context = CONTEXT) -> int:
        runs.append(len(runs))
        if len(runs) == 1:
            backend = await memory_app.core.ready()
            await backend.close_session(foreman._presence.session)
        return len(runs)

    async with memory_app.foreman(concurrency=1) as foreman:
        job = await stubborn.aenqueue()
        assert await job.aresult(timeout=30) == 2
        assert foreman.stats["job.lost"] == 1


async def test_a_store_that_is_away_then_is_asked_again(flaky: Manual) -> None:
    heard = listen(flaky.app, "session.reopened")

    @flaky.app.task(name="add")
    async def add(a: int) -> int:
        return a + 1

    async with flaky.app.foreman() as foreman:
        before = foreman._presence.session
        flaky.backend.fail("open_session", BackendUnavailable("nobody there"))
        await flaky.backend.close_session(before)
        job = await add.aenqueue(1)
        await advance_until(flaky.clock, lambda: flaky.backend.calls["open_session"] > 3)
        assert not heard
        flaky.backend.mend("open_session")
        await advance_until(flaky.clock, lambda: foreman.stats["job.succeeded"] == 1)
        assert await job.aresult() == 2
    assert len(heard) == 1
    assert foreman.exit_status == 0


async def test_its_supervisor_learns_of_the_new_session(
    memory_app: Treadle, tmp_path: Path
) -> None:
    @memory_app.task(name="add")
    async def add(a: int) -> int:
        return a + 1

    Page.create(tmp_path / "page", 4)
    page = Page(tmp_path / "page")
    async with Foreman(memory_app.core, page=page) as foreman:
        before = foreman._presence.session
        await (await memory_app.core.ready()).close_session(before)
        job = await add.aenqueue(1)
        assert await job.aresult(timeout=30) == 2
        assert page.read()[0] == foreman._presence.session.nonce != before.nonce
    page.close()
