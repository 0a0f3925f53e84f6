"""The soak over stores that are servers, which are killed and frozen themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.servers import own
from tests.soak.crew import Post
from tests.soak.soak import Goal, Soak
from tests.soak.test_soak import LEASE, MINUTES, SEED
from treadle.testing.servers import PostgresServer, RedisServer, Server


def _redis() -> tuple[Server, str]:
    server = own(RedisServer(config={"appendonly": "yes", "appendfsync": "always"}).start)
    return server, f"redis://127.0.0.1:{server.port}/0?durability=fsync&patience=5"


def _postgres() -> tuple[Server, str]:
    server = own(PostgresServer().start)
    # A statement may take three times as long: more than the 15 s after which the server ends the
    # transaction of a foreman that was frozen inside of it, or who begins then would give up.
    return server, f"{server.url}?patience=8"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell who is frozen")
@pytest.mark.timeout(MINUTES * 60 * 4 + 240)
@pytest.mark.parametrize("started", [_redis, _postgres], ids=["redis", "postgres"])
async def test_neither_foremen_nor_the_server_can_be_struck_so_that_a_job_is_lost(
    tmp_path: Path, started: Callable[[], tuple[Server, str]]
) -> None:
    server, url = started()
    with server:
        posts = [Post(name=f"foreman-{number}", url=url) for number in range(4)]
        goal = Goal(
            jobs=int(2_000 * MINUTES),
            kills=int(10 * MINUTES),
            freezes=int(5 * MINUTES),
            refused=int(3 * MINUTES),
        )
        print(f"\nSEED={SEED}, ledgers and log in {tmp_path}")
        forgets = isinstance(server, PostgresServer)
        soak = Soak(tmp_path, posts, SEED, lease=LEASE, server=server, forgets=forgets)
        findings = await soak.run(MINUTES * 60, goal, longest=MINUTES * 60 * 3)
        print(findings.report())
        assert not findings.violations, f"SEED={SEED}, {tmp_path}\n{findings.report()}"
        assert not goal.missing(findings), f"SEED={SEED}: {goal.missing(findings)}"
        assert soak.recoveries >= MINUTES, f"SEED={SEED}: {soak.recoveries} blows to the server"
