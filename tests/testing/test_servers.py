"""Servers of our own start, die, freeze, come back, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import own
from treadle.testing import eventually
from treadle.testing.servers import (
    PostgresServer,
    RabbitServer,
    RedisCluster,
    RedisServer,
    SentinelSet,
    Server,
    ServerFailed,
)
from treadle.testing.servers.binaries import ServerMissing, find_binary
from treadle.testing.servers.ports import listens

SCRIPT = """
import sys
from treadle.testing.servers import RedisServer
server = RedisServer().start()
print(server.pid, server.folder, flush=True)
if sys.argv[1] == "wait":
    sys.stdin.read()
"""


def gone(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True
    return stat.rsplit(")", 1)[1].split()[0] == "Z"


def test_a_killed_server_comes_back_with_its_data() -> None:
    with own(RedisServer(config={"appendonly": "yes"}).start) as server:
        server.ask("SET", "a", "1")
        port, pid = server.port, server.pid
        server.kill()
        assert not server.running
        assert gone(pid)
        assert not listens(port)
        server.start()
        assert server.port == port
        assert server.ask("GET", "a") == "1"


def test_a_wiped_server_comes_back_empty() -> None:
    with own(RedisServer(config={"appendonly": "yes"}).start) as server:
        server.ask("SET", "a", "1")
        server.stop()
        server.wipe()
        server.start()
        assert server.ask("GET", "a") is None


def test_a_frozen_server_is_reached_but_silent() -> None:
    with own(RedisServer().start) as server:
        server.freeze()
        with socket.create_connection(("127.0.0.1", server.port), 1) as line:
            line.settimeout(0.2)
            line.sendall(b"PING\r\n")
            with pytest.raises(TimeoutError):
                line.recv(1)
            server.thaw()
            line.settimeout(10)
            assert line.recv(7) == b"+PONG\r\n"


def test_tls_and_accounts() -> None:
    users = ["default off", "jobs on >secret ~* &* +@all"]
    with own(RedisServer(tls=True, users=users).start) as server:
        assert server.url.startswith("rediss://")
        assert server.answers()


def test_a_server_that_cannot_start_says_why() -> None:
    server = RedisServer(config={"maxmemory-policy": "nonsense"})
    with pytest.raises(ServerFailed, match="maxmemory-policy"):
        own(server.start)
    server.close()
    assert not server.folder.exists()


def test_a_missing_program_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(ServerMissing, match="install the package treadle-none"):
        find_binary(["treadle-none"], package="treadle-none")


@pytest.mark.parametrize("end", ["ends", "is killed"])
async def test_servers_end_with_their_process(end: str) -> None:
    own(lambda: find_binary(["redis-server", "valkey-server"], package="redis-server"))
    child = subprocess.Popen(  # noqa: ASYNC220 - nothing else runs in this loop
        [sys.executable, "-c", SCRIPT, "wait" if end == "is killed" else "end"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    assert child.stdin is not None
    pid, folder = child.stdout.readline().split(maxsplit=1)
    if end == "is killed":
        assert not gone(int(pid))
        os.kill(child.pid, signal.SIGKILL)
    child.wait(20)
    child.stdout.close()
    child.stdin.close()
    await eventually(lambda: gone(int(pid)))
    await eventually(lambda: not Path(folder.strip()).exists())


@pytest.mark.slow
def test_sentinels_agree_on_another_primary() -> None:
    with own(SentinelSet) as servers:
        old = servers.primary
        old.kill()
        new = servers.await_other(old)
        assert new.ask("SET", "a", "1") == "OK"


@pytest.mark.slow
def test_a_slot_of_a_cluster_moves() -> None:
    with own(RedisCluster) as cluster:
        slot = cluster.slot_of("{a}")
        source = cluster.owner(slot)
        source.ask("SET", "{a}", "1")
        target = next(node for node in cluster.nodes if node is not source)
        cluster.start_move(slot, target)
        cluster.finish_move(slot, source, target)
        assert cluster.owner(slot) is target
        assert target.ask("GET", "{a}") == "1"


@pytest.mark.slow
@pytest.mark.parametrize("make", [PostgresServer, RabbitServer])
def test_other_servers_start_die_and_come_back(make: type[Server]) -> None:
    with own(lambda: make().start()) as server:
        server.kill()
        assert not listens(server.port)
        server.start()
        server.freeze()
        assert not server.answers()
        server.thaw()
        server.await_answer()
        server.stop()
        assert not server.running
    assert not server.folder.exists()


def test_fixtures_give_servers_that_answer(redis_url: str, postgres_url: str) -> None:
    for url in (redis_url, postgres_url):
        host, port = url.split("/")[2].rsplit("@")[-1].split(":")
        assert listens(int(port), host)
