from __future__ import annotations

import itertools

import pytest

from treadle import backends
from treadle.testing.contract import BackendContract

_stores = itertools.count()


class TestMemory(BackendContract):
    @pytest.fixture
    def make(self, clock, ids):
        url = f"memory://contract-{next(_stores)}"
        return lambda **options: backends.open(url, clock=clock, ids=ids, **options)
