"""What comes next in a store by itself."""

from __future__ import annotations

import msgspec

__all__ = ["Horizon", "past"]


def past(at: float | None, now: float) -> bool:
    """Whether an instant has come; one that is not there never does."""
    return at is not None and at <= now


class Horizon(msgspec.Struct, frozen=True, gc=False):
    """The earliest instant of each kind; ``None`` where there is nothing."""

    due: float | None
    lapse: float | None
    expires: float | None
    keep: float | None
    gone: float | None
    session: float | None
    unique: float | None
    rate: float | None
    permit: float | None
    ticket: float | None
    cell: float | None
    # Jobs have ended whose dependants have not all been told.
    ended: int | None

    def reached(self, now: float) -> bool:
        """Whether there is something to move on that somebody could notice."""
        seen = (self.due, self.lapse, self.expires, self.keep, self.permit, self.ticket)
        return self.ended is not None or any(past(at, now) for at in seen)

    def anything(self, now: float) -> bool:
        """Whether there is something to move on, seen or not."""
        unseen = (self.gone, self.unique, self.rate, self.cell)
        return self.reached(now) or any(past(at, now) for at in unseen)

    def behind(self, now: float) -> bool:
        """Whether there are jobs that another step would make claimable."""
        return self.ended is not None or past(self.due, now) or past(self.lapse, now)

    @property
    def next_change(self) -> float | None:
        """When a job changes by itself."""
        times = [at for at in (self.due, self.lapse, self.expires) if at is not None]
        return min(times) if times else None

    def next_due(self, now: float, also: float | None) -> float | None:
        """Seconds until the next job is due or may lapse, or until another such instant."""
        times = [at for at in (self.due, self.lapse, also) if at is not None]
        return max(0.0, min(times) - now) if times else None
