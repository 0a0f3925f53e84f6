"""A stop ends in time also while the server of the store is away, and says what it gives up."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.servers import own
from treadle import Treadle
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.testing.servers import PostgresServer, RabbitServer, RedisServer, Server

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]

CLOCK = SystemClock()
GRACE = 2.0
SPARE = 3.0
"""Seconds of the store beyond the grace, as the documentation has it."""
SLACK = 2.5
"""For the process itself: that it hears the signal, closes what it has, and ends. On a machine on
which it takes longer to start, it takes longer to end."""

SHOP = """\
import asyncio
from treadle import Treadle

app = Treadle({url!r}, namespace={namespace!r}, patience=2)


@app.task(name="work", mode="asyncio")
async def work() -> None:
    print("inside", flush=True)
    await asyncio.Event().wait()
"""


@pytest.fixture(params=[RedisServer, PostgresServer, RabbitServer])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One of the test's own."""
    made: Server = request.param()
    made.start_seconds = 300.0
    try:
        own(made.start)
        yield made
    finally:
        made.close()


@asynccontextmanager
async def running(
    folder: Path, url: str, namespace: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    """A foreman with a job that does not end by itself."""
    (folder / "shop.py").write_text(SHOP.format(url=url, namespace=namespace))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "treadle", "run", "shop:app", "--grace", str(GRACE)),
        cwd=folder,
        env=os.environ | {"NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            assert (await process.stdout.readline()).strip() == b"inside"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        process._transport.close()  # type: ignore[attr-defined]


@pytest.mark.leaves("children", "files")
@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_a_stop_while_the_server_is_away_ends_in_time(
    server: Server, how: str, tmp_path: Path
) -> None:
    namespace = f"t-{SystemIds().new()}"
    async with Treadle(server.url, namespace=namespace) as app:

        @app.task(name="work")
        async def work() -> None:
            raise AssertionError("it runs elsewhere")

        job = await work.aenqueue()
        began = CLOCK.monotonic()
        async with running(tmp_path, server.url, namespace) as process:
            slow = max(1.0, CLOCK.monotonic() - began)
            if how == "killed":
                await asyncio.to_thread(server.kill)
            else:
                server.freeze()
            asked = CLOCK.monotonic()
            process.terminate()
            _, errors = await process.communicate()
            took = CLOCK.monotonic() - asked
            if how == "frozen":
                server.thaw()
    said = errors.decode()
    assert process.returncode == 0, said
    # RabbitMQ alone gives to others what a connection held that broke, and the foreman knows it.
    assert re.search(rf"(settle\.given_up .*ids=|job\.lost .*job=)\S*{job.id}", said), said
    assert took < GRACE + SPARE + SLACK * slow, said
