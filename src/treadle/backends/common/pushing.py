"""Decisions of a push: repeats, unique keys, dependencies."""

from __future__ import annotations

from collections.abc import Iterable
from typing import overload

from treadle.queuenames import check_queue
from treadle.records import (
    FINAL,
    In,
    JobState,
    NewJob,
    OnConflict,
    Pushed,
    PushStatus,
    Unique,
    When,
)

__all__ = ["check_queues", "conflict", "dependency_failed", "instant", "repeated"]

_EXISTS = Pushed(PushStatus.EXISTS)
_checked: set[str] = set()
_CHECKED_MOST = 10_000


def check_queues(jobs: Iterable[NewJob]) -> None:
    """Refuse what no queue can hold, before anything is written.

    Raises:
        InvalidOption: a name is none of a queue.
    """
    for job in jobs:
        if job.queue not in _checked:
            _checked.add(check_queue(job.queue))
            if len(_checked) > _CHECKED_MOST:
                _checked.clear()


@overload
def instant(when: When, now: float) -> float: ...
@overload
def instant(when: None, now: float) -> None: ...
@overload
def instant(when: When | None, now: float) -> float | None: ...
def instant(when: When | None, now: float) -> float | None:
    """A point in time by the clock of the store."""
    if when is None:
        return None
    return now + when.seconds if isinstance(when, In) else when.timestamp


def repeated(first: Pushed) -> Pushed:
    """The answer to a second push of an id: ``exists`` if it made the job, else as before."""
    return _EXISTS if first.status is PushStatus.CREATED else first


def conflict(unique: Unique, holder: JobState) -> PushStatus:
    """What a push does whose unique key is held by a job in this state.

    Only a holder that has not begun and not ended can make room: a running one goes on, and
    a final one still holds its key only under ``Scope.FOR``, whose window stands.
    """
    if holder is JobState.RUNNING or holder in FINAL:
        return PushStatus.DUPLICATE
    if unique.on_conflict is OnConflict.REPLACE:
        return PushStatus.REPLACED
    if unique.on_conflict is OnConflict.RESCHEDULE:
        return PushStatus.RESCHEDULED
    return PushStatus.DUPLICATE


def dependency_failed(state: JobState | None) -> bool:
    """Whether a dependency that ended like this counts as failed.

    Args:
        state: the final state of the job or of its tombstone; ``None`` when it is unknown or
            never became a job.
    """
    return state is not JobState.SUCCEEDED
