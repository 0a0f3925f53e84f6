"""What ``treadle doctor`` is told of a Redis server: what it gives, what it may lose."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from tests.servers import own
from treadle.backends.redis import connect
from treadle.backends.redis.address import parse
from treadle.backends.redis.probe import check, facts
from treadle.backends.redis.server import Server
from treadle.errors import Unsupported
from treadle.testing import eventually
from treadle.testing.servers import RedisServer

KEPT = {"appendonly": "yes"}


async def probed(server: RedisServer, options: str = "") -> Mapping[str, Any]:
    backend = connect(f"redis://127.0.0.1:{server.port}{options}")
    try:
        await backend.open()
        return await backend.probe()
    finally:
        await backend.aclose()


def found(told: Mapping[str, Any], check: str) -> tuple[str, str]:
    [one] = [finding for finding in told["findings"] if finding["check"] == check]
    return one["level"], one["action"]


@pytest.mark.parametrize(
    ("config", "level", "loses", "advice"),
    [
        ({}, "memory", "everything, whenever the server ends", "yes, and CONFIG REWRITE"),
        ({"save": "60 1"}, "memory", "all since its last snapshot", "CONFIG SET appendonly yes"),
        (KEPT, "everysec", "up to 2 s when it loses power", "appendfsync always"),
        ({**KEPT, "appendfsync": "no"}, "everysec", "some 30 s", "appendfsync always"),
        ({**KEPT, "appendfsync": "always"}, "fsync", "nothing when the server is killed or", ""),
    ],
)
async def test_durability(config: Mapping[str, str], level: str, loses: str, advice: str) -> None:
    with own(RedisServer(config=config).start) as server:
        told = await probed(server)
    assert told["durability"] == level
    assert loses in told["may_lose"]
    assert advice in told["advice"]
    assert told["server"].startswith(("Redis ", "Valkey "))


async def test_memory_and_replicas() -> None:
    config = {"maxmemory": "100mb", "min-replicas-to-write": "0"}
    with own(RedisServer(config=config).start) as server, RedisServer(replica_of=server) as copy:
        await eventually(lambda: copy.info("replication")["master_link_status"] == "up")
        told = await probed(server)
        assert found(told, "eviction") == ("ok", "")
        assert found(told, "memory") == ("ok", "")
        assert found(told, "replicas") == ("warn", "CONFIG SET min-replicas-to-write 1")
        assert "what its 1 replicas do not have yet" in told["may_lose"]
        server.ask("CONFIG", "SET", "maxmemory", int(server.info("memory")["used_memory"]) + 9999)
        assert found(await probed(server), "memory")[0] == "warn"


async def test_an_account_that_may_not_read_settings() -> None:
    """It works, and what it cannot see it does not claim."""
    users = ["default on nopass ~* &* +@all", "few on >x ~* &* +@all -config"]
    config = {**KEPT, "appendfsync": "always"}
    with own(RedisServer(users=users, config=config).start) as server:
        backend = connect(f"redis://few:x@127.0.0.1:{server.port}")
        await backend.open()
        told = await backend.probe()
        await backend.aclose()
        assert told["durability"] == "everysec"
        strict = connect(f"redis://few:x@127.0.0.1:{server.port}?durability=fsync")
        if str(told["server"]).startswith("Redis 7.0"):
            with pytest.raises(Unsupported, match=r"\+config\|get"):
                await strict.open()
        await strict.aclose()


def server(**changes: Any) -> Server:
    usual: dict[str, Any] = {
        "kind": "Redis",
        "version": (7, 4, 0),
        "policy": "noeviction",
        "appends": True,
        "fsync": "everysec",
        "save": "",
        "replicas": 0,
        "min_replicas": 0,
        "used": 0,
        "limit": 0,
        "now": 0.0,
        "writes_well": True,
    }
    return Server(**{**usual, **changes})


def test_a_server_that_can_be_asked_of_its_disk_gives_fsync() -> None:
    address = parse("redis://one?durability=fsync")
    check(server(), address)
    check(server(kind="Valkey", version=(8, 0)), address)
    assert facts(server(), address)["durability"] == "fsync"
    with pytest.raises(Unsupported, match="gives durability=everysec"):
        check(server(version=(7, 0, 15)), address)


def test_a_server_that_is_too_old_is_refused() -> None:
    with pytest.raises(Unsupported, match=r"is Redis 5\.0, and scripts need 6\.2"):
        check(server(version=(5, 0)), parse("redis://one"))


def test_a_server_that_cannot_write_its_file_is_said() -> None:
    assert found(facts(server(writes_well=False), parse("redis://one")), "persistence")[0] == "fail"
