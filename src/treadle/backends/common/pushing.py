"""Decisions of a push: repeats, unique keys, dependencies."""

from __future__ import annotations

from treadle.records import FINAL, JobState, OnConflict, Pushed, PushStatus, Unique

__all__ = ["conflict", "dependency_failed", "repeated"]

_EXISTS = Pushed(PushStatus.EXISTS)


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
