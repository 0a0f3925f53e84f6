"""A spool of an app that has several backends: each has a line of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.spool.kit import Line
from treadle import Treadle
from treadle.spool import Spools
from treadle.testing.clock import eventually
from treadle.testing.proxy import Proxy
from treadle.testing.servers import RedisServer


@pytest.fixture
def other(redis_server: RedisServer, tmp_path: Path) -> Iterator[Line]:
    """Another way to Redis."""
    with Proxy(redis_server.port) as proxy:
        yield Line(proxy, redis_server, tmp_path, patience=1)


def app_over(tmp_path: Path, redis_line: Line, other: Line) -> Treadle:
    app = Treadle(
        f"sqlite:///{tmp_path}/jobs.db",
        backends={"one": redis_line.url, "two": other.url.replace("/0?", "/1?")},
        routes={"one": "one", "two": "two"},
        spool=tmp_path / "spool.db",
        patience=0.2,
    )

    @app.task(name="work")
    async def work(number: int) -> int:
        return number

    return app


@pytest.mark.slow
async def test_what_is_for_one_server_waits_for_no_other(
    tmp_path: Path, redis_server: RedisServer, redis_line: Line, other: Line
) -> None:
    redis_server.ask("FLUSHALL")
    async with app_over(tmp_path, redis_line, other) as app, app.foreman():
        work = app.tasks["work"]
        one, two = work.options(queue="one"), work.options(queue="two")
        spools = app.core.store.spool
        assert isinstance(spools, Spools)
        with redis_line.proxy.refusing():
            first = await one.aenqueue(1)
            second = await two.aenqueue(2)
            third = await work.aenqueue(3)
            assert await second.aresult(timeout=20) == 2
            assert await third.aresult(timeout=20) == 3
            assert [entry.id for entry in spools.file.entries()] == [first.id]
            with other.proxy.refusing():
                late = await two.aenqueue(4)
                assert spools.find(late.id) is not None
            # The first server is still away, and nothing of the second one waits for it.
            assert await late.aresult(timeout=30) == 4
            assert spools.find(first.id) is not None
        assert await first.aresult(timeout=30) == 1
        await eventually(lambda: not spools.file.entries())
