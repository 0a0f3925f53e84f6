"""RabbitMQ and other versions: messages and queues that somebody else has made."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiormq
import pytest

from tests.backends.rabbitmq_support import namespace
from treadle.backends.rabbitmq import connect
from treadle.backends.rabbitmq.layout import Line, Names
from treadle.clock import SystemClock
from treadle.errors import SchemaMismatch
from treadle.ids import SystemIds
from treadle.testing.contract.driver import Driver

pytestmark = pytest.mark.server

FIRST = (
    "9c01dc0019a56669727374a46d61696cc4077061796c6f6164a764656661756c7400c0c0c0c001c290c0c202c0"
    "c093cb40ac200000000000cb4122750000000000cb40f51800000000009080c0c0c0c000cb41d954fc40000000"
    "c0010000c200c0c090"
)
"""A message as the first version of its format was written."""


@asynccontextmanager
async def driving(url: str, name: str) -> AsyncIterator[Driver]:
    ids = SystemIds()
    backend = connect(url, namespace=name, ids=ids)
    try:
        await backend.open()
        yield Driver(backend, SystemClock(), ids)  # type: ignore[arg-type]
    finally:
        await backend.aclose()
        backend.close()


async def publish(url: str, name: str, body: bytes) -> None:
    """A message, past the backend."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    key = Names(name, 0).line(Line("default", 0))
    properties = aiormq.spec.Basic.Properties(delivery_mode=2, message_id="raw")
    await channel.basic_publish(body, routing_key=key, mandatory=True, properties=properties)
    await connection.close()


async def test_a_message_of_the_first_version_is_read(rabbitmq_url: str) -> None:
    async with namespace(rabbitmq_url) as name, driving(rabbitmq_url, name) as store:
        await store.add()
        await store.claim()
        await publish(rabbitmq_url, name, bytes.fromhex(FIRST))
        [lease] = await store.claim()
        assert (lease.spec.id, lease.spec.task, lease.spec.payload) == ("first", "mail", b"payload")
        assert (lease.spec.priority, lease.tries, lease.spec.max_crashes) == (0, 1, 2)


async def test_who_keeps_another_number_of_dead_letters_is_refused(rabbitmq_url: str) -> None:
    async with namespace(rabbitmq_url) as name, driving(rabbitmq_url, name):
        with pytest.raises(SchemaMismatch, match="another max_failed declared it"):
            async with driving(f"{rabbitmq_url}?max_failed=5", name):
                pass
