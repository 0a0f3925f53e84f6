"""What an answer says of a job that ended by itself, as its row says it."""

from __future__ import annotations

from treadle.backends.common.jobrow import FINAL_CODE, Code, Facts, JobRow, state_of
from treadle.fates import Fate
from treadle.records import Cause, NewJob

__all__ = ["fate_of"]


def fate_of(
    row: JobRow, spec: NewJob, facts: Facts, *, attempt: int | None = None, reason: str = ""
) -> Fate:
    """The fate of a job that has ended, or was put back after a crash.

    Args:
        row: as it is now.
        spec: what was pushed.
        facts: with the cause of a failure.
        attempt: number of the attempt that ended with it.
        reason: what there is to say besides.
    """
    cause = facts.cause if row.state == Code.FAILED else None
    return Fate(
        id=row.id,
        task=spec.task,
        queue=row.queue,
        state=state_of(row.state),
        cause=cause if row.state in FINAL_CODE else Cause.CRASHED,
        attempt=attempt,
        crashes=row.crashes,
        reason=reason,
    )
