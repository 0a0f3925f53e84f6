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
    "driver",
    "alter",
    "bounds",
    "cells",
    "claim",
    "dependencies",
    "events",
    "fates",
    "find",
    "followups",
    "keys",
    "leases",
    "limits",
    "loops",
    "named",
    "order",
    "pauses",
    "push",
    "rates",
    "retention",
    "room",
    "rotation",
    "sessions",
    "settle",
    "shared",
    "suspects",
    "unique",
    "wait",
)
pytest.register_assert_rewrite(*(f"{__name__}.{theme}" for theme in _THEMES))

from treadle.testing.contract.alter import AlterContract  # noqa: E402
from treadle.testing.contract.base import Contract, Driver, Make, needs  # noqa: E402
from treadle.testing.contract.bounds import BoundsContract  # noqa: E402
from treadle.testing.contract.cells import CellsContract  # noqa: E402
from treadle.testing.contract.claim import ClaimContract  # noqa: E402
from treadle.testing.contract.dependencies import DependenciesContract  # noqa: E402
from treadle.testing.contract.events import EventsContract  # noqa: E402
from treadle.testing.contract.fates import FatesContract  # noqa: E402
from treadle.testing.contract.find import FindContract  # noqa: E402
from treadle.testing.contract.followups import FollowupsContract  # noqa: E402
from treadle.testing.contract.keys import KeysContract  # noqa: E402
from treadle.testing.contract.leases import LeasesContract  # noqa: E402
from treadle.testing.contract.limits import LimitsContract  # noqa: E402
from treadle.testing.contract.loops import LoopsContract  # noqa: E402
from treadle.testing.contract.named import NamedContract  # noqa: E402
from treadle.testing.contract.order import OrderContract  # noqa: E402
from treadle.testing.contract.pauses import PausesContract  # noqa: E402
from treadle.testing.contract.push import PushContract  # noqa: E402
from treadle.testing.contract.rates import RatesContract  # noqa: E402
from treadle.testing.contract.retention import RetentionContract  # noqa: E402
from treadle.testing.contract.room import RoomContract  # noqa: E402
from treadle.testing.contract.rotation import RotationContract  # noqa: E402
from treadle.testing.contract.sessions import SessionsContract  # noqa: E402
from treadle.testing.contract.settle import SettleContract  # noqa: E402
from treadle.testing.contract.shared import SharedContract  # noqa: E402
from treadle.testing.contract.suspects import SuspectsContract  # noqa: E402
from treadle.testing.contract.unique import UniqueContract  # noqa: E402
from treadle.testing.contract.wait import WaitContract  # noqa: E402

__all__ = [
    "AlterContract",
    "BackendContract",
    "BoundsContract",
    "CellsContract",
    "ClaimContract",
    "Contract",
    "DependenciesContract",
    "Driver",
    "EventsContract",
    "FatesContract",
    "FindContract",
    "FollowupsContract",
    "KeysContract",
    "LeasesContract",
    "LimitsContract",
    "LoopsContract",
    "Make",
    "NamedContract",
    "OrderContract",
    "PausesContract",
    "PushContract",
    "RatesContract",
    "RetentionContract",
    "RoomContract",
    "RotationContract",
    "SessionsContract",
    "SettleContract",
    "SharedContract",
    "SuspectsContract",
    "UniqueContract",
    "WaitContract",
    "needs",
]


class BackendContract(
    AlterContract,
    BoundsContract,
    CellsContract,
    ClaimContract,
    DependenciesContract,
    EventsContract,
    FatesContract,
    FindContract,
    FollowupsContract,
    KeysContract,
    LeasesContract,
    LimitsContract,
    LoopsContract,
    NamedContract,
    OrderContract,
    PausesContract,
    PushContract,
    RatesContract,
    RetentionContract,
    RoomContract,
    RotationContract,
    SessionsContract,
    SettleContract,
    SharedContract,
    SuspectsContract,
    UniqueContract,
    WaitContract,
):
    """The whole suite."""
