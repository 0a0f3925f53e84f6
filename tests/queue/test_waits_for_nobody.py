"""Who waits for a job that nobody will run is told so, and what to do."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.foreman.kit import advance_until
from treadle import Treadle, WaitTimeout
from treadle.testing import ManualClock


async def test_the_end_of_the_wait_says_what_is_in_the_way(url: str) -> None:
    async with Treadle(url) as app:

        @app.task(name="idle", queue="mail")
        async def idle() -> None: ...

        job = await idle.aenqueue()
        way = "async with app.foreman" if url.startswith("memory") else "treadle run APP -q mail"
        with pytest.raises(WaitTimeout, match=rf"no foreman serves queue 'mail'.*{way}"):
            await job.aresult(timeout=1)
        await app.queue("mail").apause(reason="month end")
        with pytest.raises(WaitTimeout, match="month end; treadle queues resume mail; it goes on"):
            await job.aresult(timeout=1)


@pytest.mark.parametrize("served", [False, True])
async def test_it_is_told_while_somebody_waits(
    served: bool, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with Treadle("memory://", clock=clock) as app:

        @app.task(name="slow")
        async def slow() -> int:
            await clock.sleep(60)
            return 1

        job = await slow.aenqueue()
        with caplog.at_level(logging.WARNING, "treadle.task"):
            waiting = asyncio.create_task(job.aresult())
            if served:
                async with app.foreman():
                    await advance_until(clock, waiting.done)
            else:
                await advance_until(clock, lambda: bool(_warnings(caplog)))
                async with app.foreman():
                    await advance_until(clock, waiting.done)
            assert await waiting == 1
    assert len(_warnings(caplog)) == (not served)
    if not served:
        assert job.id in _warnings(caplog)[0]
        assert "no foreman serves queue 'default'" in _warnings(caplog)[0]


def _warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    texts = (one.getMessage() for one in caplog.records)
    return [text for text in texts if "job.awaited " in text]
