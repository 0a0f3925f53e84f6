"""Redis, PostgreSQL and RabbitMQ: each a server of its own that the run starts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from functools import partial
from typing import ClassVar

from benchmarks import drains, servers_peers
from benchmarks.figure import Figure
from benchmarks.peer import Peer
from benchmarks.served import Served
from benchmarks.servers_floor import PostgresFloor, RedisFloor
from benchmarks.servers_rabbit import RabbitFloor
from benchmarks.stores import Place
from benchmarks.tasks import add
from treadle.testing.servers import PostgresServer, RabbitServer, RedisServer, Server

__all__ = ["POSTGRES", "RABBITMQ", "REDIS"]

_WAITING, _PAYLOAD = 20_000, 200
# What is in a payload of ``add`` beside its text.
_FRAME = 26
_HOSTS = 16
_ADD = 'rabbit_vhost:add(Name, <<"guest">>)'
_ALL = '<<".*">>'
_ALLOW = (
    "rabbit_auth_backend_internal:set_permissions("
    f'<<"guest">>, Name, {_ALL}, {_ALL}, {_ALL}, <<"guest">>)'
)


class _Redis(Served):
    store = "redis"
    kept = "it keeps nothing on the disk, for all alike, so that jobs outlive workers and not it"
    promise = (
        "at least once, with leases that a dead process loses; 100 jobs at a time; "
        "results for a day"
    )
    peers = servers_peers.REDIS
    floor = RedisFloor
    aims: ClassVar = {
        "enqueue, gather of 1,000": 40_000,
        "drain, 1 process": 20_000,
        "enqueue to start, p50": 0.5,
        "enqueue to result, p50": 1.0,
        f"a waiting job of {_PAYLOAD} bytes": 500,
    }
    server: RedisServer

    def start(self) -> Server:
        self.server = RedisServer().start()
        return self.server

    def version(self) -> str:
        return f"Redis {self.server.info('server')['redis_version']}"

    def fresh(self) -> str:
        self.server.ask("FLUSHALL")
        return self.server.url

    def more(self, scale: float) -> Iterator[Figure]:
        yield self._waiting(int(_WAITING * scale))
        yield from self.depths(scale)

    def _waiting(self, count: int) -> Figure:
        """Memory of the server for a job that waits."""
        calls = [(number, "x" * (_PAYLOAD - _FRAME)) for number in range(count)]

        def ours(at: Place, many: int) -> int:
            asyncio.run(drains.fill(at, add, calls[:many]))
            return many

        def theirs(peer: Peer, at: Place, many: int) -> int | None:
            filled: int | None = self.ask(peer, at, "fill", count=many, payload=_PAYLOAD)
            return filled

        value = self._each(ours, count)
        assert value is not None
        peers = {peer.name: self._each(partial(theirs, peer), count // 4) for peer in self.peers}
        return self.figure(f"a waiting job of {_PAYLOAD} bytes", value, "bytes", peers=peers)

    def _each(self, fill: Callable[[Place, int], int | None], count: int) -> float | None:
        """Bytes for each of so many; what one job already needs is not theirs.

        The server is a new one, which owes nothing to earlier clients.
        """
        self.server.restart()
        with self.place() as at:
            if fill(at, 1) is None:
                return None
            before = self._used()
            filled = fill(at, count)
            return (self._used() - before) / filled if filled else None

    def _used(self) -> int:
        return int(self.server.info("memory")["used_memory"])


class _Postgres(Served):
    store = "postgres"
    kept = "`fsync` and `synchronous_commit` are on, as PostgreSQL comes"
    promise = (
        "at least once; an accepted job and a result are on the disk, a claim need not be; "
        "100 jobs at a time; results for a day"
    )
    peers = servers_peers.POSTGRES
    floor = PostgresFloor
    aims: ClassVar = {"drain, 1 process": 15_000}
    server: PostgresServer
    _databases = 0

    def start(self) -> Server:
        self.server = PostgresServer(fsync=True).start()
        return self.server

    def version(self) -> str:
        floor = PostgresFloor(self.fresh())
        try:
            return f"PostgreSQL {floor.version()}"
        finally:
            floor.close()

    def fresh(self) -> str:
        self._databases += 1
        return self.server.create_database(f"bench{self._databases}")

    def more(self, scale: float) -> Iterator[Figure]:
        yield from self.depths(scale)


class _Rabbit(Served):
    store = "rabbitmq"
    kept = "one node, and no companion, so nobody has results"
    promise = (
        "at least once; quorum queues, persistent messages, each confirmed before enqueue returns; "
        "100 jobs at a time"
    )
    peers = servers_peers.RABBITMQ
    floor = RabbitFloor
    results = False
    aims: ClassVar = {"drain, 1 process": 6_000}
    server: RabbitServer
    _hosts: list[str]
    _made: int

    def start(self) -> Server:
        self.server = RabbitServer().start()
        self._hosts, self._made = [], 0
        return self.server

    def version(self) -> str:
        return f"RabbitMQ {self.server.control('version').strip()}"

    def fresh(self) -> str:
        if not self._hosts:
            self._hosts = self._more_hosts()
        return self.server.url.replace("%2F", self._hosts.pop())

    def _more_hosts(self) -> list[str]:
        """Virtual hosts in one go, as each call of ``rabbitmqctl`` takes a second or more."""
        first, self._made = self._made + 1, self._made + _HOSTS
        made = f'Name = list_to_binary("bench" ++ integer_to_list(N)), {_ADD}, {_ALLOW}'
        self.server.control("eval", f"[begin {made} end || N <- lists:seq({first}, {self._made})].")
        return [f"bench{number}" for number in range(first, self._made + 1)]


REDIS, POSTGRES, RABBITMQ = _Redis(), _Postgres(), _Rabbit()
