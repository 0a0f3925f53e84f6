"""The SQLite backend passes the suite of all backends."""

from __future__ import annotations

from pathlib import Path

import pytest

from treadle.backends.sqlite import connect
from treadle.ids import Ids
from treadle.testing import ManualClock
from treadle.testing.contract import BackendContract, Make


class TestSqlite(BackendContract):
    """Every case, on a file of its own."""

    @pytest.fixture
    def make(self, clock: ManualClock, ids: Ids, tmp_path: Path) -> Make:
        """Backends over one file."""
        url = f"sqlite:///{tmp_path / 'jobs.db'}"
        return lambda **options: connect(url, clock=clock, ids=ids, **options)
