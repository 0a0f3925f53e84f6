"""When a foreman has lived long enough."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from treadle.clock import Clock

__all__ = ["Recycling", "resident_bytes"]

_STATM = Path("/proc/self/statm")


def resident_bytes() -> int:
    """Memory of this process that is in RAM now, in bytes; its peak where only that is known."""
    if _STATM.exists():
        return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    try:
        import resource
    except ImportError:  # not a Unix
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


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
