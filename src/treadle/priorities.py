"""Names for priorities: larger is sooner, from -100 to 100."""

from __future__ import annotations

from typing import Final

__all__ = ["CRITICAL", "HIGH", "LOW", "NORMAL"]

LOW: Final = -10
"""After what is normal."""
NORMAL: Final = 0
"""The default."""
HIGH: Final = 10
"""Before what is normal."""
CRITICAL: Final = 20
"""Before everything that has one of the other names."""
