"""What came of a job: its result, or the error that says why there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from treadle.codec.natural import natural_decode
from treadle.errors import JobCancelled, JobFailed, JobNotFound, ResultExpired
from treadle.faults import rebuild
from treadle.pools.told import Progress
from treadle.records import Cause, JobRecord, JobState

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.ports import Page
    from treadle.task import Task

__all__ = ["Progress", "outcome", "progress_of"]

# Looking a member up in its enum costs more than a global name.
_SUCCEEDED = JobState.SUCCEEDED
_WHY = {
    Cause.ERROR: "failed",
    Cause.TIMEOUT: "ran longer than it may",
    Cause.CRASHED: "was lost with its process too often",
    Cause.EXPIRED: "was not started in time",
    Cause.RESULT: "returned what cannot be stored",
    Cause.DEPENDENCY: "waited for a job that did not succeed",
    Cause.UNKNOWN_TASK: "has a task that no foreman knows",
    Cause.UNDECODABLE: "has arguments that no foreman can read",
}


def progress_of(record: JobRecord) -> Progress | None:
    """What the record says of progress."""
    note = record.note
    if note is None or note.current is None:
        return None
    return Progress(note.current, note.total, note.message)


def outcome(core: Core, job_id: str, page: Page, task: Task[..., Any] | None) -> Any:
    """The result of a job that has ended.

    Raises:
        JobFailed, JobCancelled, ResultExpired, JobNotFound
    """
    if not page.records:
        raise _without_record(job_id, page)
    record = page.records[0]
    if record.state is not _SUCCEEDED:
        if record.state is JobState.CANCELLED:
            raise JobCancelled(f"job {job_id} was cancelled", job_id=job_id)
        if record.state is JobState.FAILED:
            raise _failure(core, record, task)
    if record.result is None:
        return None
    body = core.codec.body_of(record.result, record.spec.task, record.id)
    task = task or core.tasks.get(record.spec.task)
    return natural_decode(body) if task is None else task.shape.decode_result(body)


def _failure(core: Core, record: JobRecord, task: Task[..., Any] | None) -> BaseException:
    fault = record.fault
    cause = record.cause or Cause.ERROR
    said = f": {fault.type}: {fault.message}" if fault is not None else ""
    failed = JobFailed(
        f"job {record.id} of {record.spec.task} {_WHY[cause]}{said}",
        job_id=record.id,
        cause=cause,
        fault=fault,
    )
    task = task or core.tasks.get(record.spec.task)
    allowed = core.errors if task is None else (*task.options.errors, *core.errors)
    if fault is None or not allowed:
        return failed
    original = rebuild(fault, allowed)
    if original is None:
        return failed
    original.__cause__ = failed
    return original


def _without_record(job_id: str, page: Page) -> Exception:
    gone = page.gone.get(job_id)
    state = None if gone is None else gone.state
    if state is JobState.SUCCEEDED:
        return ResultExpired(
            f"job {job_id} succeeded, but its result is no longer kept (see result_ttl=)",
            job_id=job_id,
        )
    if state is JobState.CANCELLED:
        return JobCancelled(f"job {job_id} was cancelled", job_id=job_id)
    if state is JobState.FAILED:
        return JobFailed(
            f"job {job_id} failed; what it left is no longer kept (see keep=)", job_id=job_id
        )
    return JobNotFound(
        f"there is no job {job_id}, or nothing is known of it any more", job_id=job_id
    )
