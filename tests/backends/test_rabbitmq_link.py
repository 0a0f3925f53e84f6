"""Connections to a server or to the nodes of a cluster, and what those are told who wait on one."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import pytest

from treadle.backends.rabbitmq.address import parse
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.refusals import told
from treadle.errors import BackendUnavailable, InvalidOption

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


async def test_the_next_node_is_asked_when_one_does_not_answer(rabbitmq_url: str) -> None:
    """And it is asked first from then on."""
    parts = urlsplit(rabbitmq_url)
    login, _, node = parts.netloc.rpartition("@")
    several = parts._replace(netloc=f"{login}@127.0.0.1:1,{node}")
    link = Link(parse(urlunsplit(several)))
    await link.channel("serve", publisher_confirms=False)
    assert link._node == 1
    await link.channel("publish", publisher_confirms=False)
    await link.aclose()


async def test_when_no_node_answers_it_is_said_of_all() -> None:
    """Without the password."""
    link = Link(parse("amqp://jane:secret@127.0.0.1:1,127.0.0.1:2/%2F?patience=4"))
    with pytest.raises(
        BackendUnavailable, match=r"jane:\*\*\*@127\.0\.0\.1:1,127\.0\.0\.1:2/"
    ) as caught:
        await link.channel("serve")
    assert "secret" not in str(caught.value)


def test_a_node_without_a_port_or_with_a_wrong_one() -> None:
    """Each is looked at when the URL is read."""
    assert len(parse("amqps://one,two:5671,[::1]:5/vhost").dsns) == 3
    with pytest.raises(InvalidOption):
        parse("amqp://one:5672,two:x/vhost")
