"""What the answer of the store to a push means to who pushed."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from treadle.errors import DuplicateJob, QueueFull
from treadle.job import Job
from treadle.records import NewJob, OnConflict, Pushed, PushStatus

if TYPE_CHECKING:
    from treadle.core import Core
    from treadle.task import Task

__all__ = ["full", "handle"]

R = TypeVar("R")


def full(new: NewJob) -> QueueFull:
    """The error of a job whose queue is at its bound."""
    return QueueFull(
        f"queue {new.queue!r} holds {new.bound} jobs, its bound; try later, run more "
        "foremen, or let the enqueue wait with on_full='wait'",
        queue=new.queue,
        bound=new.bound,
    )


def handle(core: Core, task: Task[..., R] | None, new: NewJob, answer: Pushed) -> Job[R]:
    """The handle of what became of a job.

    Args:
        core: of the app.
        task: of the job, where it is known.
        new: what was pushed.
        answer: of the store.

    Raises:
        QueueFull: it was not accepted.
        DuplicateJob: it was not accepted, because of its unique key.
    """
    status = answer.status
    if status is PushStatus.CREATED:
        return Job(core, new.id, task)
    if status is PushStatus.FULL:
        raise full(new)
    if status is PushStatus.EXISTS:
        # An id that was made for this call is known only by a push of ours whose reply was lost.
        return Job(core, new.id, task, created=task is None or task.mould.job_id is None)
    if status is PushStatus.REPLACED:
        return Job(core, new.id, task, replaced=answer.of)
    unique = new.unique
    if unique is not None and unique.on_conflict is OnConflict.ERROR:
        raise DuplicateJob(
            f"job {answer.of} of the unique key {unique.key!r} is not finished; wait for it, "
            "or choose another on_conflict",
            key=unique.key,
            holder=answer.of,
        )
    return Job(core, answer.of or new.id, task, created=False, duplicate_of=answer.of)
