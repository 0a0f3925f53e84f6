"""What becomes of jobs when the server freezes, raises an alarm or closes a channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

import aiormq
import pytest

from tests.servers import own
from treadle import Treadle
from treadle.backends.rabbitmq import RabbitBackend, connect
from treadle.clock import SystemClock
from treadle.errors import BackendError, BackendFull, BackendUnavailable, OutcomeUnknown
from treadle.ids import SystemIds
from treadle.records import Renewal, Settled
from treadle.testing.contract.driver import Driver
from treadle.testing.servers import RabbitServer
from treadle.verdicts import Done

pytestmark = [pytest.mark.server, pytest.mark.slow, pytest.mark.timeout(700)]


_OLD_ENOUGH = 15.0


@pytest.fixture(scope="module")
def server() -> Iterator[RabbitServer]:
    server = RabbitServer()
    # Erlang takes its time on a busy machine.
    server.start_seconds = 300.0
    try:
        own(server.start)
        yield server
    finally:
        server.close()


@pytest.fixture
async def store(server: RabbitServer) -> AsyncIterator[Driver]:
    ids = SystemIds()
    backend = connect(f"{server.url}?patience=4&heartbeat=5", ids=ids, namespace=f"t-{ids.new()}")
    await backend.open()
    yield Driver(backend, SystemClock(), ids)  # type: ignore[arg-type]
    await backend.aclose()
    backend.close()


async def nothing() -> None: ...


async def alarms(url: str) -> list[str]:
    """What ``treadle doctor`` is told of an alarm, over connections that have published nothing."""
    ids = SystemIds()
    backend = connect(url, ids=ids, namespace=f"t-{ids.new()}")
    vacancy = await backend.survey()
    await backend.aclose()
    backend.close()
    assert vacancy is not None
    return [one["level"] for one in vacancy.facts["findings"] if one["check"] == "alarm"]


def account(server: RabbitServer, name: str, rights: str) -> str:
    """The URL of a new account that may do so much."""
    server.control("add_user", name, "secret")
    server.control("set_permissions", "-p", "/", name, rights, rights, rights)
    return server.url.replace("guest:guest", f"{name}:secret")


async def eventually(store: Driver) -> list[str]:
    """What can be claimed once the server is reached again."""
    async with asyncio.timeout(90):
        while True:
            try:
                if claimed := await store.claimed(10, who="again"):
                    return claimed
            except BackendError:
                await SystemClock().sleep(0.2)


# The server that is started again is a new child of this process.
@pytest.mark.leaves("children", "files")
async def test_a_server_that_is_killed_loses_nothing_that_it_has_confirmed(
    server: RabbitServer, store: Driver
) -> None:
    running = await store.run()
    waiting = await store.add_many(20, queue="later")
    # A queue that is younger than some seconds does not come back from a kill, with any client.
    await SystemClock().sleep(_OLD_ENOUGH)
    waiting += await store.add_many(5, queue="later")
    server.kill()
    with pytest.raises(BackendUnavailable):
        await store.push(store.job())
    assert await store.extend(running) == [Renewal.LOST]
    await asyncio.to_thread(server.start)
    found: set[str] = set()
    while len(found) < 26:
        found |= set(await eventually(store))
    assert found == {running.spec.id, *waiting}
    # Somebody else may have it by now, so the late verdict changes nothing.
    assert await store.settle(running, Done()) is Settled.LOST


async def test_a_frozen_server_is_not_waited_for(server: RabbitServer, store: Driver) -> None:
    await store.add()
    server.freeze()
    clock = SystemClock()
    began = clock.monotonic()
    try:
        with pytest.raises(BackendUnavailable):
            await store.push(store.job())
        assert clock.monotonic() - began < 30
        with pytest.raises(OutcomeUnknown):
            await store.push(store.job(at_most_once=True))
    finally:
        server.thaw()
    assert await eventually(store)


async def refused(store: Driver) -> None:
    """Push until the server has said why it does not answer."""
    async with asyncio.timeout(60):
        while True:
            with suppress(BackendUnavailable):
                await store.push(store.job(task="refused"))


async def test_an_alarm_refuses_new_jobs_and_lets_old_ones_end(
    server: RabbitServer, store: Driver
) -> None:
    lease = await store.run()
    await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "0.0000001")
    try:
        with pytest.raises(BackendFull, match="alarm"):
            await refused(store)
        assert await alarms(server.url) == ["fail"]
        assert await store.extend(lease) == [Renewal.HELD]
        assert await store.settle(lease, Done()) is Settled.OK
    finally:
        await asyncio.to_thread(server.control, "set_vm_memory_high_watermark", "absolute", "1GB")
    async with asyncio.timeout(60):
        while True:
            try:
                await store.add(task="taken")
                break
            except BackendError:
                await SystemClock().sleep(0.2)


async def test_a_channel_that_the_server_closes_loses_its_leases(store: Driver) -> None:
    lease = await store.run()
    backend = store.backend
    assert isinstance(backend, RabbitBackend)
    desk = backend._client.desks.find(lease.token.nonce)
    assert desk is not None

    async def offend() -> None:
        """Acknowledge what was never delivered."""
        assert desk is not None
        channel: aiormq.abc.AbstractChannel | None = desk.channel
        assert channel is not None
        await channel.basic_ack(999_999)
        async with asyncio.timeout(20):
            while not channel.is_closed:
                await SystemClock().sleep(0.05)

    await backend._on_thread(offend())
    assert await store.extend(lease) == [Renewal.LOST]
    assert await store.settle(lease, Done()) is Settled.LOST
    assert await eventually(store) == [lease.spec.id]


async def test_an_account_with_the_documented_rights_is_enough(
    server: RabbitServer, caplog: pytest.LogCaptureFixture
) -> None:
    url = account(server, "least", r"^(tr\.|amq\.(gen|default))")
    ids = SystemIds()
    backend = connect(url, ids=ids, namespace=f"t-{ids.new()}")
    await backend.open()
    try:
        store = Driver(backend, SystemClock(), ids)  # type: ignore[arg-type]
        added = await store.add_many(3)
        assert await store.claimed(10) == added
        assert not caplog.records
    finally:
        await backend.aclose()
        backend.close()


async def test_a_right_that_is_lacking_is_named(server: RabbitServer) -> None:
    app = Treadle(account(server, "lesser", r"^tr\."))
    note = app.task(nothing)
    with pytest.raises(BackendError, match=r"lacks a right: .* on '\^\(tr\\\.\|amq"):
        await note.aenqueue()
    await app.aclose()


async def test_whoever_may_not_read_is_told_so_by_a_look(server: RabbitServer) -> None:
    """The same word as for a queue that somebody else reads alone."""
    ids = SystemIds()
    name = f"t-{ids.new()}"
    made = connect(server.url, ids=ids, namespace=name)
    await made.open()
    await made.aclose()
    made.close()
    url = account(server, "blind", ".*")
    server.control("set_permissions", "-p", "/", "blind", ".*", ".*", "^$")
    backend = connect(url, ids=ids, namespace=name)
    async with asyncio.timeout(60):
        with pytest.raises(BackendError, match=r"lacks a right: .* refused for user 'blind'"):
            await backend.probe()
    await backend.aclose()
    backend.close()


async def test_a_virtual_host_that_does_not_exist_is_said(server: RabbitServer) -> None:
    app = Treadle(server.url.replace("%2F", "nowhere") + "?patience=2")
    note = app.task(nothing)
    with pytest.raises(
        BackendUnavailable, match=r"does its virtual host exist, and may the account use it\?"
    ):
        await note.aenqueue()
    await app.aclose()
