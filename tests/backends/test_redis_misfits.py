"""URLs that do not fit their server, keys that no Treadle wrote: what is wrong, and the way out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import own
from treadle.backends.redis import connect
from treadle.errors import BackendError, BackendUnavailable, SchemaMismatch, TreadleError
from treadle.testing import eventually
from treadle.testing.servers import RedisCluster, RedisServer

_PATIENCE = "patience=1"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with own(RedisServer().start) as server:
        yield server


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    with own(RedisServer(tls=True).start) as server:
        yield server


async def refusal(url: str, kind: type[TreadleError]) -> str:
    """What is said of a store when it is opened."""
    backend = connect(url)
    try:
        with pytest.raises(kind) as caught:
            await backend.open()
    finally:
        await backend.aclose()
        backend.close()
    assert type(caught.value) is kind
    return str(caught.value)


@pytest.mark.parametrize("text", ["", "x", "2", "a b", "2 x", "2 -1", "x" * 1000])
async def test_a_damaged_format(server: RedisServer, text: str) -> None:
    server.ask("FLUSHALL")
    server.ask("SET", "{treadle.0}:format", text)
    said = await refusal(server.url, BackendError)
    assert f"is damaged: its key {{treadle.0}}:format is {text[:40]!r}" in said
    assert "Restore a copy of the data" in said
    assert "SET it to '" in said
    assert len(said) < 400


async def test_a_damaged_number_of_shards(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    server.ask("SET", "{treadle.0}:format", "1 1")
    server.ask("SET", "{treadle.0}:shards", "many")
    assert "its key {treadle.0}:shards is 'many'" in await refusal(server.url, BackendError)


async def test_a_format_of_another_kind(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    server.ask("RPUSH", "{treadle.0}:format", "1 1")
    assert "has keys of another program" in await refusal(server.url, SchemaMismatch)


@pytest.mark.parametrize(("text", "older_may"), [("9 9", False), ("9 3", False), ("9 1", True)])
async def test_a_newer_format_is_refused_when_it_says_so(
    server: RedisServer, text: str, older_may: bool
) -> None:
    server.ask("FLUSHALL")
    server.ask("SET", "{treadle.0}:format", text)
    if not older_may:
        assert "was written by a newer version" in await refusal(server.url, SchemaMismatch)
        return
    backend = connect(server.url)
    await backend.open()
    await backend.aclose()
    assert server.ask("GET", "{treadle.0}:format") == text


async def test_what_the_message_says_mends_it(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    backend = connect(server.url)
    await backend.open()
    written = server.ask("GET", "{treadle.0}:format")
    server.ask("SET", "{treadle.0}:format", "x")
    said = await refusal(server.url, BackendError)
    assert f"SET it to {written!r}" in said
    server.ask("SET", "{treadle.0}:format", written)
    await backend.open()
    await backend.aclose()


async def test_tls_where_there_is_none(server: RedisServer) -> None:
    # The agreement on TLS has four fifths of it; a busy machine needs the rest.
    url = f"{server.url.replace('redis:', 'rediss:')}?patience=4"
    said = await refusal(url, BackendUnavailable)
    assert "accepts connections and does not speak TLS: write redis:// or valkey://" in said


async def test_no_tls_where_there_is(guarded: RedisServer) -> None:
    url = f"{guarded.url.replace('rediss:', 'redis:')}?{_PATIENCE}"
    said = await refusal(url, BackendUnavailable)
    assert "if it wants TLS there, write rediss:// or valkeys://" in said


async def test_an_authority_that_is_not_trusted(guarded: RedisServer) -> None:
    said = await refusal(f"{guarded.url}?{_PATIENCE}", BackendUnavailable)
    assert "CERTIFICATE_VERIFY_FAILED" in said
    assert "?tls_ca=… names the file of the authority to trust" in said


@pytest.mark.slow
async def test_a_node_of_a_cluster() -> None:
    with own(lambda: RedisCluster(nodes=3)) as cluster:
        said: list[str] = []
        for node in cluster.nodes:
            backend = connect(f"{node.url}?{_PATIENCE}")
            try:
                await backend.open()
            except BackendError as error:
                said.append(str(error))
                assert f"Write redis+cluster://127.0.0.1:{node.port}, which finds it" in said[-1]
            finally:
                await backend.aclose()
                backend.close()
        # One has the keys.
        assert len(said) == 2
        backend = connect(f"redis+cluster://127.0.0.1:{cluster.nodes[0].port}")
        await backend.open()
        await backend.aclose()


async def test_a_node_of_a_cluster_that_is_not_whole() -> None:
    with own(RedisServer(config={"cluster-enabled": "yes"}).start) as node:
        said = await refusal(f"{node.url}?{_PATIENCE}", BackendUnavailable)
    assert f"It is a node of a cluster: redis+cluster://127.0.0.1:{node.port} finds" in said


async def test_a_password_where_none_is_needed(server: RedisServer) -> None:
    url = server.url.replace("redis://", "redis://:secret@")
    said = await refusal(url, BackendUnavailable)
    assert "the server has no password, and the URL has one. Take it out of the URL" in said
    assert "secret" not in said


async def test_no_password_where_one_is_needed() -> None:
    with own(RedisServer(config={"requirepass": "secret"}).start) as locked:
        said = await refusal(locked.url, BackendUnavailable)
    assert "NOAUTH Authentication required. Write the account into the URL" in said


async def test_a_replica_takes_no_jobs(server: RedisServer) -> None:
    server.ask("FLUSHALL")
    with own(RedisServer(replica_of=server).start) as copy:
        await eventually(lambda: copy.info("replication")["master_link_status"] == "up")
        said = await refusal(f"{copy.url}?patience=0.2", BackendUnavailable)
        assert "It is a replica: write the address of its primary, or redis+sentinel://" in said
        backend = connect(copy.url)
        vacancy = await backend.survey()
        assert vacancy is not None
        [told] = [one for one in vacancy.facts["findings"] if one["check"] == "primary"]
        assert told["level"] == "fail"
        assert f"a replica of 127.0.0.1:{server.port} and takes no jobs" in told["says"]
        await backend.aclose()
