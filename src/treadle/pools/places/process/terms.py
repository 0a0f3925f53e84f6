"""What holds for the children of one place."""

from __future__ import annotations

from treadle.pools.childoptions import ChildTerms

__all__ = ["Terms"]


class Terms(ChildTerms, frozen=True, kw_only=True):
    """How children live, when they have lived long enough, and how they are ended."""

    # Calls that overlap in one child, those of coroutines.
    slots: int = 1
    # Seconds between the request to end and the end.
    patience: float = 5.0
