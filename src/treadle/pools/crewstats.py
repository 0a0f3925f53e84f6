"""Workers and pools in numbers."""

from __future__ import annotations

from typing import Literal, TypeAlias

import msgspec

__all__ = ["CrewStats", "PlaceStats", "WorkerState"]

WorkerState: TypeAlias = Literal["idle", "busy", "away", "leaving", "dead"]
"""What a worker does: nothing; calls; it is being started, looked after or restarted, or rests
after that has failed; it is one too many and ends what it was given; it was given up."""


class PlaceStats(msgspec.Struct, frozen=True, kw_only=True):
    """One worker in numbers."""

    index: int
    # Calls that were given to it and have not ended, and all of them.
    active: int
    total: int
    # Calls whose code raised.
    failed: int
    # Seconds that its calls took, those that overlapped added up.
    busy: float
    # Calls that were left to themselves, because they did not end when asked.
    abandoned: int
    # How often the worker was restarted by its pool.
    restarts: int
    # What it does now.
    state: WorkerState = "idle"
    # When its pool started or restarted it last, as a Unix time; ``None`` when it is not yet.
    started: float | None = None
    # The process that it has for itself, and the bytes of memory which that uses, where the system
    # tells; ``None`` for workers that live in this process.
    pid: int | None = None
    rss: int | None = None

    @property
    def ended(self) -> int:
        """Calls that have ended, in whatever way."""
        return self.total - self.active

    @classmethod
    def none(cls) -> PlaceStats:
        """Nothing yet."""
        return cls(index=-1, active=0, total=0, failed=0, busy=0.0, abandoned=0, restarts=0)

    def plus(self, other: PlaceStats) -> PlaceStats:
        """Both added up."""
        return PlaceStats(
            index=self.index,
            active=self.active + other.active,
            total=self.total + other.total,
            failed=self.failed + other.failed,
            busy=self.busy + other.busy,
            abandoned=self.abandoned + other.abandoned,
            restarts=self.restarts + other.restarts,
        )


class CrewStats(msgspec.Struct, frozen=True, kw_only=True):
    """A pool in numbers; those of workers that have left it are kept."""

    # The workers that there are.
    workers: tuple[PlaceStats, ...]
    # The workers that there were, added up.
    left: PlaceStats
    # Calls that no worker has room for.
    queued: int
    # Seconds that calls have waited for limits, added up.
    waited: float = 0.0

    @property
    def active(self) -> int:
        """Calls that were given to a worker and have not ended."""
        return self._sum("active")

    @property
    def total(self) -> int:
        """Calls that were given to a worker."""
        return self._sum("total")

    @property
    def ended(self) -> int:
        """Calls that have ended, in whatever way."""
        return self.total - self.active

    @property
    def failed(self) -> int:
        """Calls whose code raised."""
        return self._sum("failed")

    @property
    def abandoned(self) -> int:
        """Calls that were left to themselves, because they did not end when asked."""
        return self._sum("abandoned")

    @property
    def restarts(self) -> int:
        """How often workers were restarted by the pool."""
        return self._sum("restarts")

    @property
    def busy(self) -> float:
        """Seconds that calls took, added up."""
        return self.left.busy + sum(worker.busy for worker in self.workers)

    def _sum(self, name: str) -> int:
        return sum(int(getattr(one, name)) for one in (self.left, *self.workers))
