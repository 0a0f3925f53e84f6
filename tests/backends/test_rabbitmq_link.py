"""Connections to a server or to the nodes of a cluster, and what those are told who wait on one."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.backends.rabbitmq_support import namespace
from treadle.backends.rabbitmq.address import parse
from treadle.backends.rabbitmq.layout import Line, Names
from treadle.backends.rabbitmq.link import Link
from treadle.backends.rabbitmq.refusals import told
from treadle.backends.rabbitmq.registry import Registry
from treadle.backends.rabbitmq.topology import Topology
from treadle.errors import BackendUnavailable, InvalidOption
from treadle.ids import SystemIds

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


def test_options_that_cannot_work_are_refused() -> None:
    for option in ("heartbeat=x", "heartbeat=0", "patience=0", "window=0"):
        with pytest.raises(InvalidOption, match=option.partition("=")[0]):
            parse(f"amqp://one?{option}")
    assert parse("amqp://one?patience=0.5").patience == 0.5
    assert "heartbeat=5" in parse("amqp://one?heartbeat=5").dsns[0]


def test_a_url_without_a_host_means_this_machine() -> None:
    for url in ("amqp:///jobs", "amqp://jane:secret@/jobs", "amqp://:5673/jobs"):
        [dsn] = parse(url).dsns
        assert "localhost" in dsn


def reader(url: str, name: str) -> tuple[Link, Topology, Registry]:
    """One of a process of its own, as far as the server can tell."""
    link, names = Link(parse(f"{url}?patience=4")), Names(name, 10_000)
    topology = Topology(link, names)
    heard: list[Line] = []
    return link, topology, Registry(link, names, topology, ids=SystemIds(), heard=heard.append)


async def test_many_that_look_at_once_find_all_queues(rabbitmq_url: str) -> None:
    """Each of them, and whoever comes after: foremen of a fleet start together."""
    async with namespace(rabbitmq_url) as name:
        readers = [reader(rabbitmq_url, name) for _ in range(7)]
        _, _, first = readers[0]
        for number in range(12):
            await first.ensure(Line(f"q{number}", 0))
        await asyncio.gather(*(topology.base() for _, topology, _ in readers[1:-1]))
        await asyncio.gather(*(registry.read() for _, _, registry in readers[1:-1]))
        await readers[-1][2].read()
        assert [len(registry.queues) for _, _, registry in readers[1:]] == [12] * 6
        for link, _, _ in readers:
            await link.aclose()


async def test_a_look_at_the_queues_that_is_given_up_keeps_nobody_out(
    rabbitmq_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One announcement never comes; who waited for it must not go on to take them."""
    async with namespace(rabbitmq_url) as name:
        link, topology, registry = reader(rabbitmq_url, name)
        await registry.ensure(Line("mail", 0))
        ready = topology.ready

        async def one_more(queue: str) -> int:
            return (await ready(queue) or 0) + 1

        with monkeypatch.context() as patched:
            patched.setattr(topology, "ready", one_more)
            with pytest.raises(BackendUnavailable, match="does not answer"):
                await registry.read()
        other, _, fresh = reader(rabbitmq_url, name)
        await fresh.read()
        assert fresh.queues == ["mail"]
        await other.aclose()
        await link.aclose()
