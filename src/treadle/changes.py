"""What ``alter`` may do to a job in each state: the table of change × state."""

from __future__ import annotations

from enum import Enum

from treadle.ports import Cancel, Change, Delete, Reprioritise, Reschedule, Retry
from treadle.records import JobState

__all__ = ["TABLE", "Outcome", "outcome"]


class Outcome(Enum):
    """What becomes of a change."""

    DONE = "done"  # carried out at once
    ASKED = "asked"  # the running job is asked to stop
    REFUSED = "refused"


_D, _A, _R = Outcome.DONE, Outcome.ASKED, Outcome.REFUSED

TABLE: dict[type, dict[JobState, Outcome]] = {
    change: dict(zip(JobState, row, strict=True))
    for change, row in {
        # waiting, scheduled, queued, running, succeeded, failed, cancelled
        Cancel: (_D, _D, _D, _A, _R, _R, _R),
        Retry: (_R, _R, _R, _R, _R, _D, _D),
        Reschedule: (_D, _D, _D, _R, _R, _R, _R),
        Reprioritise: (_D, _D, _D, _R, _R, _R, _R),
        Delete: (_D, _D, _D, _R, _D, _D, _D),
    }.items()
}
"""Rows as in ``docs/explanation/semantics.md``."""


def outcome(change: Change, state: JobState) -> Outcome:
    """What becomes of the change for a job in this state."""
    return TABLE[type(change)][state]
