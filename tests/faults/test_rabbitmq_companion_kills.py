"""Killed between what the companion is told and what the broker is, nothing is lost or done twice.

After each kill, the jobs are looked at as a process sees them that begins then, a lease later.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.backends.rabbitmq_support import namespace
from tests.faults.rabbitmq_child import FOLLOW_UP, LEASE
from treadle.backends.rabbitmq import connect
from treadle.clock import SystemClock
from treadle.failpoints import ENVIRONMENT
from treadle.ids import SystemIds
from treadle.ports import Query
from treadle.records import JobState
from treadle.testing import ManualClock
from treadle.testing.contract.driver import Driver

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
JOBS = ("one", "two", "three")


class Shop:
    """Two stores, and processes that work on them."""

    def __init__(self, url: str, name: str) -> None:
        self.url = url
        self.name = name

    async def child(self, verb: str, *ids: str, point: str = "") -> None:
        """Have a process do something; with a point it has to die there."""
        path = os.pathsep.join([str(ROOT), str(ROOT / "src")])
        own = {"PYTHONPATH": path, ENVIRONMENT: f"{point}=kill9" if point else ""}
        ran = await asyncio.to_thread(
            subprocess.run,
            [sys.executable, "-m", "tests.faults.rabbitmq_child", self.url, self.name, verb, *ids],
            env={**os.environ, **own}, timeout=100, check=False, capture_output=True,
        )  # fmt: skip
        assert ran.returncode == (-signal.SIGKILL if point else 0), ran.stderr.decode()

    async def rest(self) -> tuple[dict[str, Any], dict[str, JobState], int]:
        """What a later process is given, and does; the states after that, and the messages."""
        # The leases of the dead are over.
        clock = ManualClock(SystemClock().now() + LEASE + 1)
        ids = SystemIds(clock)
        backend = connect(self.url, namespace=self.name, clock=clock, ids=ids)
        await backend.open()
        try:
            store = Driver(backend, clock, ids)
            given: dict[str, Any] = {}
            # Suspects come one at a time; the last claims find what messages are left over.
            empty = 0
            while empty < 3:
                leases = await store.claim(10)
                empty = 0 if leases else empty + 1
                for lease in leases:
                    assert lease.spec.id not in given, "it was given twice"
                    given[lease.spec.id] = (lease.token.fence, lease.tries, lease.crashes)
                    await store.done(lease)
            page = await backend.find(Query(limit=100))
            messages = (await backend.probe())["messages"]
            return given, {one.id: one.state for one in page.records}, messages
        finally:
            await backend.aclose()
            backend.close()


@pytest.fixture
async def shop(rabbitmq_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    async with namespace(rabbitmq_url) as name:
        yield Shop(f"{rabbitmq_url}?companion=sqlite:///{tmp_path}/jobs.db", name)


SUCCEEDED = dict.fromkeys(JOBS, JobState.SUCCEEDED)


@pytest.mark.parametrize("point", ["message.before_send", "message.after_send"])
async def test_between_the_record_and_its_message(shop: Shop, point: str) -> None:
    """What was accepted is given out once, with its message or without."""
    await shop.child("push", *JOBS, point=point)
    given, states, messages = await shop.rest()
    assert given == dict.fromkeys(JOBS, (1, 0, 0))
    assert (states, messages) == (SUCCEEDED, 0)


async def test_a_push_is_repeated_after_a_kill(shop: Shop) -> None:
    """The same ids again make no second job."""
    await shop.child("push", *JOBS, point="message.before_send")
    await shop.child("push", *JOBS)
    given, states, messages = await shop.rest()
    assert given == dict.fromkeys(JOBS, (1, 0, 0))
    assert (states, messages) == (SUCCEEDED, 0)


@pytest.mark.parametrize("point", ["message.before_ack", "message.after_ack"])
async def test_between_the_lease_and_the_acknowledgement(shop: Shop, point: str) -> None:
    """The lease lapses, and blames nobody; the message that comes again changes nothing."""
    await shop.child("push", *JOBS)
    await shop.child("work", point=point)
    given, states, messages = await shop.rest()
    assert given == dict.fromkeys(JOBS, (2, 0, 0))
    assert (states, messages) == (SUCCEEDED, 0)


@pytest.mark.parametrize("point", ["message.before_send", "message.after_send"])
async def test_between_the_verdict_and_the_message_of_the_retry(shop: Shop, point: str) -> None:
    """What is to be tried again is, once."""
    await shop.child("push", *JOBS)
    await shop.child("again", point=point)
    given, states, messages = await shop.rest()
    assert given == dict.fromkeys(JOBS, (2, 1, 0))
    assert (states, messages) == (SUCCEEDED, 0)


@pytest.mark.parametrize("point", ["message.before_send", "message.after_send"])
async def test_between_the_verdict_and_the_message_of_what_follows(shop: Shop, point: str) -> None:
    """What an attempt has enqueued is given out once, and the attempt has ended."""
    await shop.child("push", *JOBS)
    await shop.child("follow", point=point)
    given, states, messages = await shop.rest()
    later = [f"{FOLLOW_UP} of {one}" for one in JOBS]
    assert given == dict.fromkeys(later, (1, 0, 0))
    assert (states, messages) == (SUCCEEDED | dict.fromkeys(later, JobState.SUCCEEDED), 0)
