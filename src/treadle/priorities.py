"""Names for priorities: larger is sooner, from -100 to 100."""

from __future__ import annotations

from typing import Final

__all__ = ["CRITICAL", "HIGH", "LOW", "NORMAL"]

LOW: Final = -10
NORMAL: Final = 0
HIGH: Final = 10
CRITICAL: Final = 20
