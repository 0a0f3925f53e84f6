"""What happens after an attempt. Code decides by returning one of these; a backend acts on it."""

from __future__ import annotations

import msgspec

from treadle.faults import Fault
from treadle.records import Cause

__all__ = ["Again", "Cancelled", "Done", "Failed", "Released", "Verdict"]


class _Verdict(msgspec.Struct, frozen=True, kw_only=True, tag=True, gc=False):
    pass


class Done(_Verdict, frozen=True):
    """The job succeeds."""

    # The sealed result; ``None`` when nothing is to be kept.
    result: bytes | None = None
    # Why the task ended without a result (``raise Skip(reason)``).
    skipped: str | None = None


class Again(_Verdict, frozen=True):
    """Another attempt after a delay. The attempt ended in an error or a timeout."""

    # Seconds from the moment the store settles it.
    delay: float = 0.0
    # Whether ``tries`` goes up. False for a pause that is not the job's fault. After a crash
    # (``Cause.CRASHED``) ``crashes`` goes up instead.
    counts: bool = True
    # Why this attempt ended.
    cause: Cause = Cause.ERROR
    fault: Fault | None = None


class Failed(_Verdict, frozen=True):
    """The job fails for good."""

    cause: Cause = Cause.ERROR
    fault: Fault | None = None


class Released(_Verdict, frozen=True):
    """The job is given back; no counter changes. With a reason it is set aside for a while."""

    # Seconds until it may be claimed again; 0 puts it back in its old place at once.
    delay: float = 0.0
    # What ``why`` shows. A reason makes ``releases`` go up; an orderly stop gives none.
    reason: str = ""


class Cancelled(_Verdict, frozen=True):
    """The job ends because somebody asked for it."""

    fault: Fault | None = None


Verdict = Done | Again | Failed | Released | Cancelled
