"""When a foreman has lived long enough."""

from __future__ import annotations

from treadle.clock import Clock
from treadle.pools.footprint import resident_bytes

__all__ = ["Recycling"]


class Recycling:
    """Tells when a process should make room for a fresh one.

    Args:
        max_jobs: attempts.
        max_rss: bytes; looked at no more than once a second.
        max_age: seconds.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        max_jobs: int | None,
        max_rss: int | None,
        max_age: float | None,
    ) -> None:
        self.max_jobs = max_jobs
        self._max_rss = max_rss
        self._clock = clock
        now = clock.monotonic()
        self._until = None if max_age is None else now + max_age
        self._looked = now

    def reason(self, started: int) -> str | None:
        """Why to stop now, after ``started`` attempts; ``None`` to go on."""
        if self.max_jobs is not None and started >= self.max_jobs:
            return f"{started} jobs"
        now = self._clock.monotonic()
        if self._until is not None and now >= self._until:
            return "age"
        if self._max_rss is not None and now - self._looked >= 1.0:
            self._looked = now
            resident = resident_bytes()
            if resident > self._max_rss:
                return f"{resident} bytes resident"
        return None
