"""The PostgreSQL backend passes the suite of all backends, as a role that owns nothing.

Who owns the tables may do more; what is not granted to the role would fail here alone.
"""

from __future__ import annotations

import pytest

from tests.backends.postgres_role import its_namespace, its_url, namespace, role
from tests.servers import postgres_url
from treadle.backends.postgres import connect
from treadle.ids import Ids
from treadle.testing import ManualClock
from treadle.testing.contract import BackendContract, Make

__all__ = ["its_namespace", "its_url", "namespace", "postgres_url", "role"]


class TestPostgres(BackendContract):
    """Every case, in tables that are empty."""

    @pytest.fixture
    def make(self, clock: ManualClock, ids: Ids, its_url: str, namespace: str) -> Make:
        """Backends over its tables."""
        return lambda **options: connect(
            its_url, clock=clock, ids=ids, namespace=namespace, **options
        )
