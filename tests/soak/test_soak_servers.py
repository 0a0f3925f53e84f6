"""The soak over stores that are servers, which are killed and frozen themselves."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.servers import own
from tests.soak.crew import Post
from tests.soak.soak import Goal, Soak
from tests.soak.stores import Store
from tests.soak.test_soak import LEASE, MINUTES, SEED
from treadle.testing.servers import PostgresServer, RabbitServer, RedisServer

_Started = tuple[list[Store], str]
_START_SECONDS = 120.0
"""Erlang takes its time on a busy machine."""


def _redis() -> _Started:
    server = own(RedisServer(config={"appendonly": "yes", "appendfsync": "always"}).start)
    url = f"redis://127.0.0.1:{server.port}/0?durability=fsync&patience=5"
    return [Store(server=server)], url


def _postgres() -> _Started:
    server = own(PostgresServer().start)
    # A statement may take three times as long: more than the 3 s after which the server ends the
    # transaction of a foreman that was frozen inside of it, or who begins then would give up.
    # Foremen are struck on, and one that is frozen inside of a step holds up the others for those
    # 3 s. Several may stand in line so, and two or three of them in a row are usual here.
    return [Store(server=server, forgets=True, soon=15.0)], f"{server.url}?patience=8"


def _rabbitmq() -> _Started:
    """The broker is not needed: it is no excuse for a lease, and foremen are struck on."""
    companion, url = _redis()
    broker = Store(server=_broker(), vital=False)
    escaped = url.replace("&", "%26")
    return [broker, *companion], f"{broker.server.url}?heartbeat=5&companion={escaped}"


def _broker() -> RabbitServer:
    server = RabbitServer()
    server.start_seconds = _START_SECONDS
    return own(server.start)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell who is frozen")
@pytest.mark.timeout(MINUTES * 60 * 4 + 300)
@pytest.mark.parametrize(
    "started",
    [_redis, _postgres, _rabbitmq],
    ids=["redis", "postgres", "rabbitmq"],
)
async def test_neither_foremen_nor_the_server_can_be_struck_so_that_a_job_is_lost(
    tmp_path: Path, started: Callable[[], _Started]
) -> None:
    stores, url = started()
    with ExitStack() as stack:
        for store in stores:
            stack.enter_context(store.server)
        posts = [Post(name=f"foreman-{number}", url=url) for number in range(4)]
        goal = Goal(
            jobs=int(2_000 * MINUTES),
            kills=int(10 * MINUTES),
            freezes=int(5 * MINUTES),
            refused=int(3 * MINUTES),
            # A round of all of them.
            outages=int(2 * len(stores) * MINUTES),
        )
        print(f"\nSEED={SEED}, ledgers and log in {tmp_path}")
        every = 20.0 / len(stores)
        soak = Soak(tmp_path, posts, SEED, lease=LEASE, stores=stores, every=every)
        findings = await soak.run(MINUTES * 60, goal, longest=MINUTES * 60 * 3)
        print(findings.report())
        assert not findings.violations, f"SEED={SEED}, {tmp_path}\n{findings.report()}"
        missing = goal.missing(findings, len(soak.outages))
        assert not missing, f"SEED={SEED}: {missing}"


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not hasattr(os, "waitid"), reason="this system does not tell who is frozen")
@pytest.mark.timeout(MINUTES * 60 * 4 + 300)
async def test_a_broker_alone_loses_no_job_and_repeats_none_without_a_reason(
    tmp_path: Path,
) -> None:
    """RabbitMQ knows neither ids nor records: a job may be there twice, for a reason."""
    # A queue that is only seconds old does not come back from a kill. Of the seconds after it is
    # back, five may pass until foremen claim again, because so long grow the pauses between their
    # attempts; and all that ran when it was killed runs alone, one job at a time, before others.
    store = Store(server=_broker(), forgets=True, young=15.0, soon=15.0)
    with store.server:
        url = f"{store.server.url}?heartbeat=5&patience=5"
        posts = [Post(name=f"foreman-{number}", url=url, alone=True) for number in range(4)]
        goal = Goal(
            jobs=int(1_000 * MINUTES),
            kills=int(10 * MINUTES),
            freezes=int(5 * MINUTES),
            refused=int(3 * MINUTES),
            outages=int(2 * MINUTES),
        )
        print(f"\nSEED={SEED}, ledgers and log in {tmp_path}")
        soak = Soak(tmp_path, posts, SEED, lease=LEASE, stores=[store])
        findings = await soak.run(MINUTES * 60, goal, longest=MINUTES * 60 * 3)
        print(findings.report())
        assert not findings.violations, f"SEED={SEED}, {tmp_path}\n{findings.report()}"
        missing = goal.missing(findings, len(soak.outages))
        assert not missing, f"SEED={SEED}: {missing}"
