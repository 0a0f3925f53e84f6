"""Reaching a store for the first time: an app that is cancelled meanwhile leaves nothing behind."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cancelling import cancelled_at
from tests.places import BESIDE_REDIS, place
from treadle import Treadle


@pytest.fixture(params=["memory", "sqlite", "redis", "postgres", BESIDE_REDIS])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with place(request, tmp_path) as url:
        yield url


async def test_an_entry_that_is_cancelled_leaves_nothing(url: str) -> None:
    for step in range(200):
        app = Treadle(url)
        if not await cancelled_at(step, app.__aenter__):
            break
    await app.aclose()
    assert step > 0 or url == "memory://"


async def test_a_first_use_that_is_cancelled_is_tried_again(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for step in range(200):
        app = Treadle(url)

        @app.task(name="work")
        async def work() -> None: ...

        try:
            cancelled = await cancelled_at(step, work.aenqueue)
            job = await work.aenqueue()
            assert await job.arecord()
        finally:
            await app.aclose()
        if not cancelled:
            break
    assert step > 0 or url == "memory://"
    # What went on for nobody has not failed for nobody.
    gc.collect()
    assert "_carry_out" not in caplog.text
