"""A namespace in several shards passes the suite of all backends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.redis_server import namespace
from treadle.backends.redis import connect
from treadle.ids import Ids
from treadle.testing import ManualClock
from treadle.testing.contract import BackendContract, Make


@pytest.fixture
def shop(redis_url: str) -> Iterator[str]:
    with namespace(redis_url) as shop:
        yield shop


class TestShards(BackendContract):
    """Every case that does not need one line for all jobs, over three shards of one server."""

    @pytest.fixture
    def make(self, redis_url: str, shop: str, clock: ManualClock, ids: Ids) -> Make:
        """Backends over one namespace of the server."""
        url = f"{redis_url}?shards=3"
        return lambda **options: connect(url, clock=clock, ids=ids, namespace=shop, **options)
