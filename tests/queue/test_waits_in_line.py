"""A job that waits for the result of another one, which may need its place."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

from tests.foreman.kit import advance_until
from treadle import Treadle
from treadle.testing import ManualClock


@pytest.mark.parametrize("places", [1, 2])
async def test_it_is_told_when_the_other_one_does_not_begin(
    places: int, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with Treadle("memory://", clock=clock) as app:

        @app.task(name="inner")
        async def inner() -> int:
            await clock.sleep(60)
            return 1

        @app.task(name="outer")
        async def outer() -> int:
            return await (await inner.aenqueue()).aresult()

        job = await outer.aenqueue()
        with caplog.at_level(logging.WARNING, "treadle.task"):
            async with app.foreman(concurrency=places, grace=0):
                if places == 1:
                    await advance_until(clock, _said(caplog))
                else:
                    await advance_until(clock, lambda: clock.monotonic() >= 30)
                    assert await job.astate() == "running"
    assert len(_warnings(caplog)) == (places == 1)
    if places == 1:
        text = _warnings(caplog)[0]
        assert job.id in text
        assert "ctx.enqueue" in text


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = (one.getMessage() for one in caplog.records)
    return [text for text in texts if "job.awaits_queued" in text]


def _said(caplog: pytest.LogCaptureFixture) -> Callable[[], bool]:
    return lambda: bool(_warnings(caplog))
