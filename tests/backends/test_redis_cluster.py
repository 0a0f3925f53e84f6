"""The suite of all backends on a cluster of Redis servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import own
from treadle.backends.redis import RedisBackend, connect
from treadle.backends.redis.sharded import ShardedBackend
from treadle.errors import Unsupported
from treadle.ids import Ids, SystemIds
from treadle.testing import ManualClock
from treadle.testing.contract import BackendContract, Make
from treadle.testing.servers import RedisCluster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with own(RedisCluster) as cluster:
        yield cluster


class TestShards(BackendContract):
    """Shards of one namespace have slots of their own, and so nodes."""

    @pytest.fixture
    def make(self, cluster: RedisCluster, clock: ManualClock, ids: Ids) -> Make:
        """Backends over one namespace, in three of the slots."""
        name = f"test-{SystemIds().new()}"
        return lambda **options: connect(
            f"{cluster.url}?shards=3", clock=clock, ids=ids, namespace=name, **options
        )


class TestCluster(BackendContract):
    """Every script stays in the one slot of its namespace."""

    @pytest.fixture
    def make(self, cluster: RedisCluster, clock: ManualClock, ids: Ids) -> Make:
        """Backends over one namespace, in one of the slots."""
        name = f"test-{SystemIds().new()}"
        return lambda **options: connect(
            cluster.url, clock=clock, ids=ids, namespace=name, **options
        )


async def test_what_the_node_with_the_keys_cannot_give_is_refused_and_no_other_is_asked(
    cluster: RedisCluster,
) -> None:
    """Whichever of them the URL names first."""
    name = f"test-{SystemIds().new()}"
    backend = connect(cluster.url, namespace=name)
    owner = cluster.owner(cluster.slot_of(f"{backend._store.prefix}format"))
    await _opens(backend)
    for evicts in cluster.nodes:
        evicts.ask("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        try:
            for first in cluster.nodes:
                url = f"redis+cluster://127.0.0.1:{first.port}"
                if evicts is owner:
                    with pytest.raises(Unsupported, match="maxmemory-policy"):
                        await _opens(connect(url, namespace=name))
                else:
                    await _opens(connect(url, namespace=name))
        finally:
            evicts.ask("CONFIG", "SET", "maxmemory-policy", "noeviction")


async def _opens(backend: RedisBackend | ShardedBackend) -> None:
    try:
        await backend.open()
    finally:
        await backend.aclose()
        backend.close()
