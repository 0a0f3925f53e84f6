"""An entry that fails or is cancelled at any of its steps leaves nothing of a foreman behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.cancelling import cancelled_at
from tests.places import place
from treadle import Depends, Treadle
from treadle.clock import SystemClock
from treadle.foreman import foreman as module
from treadle.foreman.heartbeat import Heartbeat
from treadle.foreman.presence import Presence
from treadle.foreman.threads import Threads
from treadle.ports import Backend

STEPS = [
    *[(module, name) for name in ("Scopes", "Sites", "Modes", "Tally", "heard", "Presence")],
    *[(module, name) for name in ("Gate", "Settler", "Breakers", "Attempts", "Claimer")],
    *[(module, name) for name in ("Recycling", "ClaimLoop", "Watchdog", "Heartbeat", "Notes")],
    (module, "warn_of_unknown"),
    (Presence, "open"),
    (Threads, "aside"),
    (Heartbeat, "start"),
]
OURS = {"treadle-foreman", "treadle-ear"}
CLOCK = SystemClock()
# More often than that no entry waits.
_WAITS = 200


@pytest.fixture(params=["memory", "sqlite"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Treadle]:
    with place(request, tmp_path) as url:
        async with Treadle(url) as app:

            @app.task(name="user")
            async def user(n: int = Depends(lambda: 1, scope="foreman")) -> int:
                return n

            yield app


async def is_gone(app: Treadle) -> None:
    """Nothing of a foreman is left, in this process or the store."""
    await app.core.bus.drain()
    assert app.core.serving == 0
    assert not [task for task in asyncio.all_tasks() if task.get_name() in OURS]
    backend: Backend = await app.core.ready()
    assert await backend.read(["session:*"]) == {}
    assert app.core.app_level().users == 1  # the app itself


class Slow:
    """A store that lets itself be waited for before and after what it does."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._inner, name)
        if name not in ("open_session", "find"):
            return verb

        async def slowly(*args: Any) -> Any:
            await CLOCK.sleep(0)
            answer = await verb(*args)
            await CLOCK.sleep(0)
            return answer

        return slowly


@pytest.mark.parametrize(("where", "name"), STEPS, ids=[name for _, name in STEPS])
async def test_an_entry_that_fails_leaves_nothing(
    app: Treadle, where: Any, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> object:
        raise RuntimeError("no more of them")

    with monkeypatch.context() as patch:
        patch.setattr(where, name, broken)
        with pytest.raises(RuntimeError, match="no more of them"):
            async with app.foreman(queues=["nobody"]):
                raise AssertionError("not reached")
    await is_gone(app)
    async with app.foreman(burst=True) as foreman:
        await foreman.join()


async def test_an_entry_that_is_cancelled_leaves_nothing(
    app: Treadle, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = module.heard
    monkeypatch.setattr(module, "heard", lambda *args: Slow(heard(*args)))
    async with app.foreman():  # what is imported and opened but once
        pass
    for step in range(_WAITS):
        # The store is asked whether it knows the queue.
        foreman = app.foreman(queues=["nobody"])
        if not await cancelled_at(step, foreman.__aenter__):
            break
        await is_gone(app)
    assert step > 2
    await foreman.stop()
    await foreman.join()
