"""Imports every module, then runs a job on each backend: through the port, then as a user does."""

from __future__ import annotations

import asyncio
import importlib
import os
import pkgutil
import socket
import sys
import tempfile
from pathlib import Path

import treadle
from treadle import backends
from treadle.clock import SystemClock
from treadle.ids import SystemIds
from treadle.ports import Claim, Settlement
from treadle.records import JobState, NewJob, PushStatus, SessionInfo, Settled
from treadle.verdicts import Done

# Chosen where there is what they need; others take their place here.
NOT_HERE = {"treadle.__main__", "treadle.backends.sqlite.flock"}


def import_everything() -> int:
    names = {module.name for module in pkgutil.walk_packages(treadle.__path__, "treadle.")}
    assert names > NOT_HERE
    for name in sorted(names - NOT_HERE):
        importlib.import_module(name)
    return len(names)


async def through_the_port(url: str) -> None:
    clock = SystemClock()
    ids = SystemIds(clock)
    backend = backends.open(url, clock=clock, ids=ids, namespace="plain")
    await backend.open()
    try:
        session = await backend.open_session(
            SessionInfo(name="plain", host="here", pid=os.getpid())
        )
        job = NewJob(id=ids.new(), task="add", queue="default", payload=b"\x90")
        assert [push.status for push in await backend.push([job])] == [PushStatus.CREATED]
        claimed = await backend.claim(Claim(session=session, request=1, limit=5))
        [lease] = claimed.leases
        ended = await backend.settle([Settlement(token=lease.token, verdict=Done(result=b"\x03"))])
        assert list(ended) == [Settled.OK]
        await backend.close_session(session)
    finally:
        await backend.aclose()
        backend.close()


async def as_a_user(url: str) -> None:
    app = treadle.Treadle(url)

    @app.task(name="add")
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(name="multiply")
    def multiply(a: int, b: int) -> int:
        return a * b

    jobs = [await add.aenqueue(1, 2), await multiply.aenqueue(2, 3)]
    async with app.foreman(burst=True) as foreman:
        await foreman.join()
    assert [await job.aresult() for job in jobs] == [3, 6]
    assert await jobs[0].astate() is JobState.SUCCEEDED
    await app.aclose()


def main() -> None:
    assert not hasattr(socket, "AF_UNIX")
    assert not hasattr(os, "fork")
    with tempfile.TemporaryDirectory() as folder:
        for url in ("memory://", f"sqlite:///{Path(folder) / 'jobs.db'}"):
            asyncio.run(through_the_port(url))
            asyncio.run(as_a_user(url))
            print(f"served {url.partition(':')[0]}")
    print(f"imported {import_everything()} modules")


if __name__ == "__main__":
    sys.exit(main())
