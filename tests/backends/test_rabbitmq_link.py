"""What those are told who wait on a connection that is given up."""

from __future__ import annotations

import asyncio

import pytest

from treadle.backends.rabbitmq.address import parse
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.refusals import told
from treadle.errors import BackendUnavailable

pytestmark = pytest.mark.server


@pytest.mark.parametrize("turns", range(8))
async def test_who_waits_on_a_connection_that_is_given_up_is_told_that_it_is_gone(
    rabbitmq_url: str, turns: int
) -> None:
    """Wherever the driver is: a claim of another foreman may use the same connection."""
    link = Link(parse(rabbitmq_url))
    channel = await link.channel("serve", publisher_confirms=False)

    async def ask() -> None:
        with told("the server"):
            while True:
                await channel.basic_qos(prefetch_count=1, timeout=2)

    asking = asyncio.ensure_future(ask())
    for _ in range(turns):
        await asyncio.sleep(0)  # noqa: TID251 - one turn of the loop
    await link.drop("serve")
    with pytest.raises(BackendUnavailable):
        await asking
