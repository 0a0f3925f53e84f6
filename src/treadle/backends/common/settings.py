"""What the constructor of a backend fixes."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from treadle.ids import Ids

__all__ = ["Settings"]


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What the steps of a store go by."""

    # Failed jobs kept in the namespace.
    max_failed: int = 10_000
    # Seconds a tombstone is kept.
    request_ttl: float = 600.0
    # Makes ids for permits and tickets.
    new_id: Callable[[], str]
    # Makes nonces for sessions.
    new_nonce: Callable[[], int]

    @classmethod
    def of(cls, ids: Ids, *, max_failed: int, request_ttl: float) -> Settings:
        """With ids and nonces from one source."""
        return cls(
            max_failed=max_failed, request_ttl=request_ttl, new_id=ids.new, new_nonce=ids.nonce
        )
