"""The way to a Redis server: what is lost is repeated, what hangs is given up, nothing leaks."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

from tests.servers import own
from treadle import Treadle
from treadle.backends.redis import ears
from treadle.backends.redis.address import parse
from treadle.backends.redis.confirm import Confirmation
from treadle.backends.redis.link import Link
from treadle.backends.redis.scripts import Script
from treadle.clock import SystemClock
from treadle.errors import BackendError, BackendUnavailable, NotOpen
from treadle.ids import SystemIds
from treadle.testing import eventually
from treadle.testing.proxy import Proxy, Way
from treadle.testing.servers import RedisServer, find_binary

CLOCK = SystemClock()
KEYS = ["{test.0}:"]


def made(source: str, name: str = "test") -> Script:
    text = source.encode()
    return Script(name, text, hashlib.sha1(text).hexdigest())


ECHO = made("return ARGV[1]")
# As every step of the store: it does its work once, however often it is asked.
ONCE = made("redis.call('SADD', KEYS[1] .. 'done', ARGV[1]) return ARGV[1]")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[Proxy]:
    server.ask("FLUSHALL")
    with Proxy(server.port) as proxy:
        yield proxy


def link_to(port: int, options: str = "patience=5") -> Link:
    return Link(parse(f"redis://127.0.0.1:{port}/0?{options}"), chance=SystemIds().chance)


@asynccontextmanager
async def linked(port: int, options: str = "patience=5") -> AsyncIterator[Link]:
    link = link_to(port, options)
    try:
        yield link
    finally:
        await link.aclose()


async def test_many_requests_at_once_travel_over_one_connection(proxy: Proxy) -> None:
    async with linked(proxy.port) as link:
        answers = await asyncio.gather(*(link.run(ECHO, KEYS, [f"{n}"]) for n in range(500)))
        assert answers == [f"{n}".encode() for n in range(500)]
        assert len(proxy.arrivals) == 1


async def test_a_lost_answer_is_asked_for_again(proxy: Proxy, server: RedisServer) -> None:
    async with linked(proxy.port) as link:
        await link.run(ONCE, KEYS, ["first"])
        with proxy.losing_replies(b"second"):
            assert await link.run(ONCE, KEYS, ["second"]) == b"second"
        assert proxy.lost == 1
        assert server.ask("SCARD", f"{KEYS[0]}done") == 2


@pytest.mark.parametrize("count", range(1, 100, 7))
async def test_a_connection_that_breaks_anywhere_in_a_request(proxy: Proxy, count: int) -> None:
    async with linked(proxy.port) as link:
        await link.run(ONCE, KEYS, ["before"])
        with proxy.cutting_after(count):
            waiting = asyncio.create_task(link.run(ONCE, KEYS, [f"after {count}"]))
            await eventually(lambda: len(proxy.arrivals) > 1)
        assert await waiting == f"after {count}".encode()


async def test_who_is_cancelled_leaves_no_answer_to_others(proxy: Proxy) -> None:
    chance = SystemIds().chance
    wrong: list[tuple[bytes, bytes]] = []

    async def ask(link: Link, text: str) -> None:
        said = await link.run(ECHO, KEYS, [text])
        if said != text.encode():
            wrong.append((said, text.encode()))

    async with linked(proxy.port) as link:
        await ask(link, "first")
        with proxy.slow(delay=0.002):
            for _ in range(20):
                tasks = [asyncio.create_task(ask(link, f"{n}")) for n in range(100)]
                for task in tasks:
                    if chance.random() < 0.5:
                        CLOCK.call_later(chance.uniform(0, 0.01), task.cancel)
                await asyncio.wait(tasks)
        assert wrong == []
        assert len(proxy.arrivals) == 1


@pytest.mark.parametrize("way", [(), (Way.UP,), (Way.DOWN,)])
async def test_a_connection_that_went_silent_is_given_up(proxy: Proxy, way: tuple[Way]) -> None:
    async with linked(proxy.port, "patience=0.3") as link:
        await link.run(ECHO, KEYS, ["before"])
        began = CLOCK.monotonic()
        with (
            proxy.silent(*way),
            pytest.raises(BackendUnavailable, match=r"does not answer: .*no answer for|in time"),
        ):
            await link.run(ECHO, KEYS, ["during"])
        assert 0.3 <= CLOCK.monotonic() - began < 5
        assert await link.run(ECHO, KEYS, ["after"]) == b"after"


async def test_who_stood_still_himself_does_not_take_the_server_for_dead(proxy: Proxy) -> None:
    """The answer has come meanwhile, and lies unread."""
    async with linked(proxy.port, "patience=0.3") as link:
        await link.run(ECHO, KEYS, ["before"])
        waiting = asyncio.create_task(link.run(ECHO, KEYS, ["during"]))
        await asyncio.sleep(0)  # noqa: TID251 - it is sent
        CLOCK.wait(threading.Event(), 0.6)
        assert await waiting == b"during"
        assert len(proxy.arrivals) == 1


async def test_a_server_that_is_away_is_waited_for() -> None:
    with own(RedisServer().start) as server:
        async with linked(server.port) as link:
            await link.run(ECHO, KEYS, ["before"])
            server.kill()
            waiting = asyncio.create_task(link.run(ECHO, KEYS, ["after"]))
            await asyncio.to_thread(server.start)
            assert await waiting == b"after"


async def test_nobody_at_the_address_is_said_at_once() -> None:
    async with linked(1) as link:
        began = CLOCK.monotonic()
        with pytest.raises(BackendUnavailable, match=r"redis://127\.0\.0\.1:1/0"):
            await link.run(ECHO, KEYS, ["x"])
        assert CLOCK.monotonic() - began < 2


async def test_a_forgotten_script_is_sent_again(proxy: Proxy, server: RedisServer) -> None:
    async with linked(proxy.port) as link:
        await link.run(ECHO, KEYS, ["before"])
        server.ask("SCRIPT", "FLUSH")
        answers = await asyncio.gather(*(link.run(ECHO, KEYS, [f"{n}"]) for n in range(20)))
        assert answers == [f"{n}".encode() for n in range(20)]


async def test_a_mistake_in_a_script_is_no_matter_of_the_network(server: RedisServer) -> None:
    async with linked(server.port) as link:
        with pytest.raises(RuntimeError, match="refused a script"):
            await link.run(made("return redis.call('GET')"), KEYS, [])


async def test_a_database_that_the_server_does_not_have_is_named(server: RedisServer) -> None:
    app = Treadle(f"redis://127.0.0.1:{server.port}/99")
    with pytest.raises(BackendError, match=r"/99 has no such database: .* from 0 to one less"):
        await app.ajobs()
    await app.aclose()


async def test_a_server_that_is_no_sentinel_is_said(server: RedisServer) -> None:
    app = Treadle(f"redis+sentinel://127.0.0.1:{server.port}/main/0")
    with pytest.raises(BackendError, match=r"does not know a command: .*, and .* a sentinel"):
        await app.ajobs()
    await app.aclose()


async def test_many_come_back_one_after_the_other(proxy: Proxy) -> None:
    links = [link_to(proxy.port, "patience=20") for _ in range(100)]
    try:
        await asyncio.gather(*(link.run(ECHO, KEYS, ["x"]) for link in links))
        began = CLOCK.monotonic()
        with proxy.refusing():
            tasks = [asyncio.create_task(link.run(ECHO, KEYS, ["x"])) for link in links]
            await eventually(lambda: CLOCK.monotonic() - began > 2.0)
        assert set(await asyncio.gather(*tasks)) == {b"x"}
        # Not more than five a second from each, and not all at one moment.
        again = [at - began for at in proxy.arrivals if at > began]
        spent = CLOCK.monotonic() - began
        assert len(again) <= 100 * 5 * spent
        first = sorted(again)[:100]
        assert first[-1] - first[0] > 0.02
    finally:
        for link in links:
            await link.aclose()


async def test_what_is_published_is_heard_also_after_a_loss(proxy: Proxy) -> None:
    heard: list[bytes | None] = []
    async with linked(proxy.port) as link:
        assert await link.ears.listen("news", heard.append)
        await link.command("PUBLISH", "news", "one")
        await eventually(lambda: heard == [None, b"one"])
        proxy.cut()
        # That something may have been missed is said, too.
        await eventually(lambda: heard == [None, b"one", None])
        await link.command("PUBLISH", "news", "two")
        await eventually(lambda: heard[-1] == b"two")


async def test_an_ear_that_hears_nothing_any_more_is_noticed(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its connection is open here and nowhere else; nothing is asked over it but for that."""
    monkeypatch.setattr(ears, "_PING_EVERY", 0.2)
    heard: list[bytes | None] = []
    async with linked(proxy.port, "patience=1") as link:
        await link.ears.listen("news", heard.append)
        # As long as it is well, it is kept.
        await CLOCK.sleep(1.5)
        assert len(proxy.arrivals) == 1
        with proxy.silent(on=b"SUBSCRIBE"):
            await eventually(lambda: len(proxy.arrivals) > 1)
        await eventually(lambda: heard.count(None) >= 2)
        # What is said between two connections is lost: a slow machine may need another one.
        async with asyncio.timeout(20):
            while b"one" not in heard:
                await link.command("PUBLISH", "news", "one")
                await CLOCK.sleep(0.02)


async def test_who_may_not_listen_is_told_so_soon() -> None:
    users = ["default off", "deaf on >x ~* resetchannels +@all"]
    with own(RedisServer(users=users).start) as server:
        link = Link(parse(f"redis://deaf:x@127.0.0.1:{server.port}"), chance=SystemIds().chance)
        assert not await link.ears.listen("news", lambda said: None)
        await link.aclose()


async def test_a_wrong_password_is_said_and_not_shown(server: RedisServer) -> None:
    with own(RedisServer(users=["default off", "jobs on >right ~* &* +@all"]).start) as guarded:
        for password, problem in (("wrong", "let us in"), ("right", "")):
            url = f"redis://jobs:{password}@127.0.0.1:{guarded.port}"
            link = Link(parse(url), chance=SystemIds().chance)
            if problem:
                with pytest.raises(BackendUnavailable, match=problem) as caught:
                    await link.run(ECHO, KEYS, ["x"])
                assert password not in str(caught.value).replace("WRONGPASS", "")
            else:
                assert await link.run(ECHO, KEYS, ["x"]) == b"x"
            await link.aclose()


async def test_a_missing_right_is_named(server: RedisServer) -> None:
    users = ["default off", "few on >x ~* &* +@all -sadd"]
    with own(RedisServer(users=users).start) as guarded:
        link = Link(parse(f"redis://few:x@127.0.0.1:{guarded.port}"), chance=SystemIds().chance)
        with pytest.raises(BackendError, match="lacks a right"):
            await link.run(ONCE, KEYS, ["x"])
        await link.aclose()


async def test_tls() -> None:
    with own(RedisServer(tls=True).start) as guarded:
        assert guarded.certificates is not None
        url = f"{guarded.url}?tls_ca={guarded.certificates.authority}"
        link = Link(parse(url), chance=SystemIds().chance)
        assert await link.run(ECHO, KEYS, ["x"]) == b"x"
        await link.aclose()
        link = Link(parse(guarded.url), chance=SystemIds().chance)
        with pytest.raises(BackendUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            await link.run(ECHO, KEYS, ["x"])
        await link.aclose()


# ------------------------------------------------------------- loops, threads, forks


def test_a_loop_that_ends_closes_its_connections(server: RedisServer) -> None:
    link = link_to(server.port)

    async def use() -> bytes:
        await link.ears.listen("news", lambda said: None)
        return await link.run(ECHO, KEYS, ["x"])

    # The fixture that looks for leaks sees what is left.
    assert [asyncio.run(use()) for _ in range(3)] == [b"x"] * 3
    clients = str(server.ask("CLIENT", "LIST"))
    assert clients.count("name=treadle") == 0


async def test_threads_have_connections_of_their_own(proxy: Proxy) -> None:
    link = link_to(proxy.port)
    answers: list[bytes] = []

    def work(text: str) -> None:
        answers.append(asyncio.run(link.run(ECHO, KEYS, [text])))

    threads = [threading.Thread(target=work, args=(f"{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert sorted(answers) == [b"0", b"1", b"2", b"3"]
    assert len(proxy.arrivals) == 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this platform cannot fork")
async def test_a_forked_child_begins_anew(proxy: Proxy) -> None:
    async with linked(proxy.port) as link:
        assert await link.run(ECHO, KEYS, ["parent"]) == b"parent"
        reads, writes = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                asyncio._set_running_loop(None)
                os.write(writes, asyncio.run(link.run(ECHO, KEYS, ["child"])))
            finally:
                os._exit(0)
        os.close(writes)
        said = await asyncio.to_thread(os.read, reads, 100)
        os.close(reads)
        await asyncio.to_thread(os.waitpid, pid, 0)
        assert said == b"child"
        assert await link.run(ECHO, KEYS, ["parent"]) == b"parent"
        assert len(proxy.arrivals) == 2


async def test_a_closed_store_refuses(server: RedisServer) -> None:
    link = link_to(server.port)
    await link.run(ECHO, KEYS, ["x"])
    link.close()
    with pytest.raises(NotOpen, match="open another"):
        await link.run(ECHO, KEYS, ["x"])


# ------------------------------------------------------------- durability


async def test_a_replica_that_does_not_answer_is_no_copy() -> None:
    find_binary(["redis-server", "valkey-server"], package="redis-server")
    with own(RedisServer().start) as primary, RedisServer(replica_of=primary).start() as copy:
        await eventually(lambda: copy.info("replication")["master_link_status"] == "up")
        lasting = made("redis.call('SET', KEYS[1] .. 'x', ARGV[1]) return ARGV[1]", name="push")
        async with linked(primary.port, "durability=replica&patience=1") as link:
            assert await link.run(lasting, KEYS, ["one"]) == b"one"
            assert copy.ask("GET", f"{KEYS[0]}x") == "one"
            copy.freeze()
            with pytest.raises(BackendUnavailable, match="0 of 1 replicas have it"):
                await link.run(lasting, KEYS, ["two"])
            # What says nothing new is not waited for.
            assert await link.run(ECHO, KEYS, ["x"]) == b"x"
            copy.thaw()
            assert await link.run(lasting, KEYS, ["two"]) == b"two"


def test_a_disk_that_does_not_have_it_yet_is_said() -> None:
    confirmation = Confirmation(parse("redis://one?durability=fsync"))
    lasting = made("return 1", name="push")
    assert confirmation.wanted(lasting)
    assert not confirmation.wanted(ECHO)
    confirmation.check([1, 0])
    with pytest.raises(BackendUnavailable, match="its disk does not have it yet"):
        confirmation.check([0, 0])
    # A server that waits for its disk at each write need not be asked.
    confirmation.by_itself = True
    assert not confirmation.wanted(lasting)
