"""What the end of a job means: how long it is kept, what is left of it, and for whom it waits."""

from __future__ import annotations

from treadle.backends.common.jobrow import FINAL_CODE, Code, Facts, JobRow
from treadle.records import Cause, NewJob, OnFailure, Pushed, PushStatus

__all__ = ["fail_by", "grave", "kept_for", "pushed_as"]

_CREATED = Pushed(PushStatus.CREATED)


def kept_for(spec: NewJob, code: int) -> float | None:
    """Seconds for which a job is kept that ended in this state; ``None`` is for ever."""
    if code == Code.SUCCEEDED:
        return spec.keep.succeeded
    return spec.keep.failed if code == Code.FAILED else spec.keep.cancelled


def pushed_as(facts: Facts) -> Pushed:
    """The answer that the push of a job got."""
    if facts.replaced is not None:
        return Pushed(PushStatus.REPLACED, facts.replaced)
    return _CREATED


def grave(row: JobRow, facts: Facts) -> tuple[str, str | None, int | None, int | None, int | None]:
    """What a tombstone says of a job; one removed before its end has no state."""
    pushed = pushed_as(facts)
    state = row.state if row.state in FINAL_CODE else None
    return pushed.status.value, pushed.of, state, row.ended_fence, row.ended_nonce


def fail_by(facts: Facts, spec: NewJob, job: str) -> int:
    """The state in which a job ends because one that it waits for did not succeed."""
    assert spec.after is not None
    facts.reason = f"after:{job}"
    if spec.after.on_failure is OnFailure.CANCEL:
        return Code.CANCELLED
    facts.cause = Cause.DEPENDENCY
    return Code.FAILED
