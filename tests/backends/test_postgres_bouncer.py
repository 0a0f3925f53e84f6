"""PostgreSQL behind a pooler that gives each transaction another connection."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.backends.postgres_support import empty
from tests.servers import own
from treadle.backends.postgres import connect
from treadle.ids import Ids
from treadle.ports import Feature
from treadle.testing import ManualClock
from treadle.testing.contract import (
    ClaimContract,
    EventsContract,
    LeasesContract,
    LimitsContract,
    Make,
    PushContract,
    SettleContract,
    SharedContract,
    WaitContract,
)
from treadle.testing.servers import PgBouncer, PostgresServer

pytestmark = pytest.mark.slow
NAMESPACE = "bouncer"


@pytest.fixture(scope="module")
def behind() -> Iterator[PostgresServer]:
    with own(PostgresServer().start) as server:
        yield server


@pytest.fixture(scope="module")
def pooler(behind: PostgresServer) -> Iterator[PgBouncer]:
    with own(PgBouncer(behind).start) as pooler:
        yield pooler


class TestPooled(
    ClaimContract,
    EventsContract,
    LeasesContract,
    LimitsContract,
    PushContract,
    SettleContract,
    SharedContract,
    WaitContract,
):
    """What takes locks, prepares statements and listens; nothing of it may live in a session."""

    @pytest.fixture
    def make(self, behind: PostgresServer, pooler: PgBouncer, clock: ManualClock, ids: Ids) -> Make:
        """Backends over one namespace, through the pooler."""
        empty(behind.url, NAMESPACE)
        url = f"{pooler.url}&connections=3"
        return lambda **options: connect(url, clock=clock, ids=ids, namespace=NAMESPACE, **options)

    async def test_it_is_known_that_nothing_is_heard(self, make: Make) -> None:
        """Who waits looks now and then."""
        backend = make()
        assert Feature.PUSHES_WAKE not in backend.features
        backend.close()
