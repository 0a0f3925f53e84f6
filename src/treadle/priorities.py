"""Names for priorities: larger is sooner, from -100 to 100."""

from __future__ import annotations

from typing import Final

__all__ = ["CRITICAL", "HIGH", "LOW", "NORMAL", "is_priority"]

LOW: Final = -10
"""After what is normal."""
NORMAL: Final = 0
"""The default."""
HIGH: Final = 10
"""Before what is normal."""
CRITICAL: Final = 20
"""Before everything that has one of the other names."""


def is_priority(value: object) -> bool:
    """Whether it is a whole number from -100 to 100."""
    return isinstance(value, int) and not isinstance(value, bool) and -100 <= value <= 100
