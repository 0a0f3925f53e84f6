"""What tests need: a clock that they move, helpers for jobs, failpoints, checks for leaks.

The suite for authors of backends is :mod:`treadle.testing.contract`; the fixtures for
applications are :mod:`treadle.testing.plugin`. Both need pytest, this module does not.
"""

from __future__ import annotations

from treadle.testing.clock import ManualClock, eventually, settle
from treadle.testing.failpoints import InjectedFault, active, failpoint, reached
from treadle.testing.helpers import (
    aadvance,
    aassert_enqueued,
    adrain,
    advance,
    arefute_enqueued,
    assert_enqueued,
    drain,
    refute_enqueued,
)
from treadle.testing.leaks import leaked_tasks, leaks_checked, no_leaks

__all__ = [
    "InjectedFault",
    "ManualClock",
    "aadvance",
    "aassert_enqueued",
    "active",
    "adrain",
    "advance",
    "arefute_enqueued",
    "assert_enqueued",
    "drain",
    "eventually",
    "failpoint",
    "leaked_tasks",
    "leaks_checked",
    "no_leaks",
    "reached",
    "refute_enqueued",
    "settle",
]
