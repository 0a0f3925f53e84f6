"""The suite of all backends on a cluster of Redis servers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers import own
from treadle.backends.redis import connect
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
