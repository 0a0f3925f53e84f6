"""What every backend must do, as a suite for its author to run.

A backend's test file::

    class TestMine(BackendContract):
        @pytest.fixture
        def make(self, clock, ids, tmp_path):
            return lambda **options: MyBackend(
                f"mine://{tmp_path}", clock=clock, ids=ids, **options
            )

Each case names in its docstring the sentence that it proves: a number such as "3.1" is a step
of the protocol, a word such as "Claim 5" a section of ``docs/explanation/semantics.md``. Time
is a :class:`~treadle.testing.ManualClock`; nothing sleeps. What a backend does not serve by its
``features`` is skipped with that reason. The classes of the themes can be used one by one.
"""

from __future__ import annotations

import pytest

_THEMES = (
    "base",
    "alter",
    "claim",
    "leases",
    "order",
    "push",
    "sessions",
    "settle",
    "unique",
)
pytest.register_assert_rewrite(*(f"{__name__}.{theme}" for theme in _THEMES))

from treadle.testing.contract.alter import AlterContract  # noqa: E402
from treadle.testing.contract.base import Contract, Driver, Make, needs  # noqa: E402
from treadle.testing.contract.claim import ClaimContract  # noqa: E402
from treadle.testing.contract.leases import LeasesContract  # noqa: E402
from treadle.testing.contract.order import OrderContract  # noqa: E402
from treadle.testing.contract.push import PushContract  # noqa: E402
from treadle.testing.contract.sessions import SessionsContract  # noqa: E402
from treadle.testing.contract.settle import SettleContract  # noqa: E402
from treadle.testing.contract.unique import UniqueContract  # noqa: E402

__all__ = [
    "AlterContract",
    "BackendContract",
    "ClaimContract",
    "Contract",
    "Driver",
    "LeasesContract",
    "Make",
    "OrderContract",
    "PushContract",
    "SessionsContract",
    "SettleContract",
    "UniqueContract",
    "needs",
]


class BackendContract(
    AlterContract,
    ClaimContract,
    LeasesContract,
    OrderContract,
    PushContract,
    SessionsContract,
    SettleContract,
    UniqueContract,
):
    """The whole suite."""
