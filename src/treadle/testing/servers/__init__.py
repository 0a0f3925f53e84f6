"""Real servers for tests: started on free ports of this machine, killed, frozen, restarted.

Each has a folder of its own, which goes with it, and is a context manager::

    with RedisServer(config={"appendonly": "yes"}) as server:
        app = Treadle(server.url)
        ...
        server.kill()  # as kill -9
        server.start()  # again, with the same port and data
        server.freeze()  # alive, but does not answer
        server.thaw()

They end with the process that started them, however that ends. A server whose program is not
installed raises :class:`ServerMissing`, which says how to get it.
"""

from __future__ import annotations

from treadle.testing.servers.binaries import ServerMissing, find_binary
from treadle.testing.servers.bouncer import PgBouncer
from treadle.testing.servers.certificates import Certificates, make_certificates
from treadle.testing.servers.cluster import RedisCluster
from treadle.testing.servers.postgres import PostgresServer
from treadle.testing.servers.rabbitmq import RabbitServer
from treadle.testing.servers.redis import RedisServer
from treadle.testing.servers.sentinel import SentinelSet
from treadle.testing.servers.server import Server, ServerFailed

__all__ = [
    "Certificates",
    "PgBouncer",
    "PostgresServer",
    "RabbitServer",
    "RedisCluster",
    "RedisServer",
    "SentinelSet",
    "Server",
    "ServerFailed",
    "ServerMissing",
    "find_binary",
    "make_certificates",
]
