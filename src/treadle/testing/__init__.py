"""What tests need: a clock that they move, failpoints, checks for leaks.

The suite for authors of backends is :mod:`treadle.testing.contract`; the fixtures for
applications are :mod:`treadle.testing.plugin`. Both need pytest, this module does not.
"""

from __future__ import annotations

from treadle.testing.clock import ManualClock, eventually, settle

__all__ = ["ManualClock", "eventually", "settle"]
